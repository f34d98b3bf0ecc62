/** Errors in the words of the page: the picture and the class that are meant, in place of their number in a request. */

/** What an error says; `examples` are those that the failed call sent. */
export function inWords(error, examples = []) {
  const detail = error.message;
  const found = /^(?:support|queries)\[(\d+)\](?:\.label)?:? ?/.exec(detail);
  const example = found && examples[Number(found[1])];
  return example ? `${called(example)}: ${detail.slice(found[0].length)}` : detail;
}

function called({ label, input }) {
  const name = input.kind === "vector" ? `(${input.numbers.join(", ")})` : input.name;
  return label === undefined ? name : `${name} in “${label || "a class without a name"}”`;
}
