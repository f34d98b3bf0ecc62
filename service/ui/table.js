/** A table of numbers as a support set: a row an example, its class or its target in the last column. */

import { cellsOf, counted, demandEven, nameOf, number, withoutHeader } from "./cells.js";
import { button, element } from "./elements.js";
import { vector } from "./inputs.js";

const FIRST_COLUMNS = 2; // of a meta-model that takes any number of them

/** An editor like `ClassCards`; `columns` is null where the person decides, on `most` at most. `said(text)` is told what a paste did. */
export class TableEditor extends EventTarget {
  #targets;
  #columns;
  #most; // columns; null where they are fixed
  #failed;
  #said;
  #wider = button("Add a column", () => this.#widen(this.#columns + 1));
  #narrower = button("Remove a column", () => this.#widen(this.#columns - 1));
  #body = element("tbody");
  #head = element("tr");

  constructor({ columns, most = Infinity, targets, failed, said }) {
    super();
    this.#failed = failed;
    this.#said = said;
    this.#targets = targets;
    this.#most = columns === null ? most : null;
    this.#columns = columns ?? FIRST_COLUMNS;
    const table = element("table", {}, element("thead", {}, this.#head), this.#body);
    this.element = element("div", { class: "table-editor", onpaste: (event) => this.#pasted(event), oninput: () => this.#grow() }, table);
    this.tools = [
      button("Try some numbers", () => this.fill(sample(this.#columns, targets))),
      ...(columns === null ? [this.#wider, this.#narrower] : []),
      button("Start over", () => this.fill([])),
    ];
    this.hint = targets
      ? "A row is a point: its numbers and the value there. Cells can be pasted from a spreadsheet."
      : "A row is an example: its numbers and its class. Cells can be pasted from a spreadsheet.";
    this.fill([]);
  }

  get columns() {
    return this.#columns;
  }

  /** `[{ label | target, input }]` of every row that is not empty; throws an Error that names the cell that is wrong. */
  get examples() {
    return this.#rows().flatMap((cells, place) => (cells.every((cell) => cell === "") ? [] : [this.#example(cells, place + 1)]));
  }

  get labels() {
    return this.#targets ? [] : [...new Set(this.#rows().map((cells) => cells.at(-1)).filter(Boolean))];
  }

  add({ label, target, input }) {
    const rows = this.#rows().filter(isFilled);
    const numbers = Array.from({ length: this.#columns }, (_, place) => input.numbers[place] ?? "");
    this.fill([...rows, [...numbers, label ?? target]]);
  }

  /** Shows rows of cells in place of those there. */
  fill(rows) {
    const names = [...Array.from({ length: this.#columns }, (_, place) => nameOf(place, this.#columns)), this.#targets ? "y" : "class"];
    this.#head.replaceChildren(...names.map((name) => element("th", { scope: "col" }, name)));
    this.#wider.disabled = this.#columns >= this.#most;
    this.#narrower.disabled = this.#columns <= 1;
    this.#body.replaceChildren();
    for (const cells of [...rows, []]) this.#addRow(cells);
    this.dispatchEvent(new Event("change"));
  }

  /** Puts empty columns behind the others, or takes the last ones away; the classes stay. */
  #widen(columns) {
    const rows = this.#rows().map((cells) => widened(cells, columns));
    this.#columns = columns;
    this.fill(rows.filter(isFilled));
  }

  #rows() {
    return [...this.#body.rows].map((row) => [...row.querySelectorAll("input")].map((input) => input.value.trim()));
  }

  #example(cells, row) {
    const numbers = cells.slice(0, this.#columns).map((cell, place) => number(cell, `Row ${row}, ${nameOf(place, this.#columns)}`));
    const last = cells.at(-1);
    if (this.#targets) return { target: number(last, `Row ${row}, y`), input: vector(numbers) };
    if (last === "") throw new Error(`Row ${row} has no class. Name one in its last column.`);
    return { label: last, input: vector(numbers) };
  }

  #addRow(cells = []) {
    const row = this.#body.rows.length + 1;
    const inputs = Array.from({ length: this.#columns + 1 }, (_, place) => {
      const isLast = place === this.#columns;
      const name = isLast ? (this.#targets ? "y" : "class") : nameOf(place, this.#columns);
      return element("input", {
        value: cells[place] ?? "",
        autocomplete: "off",
        "aria-label": `${name} of row ${row}`,
        onkeydown: (event) => this.#key(event, row, place),
      });
    });
    this.#body.append(element("tr", {}, ...inputs.map((input) => element("td", {}, input))));
  }

  /** Keeps one empty row at the end, to type into. */
  #grow() {
    if (isFilled(this.#rows().at(-1))) this.#addRow();
    this.dispatchEvent(new Event("change"));
  }

  #key(event, row, place) {
    const step = { Enter: 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    const target = step && this.#body.rows[row - 1 + step]?.querySelectorAll("input")[place];
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  #pasted(event) {
    const lines = cellsOf(event.clipboardData.getData("text/plain"));
    const cell = event.target.closest("td");
    if (lines === null || cell === null) return;
    event.preventDefault();
    const [top, left] = [cell.parentElement.rowIndex - 1, cell.cellIndex];
    try {
      this.#paste(lines, top, left);
      this.#body.rows[top].querySelectorAll("input")[Math.min(left, this.#columns)].focus();
    } catch (error) {
      this.#failed(error);
    }
  }

  /**
   * Lines go into the cells from row `top` and column `left` on, all of them or, with an Error in words, none.
   *
   * Where the person decides on the columns, there are as many as the lines need once they begin in the first of them.
   */
  #paste(lines, top, left) {
    demandEven(lines);
    const columns = this.#columnsFor(lines[0].cells.length, left);
    this.#demandRoom(lines[0], left, columns);
    const kept = withoutHeader(lines, columns - left);
    const rows = this.#rows().map((cells) => widened(cells, columns));
    while (rows.length < top + kept.length) rows.push(Array(columns + 1).fill(""));
    kept.forEach(({ cells }, down) => rows[top + down].splice(left, cells.length, ...cells));
    this.#columns = columns;
    this.fill(rows.slice(0, 1 + rows.findLastIndex(isFilled)));
    this.#said(`Pasted ${counted(kept.length, "row")}${kept.length < lines.length ? "; the first line names the columns and was left out" : ""}.`);
  }

  /** How many columns of numbers the table has once lines of so many cells stand in it; those with numbers in them stay. */
  #columnsFor(cells, left) {
    const needed = cells - 1;
    if (this.#most === null || left > 0 || needed < 1) return this.#columns;
    const used = 1 + Math.max(...this.#rows().map((row) => row.slice(0, -1).findLastIndex((cell) => cell !== "")));
    return Math.max(needed, used);
  }

  #demandRoom({ line, cells }, left, columns) {
    const last = this.#targets ? "its value" : "its class";
    const has = `Row ${line} of what you pasted has ${counted(cells.length, "cell")}`;
    if (this.#most !== null && columns > this.#most) {
      throw new Error(`${has}, this model takes ${this.#most} numbers and ${last} at most. Nothing was pasted.`);
    }
    const room = columns + 1 - left;
    if (cells.length <= room) return;
    const takes = `this model takes ${counted(columns, "number")} and ${last}`;
    throw new Error(`${has}, ${left === 0 ? takes : `from this column on there is room for ${room}`}. Nothing was pasted.`);
  }
}

function isFilled(cells) {
  return cells.some((cell) => cell !== "");
}

/** A row with so many numbers, empty ones behind the others or without the last ones; the class stays. */
function widened(cells, columns) {
  return [...Array.from({ length: columns }, (_, place) => cells.slice(0, -1)[place] ?? ""), cells.at(-1)];
}

/** Rows to try: points of a wave, or two clouds. */
function sample(columns, targets) {
  if (targets) return [-4, -2.6, -1, 0.4, 1.9, 3.4].map((x) => [...Array(columns).fill(x), (2.5 * Math.sin(x + 0.8)).toFixed(2)]);
  const cloud = (label, centre) => [-0.4, 0.1, 0.5].map((shift, row) => [...Array.from({ length: columns }, (_, place) => (centre + shift * (place % 2 ? -1 : 1) + row / 10).toFixed(1)), label]);
  return [...cloud("low", 1), ...cloud("high", 4)];
}
