/** Meta-models as the server lists them: what they take, in words. */

/** `name@version`. */
export function referenceOf({ name, version }) {
  return `${name}@${version}`;
}

/** What its examples are: `drawing`, `photo`, `vector` (rows with a class) or `regression` (rows with a target). */
export function kindOf({ input, recipe }) {
  if (input.kind === "image") return input.preprocessing.kind;
  return recipe.head === "output" ? "regression" : "vector";
}

/** What a person should know before choosing it. */
export function about(model) {
  const row = model.evaluation.find(({ way, shot }) => way === 5 && shot === 1) ?? model.evaluation[0];
  return [TAKES[kindOf(model)](model.input), row && kindOf(model) !== "regression" ? measured(row) : null].filter(Boolean).join(" ");
}

const TAKES = {
  drawing: () => "Takes drawings, of any size and colour.",
  photo: () => "Takes photos.",
  vector: ({ length }) => (length ? `Takes rows of ${length} number${length === 1 ? "" : "s"} with a class.` : "Takes rows of numbers with a class."),
  regression: ({ length }) => (length > 1 ? `Learns a function of ${length} numbers from points.` : "Learns a function from points."),
};

function measured({ way, shot, accuracy }) {
  const examples = shot === 1 ? "one example" : `${shot} examples`;
  return `Measured: ${(100 * accuracy).toFixed(1)} % right on unseen classes, ${way} at a time with ${examples} of each.`;
}
