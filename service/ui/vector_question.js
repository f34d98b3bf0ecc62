/** A row of numbers to ask about; like `PictureQuestion`. */

import { button, element } from "./elements.js";
import { vector } from "./inputs.js";
import { nameOf } from "./table.js";

export class VectorQuestion extends EventTarget {
  #cells;

  constructor({ columns }) {
    super();
    this.#cells = Array.from({ length: columns }, () => element("input", { inputmode: "text", autocomplete: "off" }));
    const fields = this.#cells.map((cell, place) => element("label", { class: "field" }, nameOf(place, columns), cell));
    this.element = element(
      "div",
      { class: "question", oninput: () => this.#tell() },
      element("div", { class: "cells" }, ...fields),
      element("div", { class: "tools" }, button("Clear", () => this.clear())),
    );
  }

  /** Null until every cell holds a number. */
  get input() {
    const numbers = this.#cells.map((cell) => (cell.value.trim() === "" ? NaN : Number(cell.value)));
    return numbers.every(Number.isFinite) ? vector(numbers) : null;
  }

  clear() {
    this.#cells.forEach((cell) => (cell.value = ""));
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
