/** Cells that are pasted from a spreadsheet or a CSV file, and what a cell holds. */

/** `[{ line, cells }]` of every line of a text, blank ones left out of a table; null where it is one cell. */
export function cellsOf(text) {
  const whole = text.replace(/^[\r\n]+|[\r\n]+$/g, "");
  if (!/[\t\n,;]/.test(whole)) return null;
  const separator = ["\t", ";", ","].find((one) => whole.includes(one)) ?? "\n";
  const lines = whole.split(/\r?\n/).map((line, place) => ({ line: place + 1, cells: line.split(separator).map((cell) => cell.trim()) }));
  return separator === "\n" ? lines : lines.filter(({ cells }) => cells.some((cell) => cell !== ""));
}

/** Throws an Error in words when lines do not all have as many cells as the first. */
export function demandEven([first, ...others]) {
  const odd = others.find(({ cells }) => cells.length !== first.cells.length);
  if (odd === undefined) return;
  throw new Error(
    `Row ${odd.line} of what you pasted has ${counted(odd.cells.length, "cell")}, row ${first.line} has ${first.cells.length}. Nothing was pasted: give every row as many.`,
  );
}

/** Lines without the first, where that names the columns: none of its first `numbers` cells is a number, and all those below are. */
export function withoutHeader(lines, numbers) {
  const [first, ...others] = lines.map(({ cells }) => cells.slice(0, Math.max(numbers, 0)));
  const named = first.some((cell) => cell !== "") && !first.some(isNumber);
  return named && others.length > 0 && others.flat().every(isNumber) ? lines.slice(1) : lines;
}

export function isNumber(cell) {
  return cell !== "" && Number.isFinite(Number(cell));
}

/** The number that a cell holds; throws an Error in words. */
export function number(cell, where) {
  if (!isNumber(cell)) throw new Error(noNumber(cell, where));
  return Number(cell);
}

export function noNumber(cell, where) {
  return `${where}: expected a number, got “${cell}”. A decimal point is a dot.`;
}

/** What a column is called: x, or x1, x2 … where there are several. */
export function nameOf(place, columns) {
  return columns === 1 ? "x" : `x${place + 1}`;
}

/** `1 cell`, `2 cells`. */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
