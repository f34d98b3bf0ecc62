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
  const kind = kindOf(model);
  const told = kind === "vector" ? 5 : 1; // examples of each class
  const row = model.evaluation.find(({ way, shot }) => way === 5 && shot === told) ?? model.evaluation[0];
  return [TAKES[kind](model.input), row && kind !== "regression" ? measured(row, kind) : null].filter(Boolean).join(" ");
}

const TAKES = {
  drawing: () => "Takes drawings, of any size and colour.",
  photo: () => "Takes photos.",
  vector: ({ length, longest }) => {
    if (!length) return `Takes rows of numbers with a class${longest ? `, up to ${longest} in a row` : ""}. Columns may have any unit.`;
    return `Takes rows of ${length} number${length === 1 ? "" : "s"} with a class.`;
  },
  regression: ({ length }) => (length > 1 ? `Learns a function of ${length} numbers from points.` : "Learns a function from points."),
};

/** What a person can do with it, by the ids of the page's headline. */
export function headline(model) {
  const [show, watch, unseen, ask] = HEADLINES[kindOf(model)];
  return { "title-show": show, "title-watch": watch, "lead-unseen": unseen, "lead-ask": ask };
}

const APART = "Watch a model tell them apart.";
const HEADLINES = {
  drawing: ["Draw three things, twice each.", APART, "It has never seen what you draw.", "then draw one of them again."],
  photo: ["Show it three things, in two photos each.", APART, "It has never seen your things.", "then show it one of them again."],
  vector: ["Give it a few rows of numbers of each kind.", APART, "It has never seen your table.", "then give it another row."],
  regression: ["Give it a few points.", "Watch a model find the function.", "It has never seen your function.", "then ask for its value anywhere."],
};

function measured({ data, way, shot, accuracy }, kind) {
  const examples = shot === 1 ? "one example" : `${shot} examples`;
  const unseen = kind === "vector" ? data : "unseen classes";
  return `Measured: ${(100 * accuracy).toFixed(1)} % right on ${unseen}, ${way}${kind === "vector" ? " classes" : ""} at a time with ${examples} of each.`;
}
