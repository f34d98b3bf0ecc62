/** A table of numbers as a support set: a row an example, its class or its target in the last column. */

import { button, element } from "./elements.js";
import { vector } from "./inputs.js";

const FIRST_COLUMNS = 2; // of a meta-model that takes any number of them

/** An editor like `ClassCards`; `columns` is null where the person decides, on `most` at most. */
export class TableEditor extends EventTarget {
  #targets;
  #columns;
  #most; // columns; null where they are fixed
  #wider = button("Add a column", () => this.#widen(this.#columns + 1));
  #narrower = button("Remove a column", () => this.#widen(this.#columns - 1));
  #body = element("tbody");
  #head = element("tr");

  constructor({ columns, most = Infinity, targets }) {
    super();
    this.#targets = targets;
    this.#most = columns === null ? most : null;
    this.#columns = columns ?? FIRST_COLUMNS;
    const table = element("table", {}, element("thead", {}, this.#head), this.#body);
    this.element = element("div", { class: "table-editor", onpaste: (event) => this.#paste(event), oninput: () => this.#grow() }, table);
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
    const rows = this.#rows().filter((cells) => cells.some((cell) => cell !== ""));
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
    const rows = this.#rows().map((cells) => [...Array.from({ length: columns }, (_, place) => (place < this.#columns ? cells[place] : "")), cells.at(-1)]);
    this.#columns = columns;
    this.fill(rows.filter((cells) => cells.some((cell) => cell !== "")));
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
    if (this.#rows().at(-1).some((cell) => cell !== "")) this.#addRow();
    this.dispatchEvent(new Event("change"));
  }

  #key(event, row, place) {
    const step = { Enter: 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    const target = step && this.#body.rows[row - 1 + step]?.querySelectorAll("input")[place];
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  /**
   * Cells of a spreadsheet or lines of a CSV file go into the cells from the one that has the focus.
   *
   * Where the person decides on the columns, there are as many as the first line needs once it begins in the first of them.
   */
  #paste(event) {
    const text = event.clipboardData.getData("text/plain").trimEnd();
    if (!/[\t\n,;]/.test(text) || !event.target.closest("td")) return;
    event.preventDefault();
    const [top, left] = [event.target.closest("tr").rowIndex - 1, event.target.closest("td").cellIndex];
    const separator = text.includes("\t") ? "\t" : text.includes(";") ? ";" : ",";
    const lines = text.split(/\r?\n/);
    const needed = Math.min(lines[0].split(separator).length - 1, this.#most ?? 0);
    if (left === 0 && needed >= 1 && needed !== this.#columns) this.#widen(needed);
    lines.forEach((line, down) => {
      while (this.#body.rows.length <= top + down + 1) this.#addRow();
      const inputs = this.#body.rows[top + down].querySelectorAll("input");
      line.split(separator).forEach((cell, right) => {
        if (inputs[left + right]) inputs[left + right].value = cell.trim();
      });
    });
    this.#grow();
  }
}

/** What a column is called: x, or x1, x2 … where there are several. */
export function nameOf(place, columns) {
  return columns === 1 ? "x" : `x${place + 1}`;
}

/** The number that a cell holds; throws an Error in words. */
export function number(cell, where) {
  const value = Number(cell);
  if (cell === "" || !Number.isFinite(value)) throw new Error(`${where}: expected a number, got “${cell}”. A decimal point is a dot.`);
  return value;
}

/** Rows to try: points of a wave, or two clouds. */
function sample(columns, targets) {
  if (targets) return [-4, -2.6, -1, 0.4, 1.9, 3.4].map((x) => [...Array(columns).fill(x), (2.5 * Math.sin(x + 0.8)).toFixed(2)]);
  const cloud = (label, centre) => [-0.4, 0.1, 0.5].map((shift, row) => [...Array.from({ length: columns }, (_, place) => (centre + shift * (place % 2 ? -1 : 1) + row / 10).toFixed(1)), label]);
  return [...cloud("low", 1), ...cloud("high", 4)];
}
