/** What adapting gave: the loss as it fell, how good it seems, how long it took, and the session's name. */

import { lossChart } from "./chart.js";
import { button, element } from "./elements.js";
import { expiry } from "./sessions.js";

/** Shows a session; `copied` is told when its link was copied, and `extra` stands below the chart. */
export function learned(session, { copied, extra = null }) {
  return element(
    "div",
    { class: "learned" },
    element("div", { class: "figures" }, lossChart(session.losses, session.labels?.length || null), extra),
    element(
      "dl",
      { class: "facts" },
      ...(session.labels?.length ? fact("Leave-one-out", leaveOneOut(session)) : []), // of a function there are no classes to guess
      ...fact("Time", spent(session)),
      ...fact("Knows", knows(session)),
      ...fact("Session", element("code", {}, session.session), ` revision ${session.revision}, ends ${expiry(session)} `, copyLink(session, copied)),
    ),
  );
}

function fact(name, ...what) {
  return [element("dt", {}, name), element("dd", {}, ...what)];
}

function leaveOneOut({ leave_one_out_accuracy: share }) {
  if (share === undefined) return "not measured for this model";
  if (share === null) return "unknown: that takes two examples of a class";
  return `${Math.round(100 * share)} % guessed rightly from the others`;
}

function spent({ milliseconds }) {
  if (!milliseconds) return "adapted earlier";
  const { decode, queue, compute } = milliseconds;
  return `${(decode + queue + compute).toFixed(0)} ms (reading ${decode.toFixed(0)}, waiting ${queue.toFixed(0)}, learning ${compute.toFixed(0)})`;
}

function knows({ shots }) {
  const named = Object.entries(shots ?? {}).map(([label, count]) => `${label} (${count})`);
  return named.length ? named.join(", ") : "a function of its examples";
}

function copyLink({ session }, copied) {
  const link = new URL(`#/session/${session}`, location.href).href;
  return button("Copy link", async () => copied(link));
}
