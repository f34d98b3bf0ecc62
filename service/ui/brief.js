/** Numbers as short as an axis has room for. */

/** Two digits of a number; the very large and the very small as `4.3e12`. */
export function brief(value) {
  const size = Math.abs(value);
  const isPlain = value === 0 || (size >= 1e-3 && size < 99_500);
  return isPlain ? Number(value.toPrecision(2)).toString() : value.toExponential(1).replace("e+", "e").replace(".0e", "e");
}
