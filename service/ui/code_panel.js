/** The calls just made, as curl and as Python, to be copied. */

import { button, element } from "./elements.js";
import { asCurl, asPython } from "./snippets.js";

const LANGUAGES = [
  ["curl", "curl", asCurl],
  ["python", "Python", asPython],
];

/** Follows a journal; `copied(text, what)` is told what a person wants to have copied. */
export function codePanel(journal, { origin, copied }) {
  let [, title, write] = LANGUAGES[0];
  const code = element("code", {}, "");
  const copy = button("", () => copied(write(journal.calls, origin, { whole: true }), title));
  const choices = LANGUAGES.map(([id, name, writes]) =>
    element(
      "label",
      {},
      element("input", { type: "radio", name: "language", value: id, checked: writes === write, onchange: () => choose(name, writes) }),
      element("span", {}, name),
    ),
  );

  function choose(name, writes) {
    [title, write] = [name, writes];
    show();
  }

  function show() {
    const none = journal.calls.length === 0;
    copy.textContent = `Copy as ${title}`;
    copy.disabled = none;
    code.textContent = none ? "# Nothing was called yet: press Adapt." : write(journal.calls, origin, { whole: false });
  }

  journal.addEventListener("change", show);
  show();
  return element(
    "div",
    { class: "code" },
    element("div", { class: "step-head" }, element("fieldset", { class: "choice" }, element("legend", { class: "visually-hidden" }, "Language"), ...choices), copy),
    element("pre", { tabindex: 0, "aria-label": "The calls just made" }, code),
  );
}
