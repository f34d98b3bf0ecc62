/** The loss per inner step, drawn as it falls. */

import { brief } from "./brief.js";
import { element, shape } from "./elements.js";

const WIDTH = 320;
const HEIGHT = 100;
const LEFT = 46;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;
const STEP_MS = 140;

/** A chart of losses, before the first step and after each, beside what guessing among so many classes would cost; null where none can be guessed. */
export function lossChart(losses, classes = null) {
  const guessing = classes === null ? null : Math.log(classes);
  const x = (step) => LEFT + (step * (WIDTH - LEFT - RIGHT)) / Math.max(losses.length - 1, 1);
  const top = Math.max(...losses, guessing ?? 0) || 1;
  const y = (loss) => TOP + (1 - loss / top) * (HEIGHT - TOP - BOTTOM);
  const line = shape("polyline", { class: "loss-line" });
  const dots = shape("g", { class: "loss-dots" });
  const chart = shape(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": inWords(losses, guessing) },
    ...[0, top / 2, top].map((loss) => rule(y(loss), loss)),
    guessing === null ? null : mark(y(guessing)),
    ...ticks(losses.length).map((step) => shape("text", { x: x(step), y: HEIGHT - 8, "text-anchor": "middle" }, `${step}`)),
    line,
    dots,
  );
  const points = losses.map((loss, step) => [x(step), y(loss)]);
  reveal(points.length, (shown) => {
    line.setAttribute("points", points.slice(0, shown).join(" "));
    dots.replaceChildren(...points.slice(0, shown).map(([cx, cy]) => shape("circle", { cx, cy, r: 3 })));
  });
  return element("figure", {}, chart, element("figcaption", {}, inWords(losses, guessing)));
}

/** What the chart says to those who cannot see it. */
export function inWords(losses, guessing = null) {
  const steps = losses.length - 1;
  const [first, last] = [short(losses[0]), short(losses.at(-1))];
  const named = `${steps} inner step${steps === 1 ? "" : "s"}`;
  const moved = first === last ? `${first} from the start` : `from ${first} to ${last} in ${named}`;
  return `Loss on your examples: ${moved}${guessing === null ? "" : `; guessing would be ${short(guessing)}`}.`;
}

function mark(y) {
  return shape(
    "g",
    { class: "guessing" },
    shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
    shape("text", { x: WIDTH - RIGHT, y: y + 13, "text-anchor": "end" }, "guessing"),
  );
}

function rule(y, loss) {
  return shape(
    "g",
    {},
    shape("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
    shape("text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, short(loss)),
  );
}

function ticks(count) {
  const every = Math.ceil(count / 11);
  return Array.from({ length: count }, (_, step) => step).filter((step) => step % every === 0);
}

function short(number) {
  if (number <= 0) return "0";
  return number < 0.001 ? "below 0.001" : brief(number);
}

/** Shows one point more at a time; all at once to those who asked for less motion. */
function reveal(count, show) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    show(count);
    return;
  }
  const began = performance.now();
  (function next(now) {
    const shown = Math.min(count, 1 + Math.floor(Math.max(0, now - began) / STEP_MS));
    show(shown);
    if (shown < count) requestAnimationFrame(next);
  })(began);
}
