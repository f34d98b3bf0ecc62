/** The sessions of the server, newest first: when they end, opening, exporting and ending them. */

import { button, element } from "./elements.js";

const SHOWN = 20;

/** A list in a box of its own; `save` and `end` are called with a session. */
export class SessionList {
  #sessions = [];
  #current = null;
  #shown = SHOWN;
  #actions;
  #rows = element("ul", { class: "sessions" });
  #none = element("p", { class: "hint" }, "None yet: adapting makes one.");
  #older = button("", () => this.#showOlder());

  constructor(actions) {
    this.#actions = actions;
    this.element = element("div", {}, this.#none, this.#rows, this.#older);
    this.show([], null);
  }

  /** Shows sessions, newest first, as many as before. */
  show(sessions, current) {
    this.#sessions = sessions;
    this.#current = current;
    const rest = sessions.length - this.#shown;
    const top = this.#rows.scrollTop;
    this.#rows.replaceChildren(...sessions.slice(0, this.#shown).map((session) => row(session, session.session === current, this.#actions)));
    this.#rows.scrollTop = top;
    this.#rows.hidden = sessions.length === 0;
    this.#none.hidden = sessions.length > 0;
    this.#older.textContent = `Show older (${rest})`;
    this.#older.hidden = rest <= 0;
  }

  #showOlder() {
    const first = this.#shown;
    this.#shown += SHOWN;
    this.show(this.#sessions, this.#current);
    this.#rows.children[first].querySelector("a").focus();
  }
}

/** When a session ends, in words. */
export function expiry({ pinned, expires_at: end }, now = Date.now()) {
  if (pinned || end === null) return "never, as it is pinned";
  const seconds = Math.round((Date.parse(end) - now) / 1000);
  if (seconds <= 0) return "now";
  const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([size]) => seconds >= 1.5 * size || size === 1);
  const count = Math.round(seconds / size);
  return `in ${count} ${unit}${count === 1 ? "" : "s"}`;
}

function row(session, isCurrent, { save, end }) {
  const { session: id, name, labels, model } = session;
  const what = labels?.length ? labels.join(", ") : "a function";
  return element(
    "li",
    { class: isCurrent ? "current" : null },
    element(
      "div",
      {},
      element("a", { href: `#/session/${id}`, "aria-current": isCurrent ? "true" : null }, name || what),
      element("p", { class: "hint" }, `${model} · revision ${session.revision} · ends ${expiry(session)}`),
      element("code", {}, id),
    ),
    element(
      "div",
      { class: "tools" },
      button("Export", () => save(session), { "aria-label": `Export ${id}, a safetensors file` }),
      deletion(id, () => end(session)),
    ),
  );
}

/** A button that deletes when it is pressed a second time before anything else is. */
function deletion(id, end) {
  let isAsked = false;
  const ask = (asked) => {
    isAsked = asked;
    press.textContent = asked ? "Really delete?" : "Delete";
    press.setAttribute("aria-label", asked ? `Really delete ${id}?` : `Delete ${id}`);
  };
  const press = button("", () => (isAsked ? end() : ask(true)), { onblur: () => ask(false) });
  ask(false);
  return press;
}
