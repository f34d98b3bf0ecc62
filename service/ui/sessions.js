/** The sessions of the server, newest first: when they end, opening, exporting and ending them. */

import { button, element } from "./elements.js";

const SHOWN = 20;

/** A list; `open`, `save` and `end` are called with a session. */
export function sessionList(sessions, { current, ...actions }) {
  if (sessions.length === 0) return element("p", { class: "hint" }, "None yet: adapting makes one.");
  const rest = sessions.length - SHOWN;
  return element(
    "div",
    {},
    element("ul", { class: "sessions" }, ...sessions.slice(0, SHOWN).map((session) => row(session, session.session === current, actions))),
    rest > 0 ? element("p", { class: "hint" }, `and ${rest} older`) : null,
  );
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
      button("Delete", () => end(session), { "aria-label": `Delete ${id}` }),
    ),
  );
}
