/** A row of numbers to ask about; like `PictureQuestion`. */

import { cellsOf, counted, isNumber, nameOf, noNumber } from "./cells.js";
import { button, element } from "./elements.js";
import { vector } from "./inputs.js";

const UNFINISHED = /^[-+]?\.?$|^[-+]?\d+\.?\d*e[-+]?$/i; // what is typed on the way to a number

export class VectorQuestion extends EventTarget {
  #cells;
  #complaint = element("p", { class: "doubt", role: "alert", hidden: true });

  constructor({ columns }) {
    super();
    this.#cells = Array.from({ length: columns }, () => element("input", { inputmode: "text", autocomplete: "off" }));
    const fields = this.#cells.map((cell, place) => element("label", { class: "field" }, nameOf(place, columns), cell));
    this.element = element(
      "div",
      { class: "question", oninput: () => this.#tell(), onchange: () => this.#check(), onpaste: (event) => this.#pasted(event) },
      element("div", { class: "cells" }, ...fields),
      this.#complaint,
      element("div", { class: "tools" }, button("Clear", () => this.clear())),
    );
  }

  /** Null until every cell holds a number. */
  get input() {
    const values = this.#values;
    return values.every(isNumber) ? vector(values.map(Number)) : null;
  }

  clear() {
    this.#cells.forEach((cell) => (cell.value = ""));
    this.#tell();
  }

  get #values() {
    return this.#cells.map((cell) => cell.value.trim());
  }

  #tell() {
    this.#check(UNFINISHED);
    this.dispatchEvent(new Event("change"));
  }

  /** Says beside the cells which of them holds no number, but for those empty or `spared`. */
  #check(spared = /^$/) {
    const isWrong = (cell) => cell !== "" && !spared.test(cell) && !isNumber(cell);
    const values = this.#values;
    this.#cells.forEach((cell, place) => cell.setAttribute("aria-invalid", isWrong(values[place])));
    const wrong = values.findIndex(isWrong);
    this.#complain(wrong < 0 ? "" : noNumber(values[wrong], nameOf(wrong, values.length)));
  }

  /** A row of a spreadsheet goes into all cells, or into those from the one that has the focus on. */
  #pasted(event) {
    const lines = cellsOf(event.clipboardData.getData("text/plain"));
    if (lines === null) return;
    event.preventDefault();
    try {
      this.#fill(lines, this.#cells.indexOf(event.target));
      this.#tell();
    } catch (error) {
      this.#complain(error.message);
    }
  }

  #fill(lines, focused) {
    if (lines.length > 1) throw new Error(`What you pasted has ${lines.length} rows: paste one, of ${counted(this.#cells.length, "number")}.`);
    const [{ cells }] = lines;
    const from = cells.length === this.#cells.length ? 0 : focused;
    if (from + cells.length > this.#cells.length) {
      const room = from > 0 ? `from this cell on there is room for ${this.#cells.length - from}` : `a question has ${counted(this.#cells.length, "number")}`;
      throw new Error(`The row you pasted has ${counted(cells.length, "cell")}, ${room}.`);
    }
    cells.forEach((cell, place) => (this.#cells[from + place].value = cell));
  }

  #complain(text) {
    if (this.#complaint.textContent !== text) this.#complaint.textContent = text;
    this.#complaint.hidden = text === "";
  }
}
