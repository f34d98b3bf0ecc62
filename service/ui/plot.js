/** The function that a one-dimensional regression adapted to, over its points. */

import { brief } from "./brief.js";
import { element, shape } from "./elements.js";
import { vector } from "./inputs.js";

const WIDTH = 320;
const HEIGHT = 200;
const EDGE = { left: 46, right: 10, top: 10, bottom: 24 };
const SAMPLES = 121;
const UNKNOWN = [-5, 5]; // of x, where the page does not have the points

/** A figure that fills itself: it asks the session for the function, then follows the question's x. */
export function regressionPlot({ api, session, examples, question, failed }) {
  const figure = element("figure", { class: "plot" }, element("figcaption", {}, "The adapted function, and the points it was adapted to"));
  const points = examples.map(({ input, target }) => [input.numbers[0], target]);
  const xs = spread(points.map(([x]) => x));
  api.predict(session.session, xs.map((x) => vector([x]))).then(
    ({ predictions }) => figure.prepend(drawn(xs.map((x, place) => [x, predictions[place].target[0]]), points, question)),
    failed,
  );
  return figure;
}

/** Evenly spaced x over the points and a fifth beyond them. */
export function spread(given) {
  const [low, high] = given.length ? [Math.min(...given), Math.max(...given)] : UNKNOWN;
  const beyond = (high - low || 2) / 5;
  const width = high - low + 2 * beyond;
  return Array.from({ length: SAMPLES }, (_, place) => low - beyond + (place * width) / (SAMPLES - 1));
}

function drawn(curve, points, question) {
  const x = scale([...curve, ...points].map(([value]) => value), EDGE.left, WIDTH - EDGE.right);
  const y = scale([...curve, ...points].map(([, value]) => value), HEIGHT - EDGE.bottom, EDGE.top);
  const marker = shape("line", { class: "marker", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
  question.addEventListener("change", () => {
    const place = question.input?.numbers[0];
    const isInside = place !== undefined && place >= curve[0][0] && place <= curve.at(-1)[0];
    marker.setAttribute("visibility", isInside ? "visible" : "hidden");
    if (isInside) ["x1", "x2"].forEach((end) => marker.setAttribute(end, x.of(place)));
  });
  return shape(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `The adapted function through ${points.length} points, from x ${brief(x.low)} to ${brief(x.high)}, y ${brief(y.low)} to ${brief(y.high)}.` },
    ...[y.low, y.high].map((value) => shape("text", { x: EDGE.left - 6, y: y.of(value) + 3.5, "text-anchor": "end" }, brief(value))),
    ...[x.low, x.high].map((value) => shape("text", { x: x.of(value), y: HEIGHT - 8, "text-anchor": value === x.low ? "start" : "end" }, brief(value))),
    y.low < 0 && y.high > 0 ? shape("line", { class: "rule", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y.of(0), y2: y.of(0) }) : null,
    marker,
    shape("polyline", { class: "curve", points: curve.map(([a, b]) => `${x.of(a)},${y.of(b)}`).join(" ") }),
    shape("g", { class: "points" }, ...points.map(([a, b]) => shape("circle", { cx: x.of(a), cy: y.of(b), r: 4.5 }))),
  );
}

function scale(values, from, to) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { low, high, of: (value) => from + ((value - low) * (to - from)) / (high - low || 1) };
}
