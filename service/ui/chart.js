/** The loss per inner step, drawn as it falls. */

import { element, shape } from "./elements.js";

const WIDTH = 320;
const HEIGHT = 120;
const LEFT = 38;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;
const STEP_MS = 140;

/** A chart of losses, before the first step and after each. */
export function lossChart(losses) {
  const x = (step) => LEFT + (step * (WIDTH - LEFT - RIGHT)) / Math.max(losses.length - 1, 1);
  const top = Math.max(...losses) || 1;
  const y = (loss) => TOP + (1 - loss / top) * (HEIGHT - TOP - BOTTOM);
  const line = shape("polyline", { class: "loss-line" });
  const dots = shape("g", { class: "loss-dots" });
  const chart = shape(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": inWords(losses) },
    ...[0, top / 2, top].map((loss) => rule(y(loss), loss)),
    ...ticks(losses.length).map((step) => shape("text", { x: x(step), y: HEIGHT - 8, "text-anchor": "middle" }, `${step}`)),
    line,
    dots,
  );
  const points = losses.map((loss, step) => [x(step), y(loss)]);
  reveal(points.length, (shown) => {
    line.setAttribute("points", points.slice(0, shown).join(" "));
    dots.replaceChildren(...points.slice(0, shown).map(([cx, cy]) => shape("circle", { cx, cy, r: 3 })));
  });
  return element("figure", {}, chart, element("figcaption", {}, "Loss on your examples, before the first inner step and after each"));
}

/** What the chart says to those who cannot see it. */
export function inWords(losses) {
  const steps = losses.length - 1;
  if (steps === 0) return `No inner step was taken; the loss on your examples is ${short(losses[0])}.`;
  return `The loss on your examples went from ${short(losses[0])} to ${short(losses.at(-1))} in ${steps} inner step${steps === 1 ? "" : "s"}.`;
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
  return number === 0 ? "0" : number >= 0.001 ? Number(number.toPrecision(2)).toString() : number.toExponential(0);
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
