/** A pad to draw on: with a finger, a pen, a mouse, or the arrow keys. Dark ink on white, whatever the page's colours are. */

import { element } from "./elements.js";
import { picture } from "./inputs.js";

const SIDE = 224;
const INK = "#111";
const WIDTH = 8;
const KEY_STEP = 8;
const MIDDLE = { x: SIDE / 2, y: SIDE / 2, down: false };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pad extends EventTarget {
  #strokes = [];
  #drawing = null; // the pointer that draws
  #pen = { ...MIDDLE }; // of the arrow keys
  #canvas;
  #stage;

  /** Tells of every change with `change`, and of the Enter key with `done`. */
  constructor(label) {
    super();
    this.#canvas = element("canvas", {
      class: "pad",
      width: SIDE,
      height: SIDE,
      tabindex: 0,
      role: "application",
      "aria-roledescription": "drawing pad",
      "aria-label": `${label}. Arrow keys move the pen, Space puts it down or lifts it, Enter is done, Backspace takes a stroke back.`,
      onpointerdown: (event) => this.#begin(event),
      onpointermove: (event) => this.#go(event),
      onpointerup: (event) => this.#end(event),
      onpointercancel: (event) => this.#end(event),
      onkeydown: (event) => this.#key(event),
      onfocus: () => this.#paint(),
      onblur: () => this.#paint(),
    });
    this.#stage = element("div", { class: "stage" }, this.#canvas, element("span", { class: "placeholder", "aria-hidden": "true" }, "Draw here"));
    this.#paint();
  }

  get element() {
    return this.#stage;
  }

  get isEmpty() {
    return this.#strokes.length === 0;
  }

  /** What is drawn, as a picture. */
  picture(name) {
    const sheet = element("canvas", { width: SIDE, height: SIDE });
    draw(sheet.getContext("2d"), this.#strokes);
    return picture(sheet.toDataURL("image/png"), name);
  }

  clear() {
    this.#pen = { ...MIDDLE };
    this.#become([]);
  }

  undo() {
    this.#pen.down = false;
    this.#become(this.#strokes.slice(0, -1));
  }

  #begin(event) {
    if (event.button !== 0 || this.#drawing !== null) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#canvas.focus({ preventScroll: true });
    this.#drawing = event.pointerId;
    this.#become([...this.#strokes, [this.#place(event)]]);
  }

  #go(event) {
    if (event.pointerId !== this.#drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.#extend((events.length ? events : [event]).map((each) => this.#place(each)));
  }

  #end(event) {
    if (event.pointerId === this.#drawing) this.#drawing = null;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey ? event.key === "z" : event.key === "Backspace") this.undo();
    else if (event.key === "Enter") this.dispatchEvent(new Event("done"));
    else if (event.key === " ") this.#dip();
    else if (event.key in ARROWS) this.#move(...ARROWS[event.key]);
    else return;
    event.preventDefault();
  }

  #dip() {
    this.#pen.down = !this.#pen.down;
    if (this.#pen.down) this.#become([...this.#strokes, [this.#pen]].map((stroke) => stroke.map(({ x, y }) => ({ x, y }))));
    else this.#paint();
  }

  #move(right, down) {
    const within = (value) => Math.min(Math.max(value, WIDTH), SIDE - WIDTH);
    this.#pen.x = within(this.#pen.x + right * KEY_STEP);
    this.#pen.y = within(this.#pen.y + down * KEY_STEP);
    if (this.#pen.down) this.#extend([{ x: this.#pen.x, y: this.#pen.y }]);
    else this.#paint();
  }

  #extend(points) {
    this.#become([...this.#strokes.slice(0, -1), [...this.#strokes.at(-1), ...points]]);
  }

  #become(strokes) {
    this.#strokes = strokes;
    this.#paint();
    this.dispatchEvent(new Event("change"));
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) * SIDE) / box.width, y: ((event.clientY - box.top) * SIDE) / box.height };
  }

  #paint() {
    const context = this.#canvas.getContext("2d");
    draw(context, this.#strokes);
    this.#stage.classList.toggle("inked", !this.isEmpty);
    if (this.#canvas.matches(":focus-visible")) cross(context, this.#pen);
  }
}

function draw(context, strokes) {
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  Object.assign(context, { strokeStyle: INK, lineWidth: WIDTH, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    dot(context, stroke[0]);
    context.beginPath();
    context.moveTo(stroke[0].x, stroke[0].y);
    // Through the middles between points, bent by the points: a hand's curve, not a polygon.
    for (let place = 1; place < stroke.length - 1; place++) {
      const { x, y } = stroke[place];
      context.quadraticCurveTo(x, y, (x + stroke[place + 1].x) / 2, (y + stroke[place + 1].y) / 2);
    }
    context.lineTo(stroke.at(-1).x, stroke.at(-1).y);
    context.stroke();
  }
}

/** What the pen leaves where it touches the sheet: a line without length would be no line. */
function dot(context, { x, y }) {
  context.fillStyle = INK;
  context.beginPath();
  context.arc(x, y, WIDTH / 2, 0, 2 * Math.PI);
  context.fill();
}

function cross(context, { x, y, down }) {
  Object.assign(context, { strokeStyle: down ? "#b3261e" : "#2f55c7", lineWidth: 2 });
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.stroke();
}
