/** Errors in the words of the page: the picture and the class that are meant, in place of their number in a request. */

const ENDS = /' (has expired|was deleted|was evicted to make room)/;
const FOR_PROGRAMS = /; [^;]*\b(?:GET|POST|PUT|PATCH|DELETE) \/v1\/[^;]*$/; // what a program should call now

/** Why an open session answers no more, and what a person does next. */
export function endOf({ message }) {
  const why = ENDS.exec(message)?.[1] ?? "is no longer on the server";
  return `This session ${why}: press Adapt to make a new one from the examples on this page.`;
}

/** Why a link opens no session. */
export function deadLink(id, { message, code }) {
  if (code === "session_not_found") return `No session ${id} is here: the link is mistyped, or of another server.`;
  const why = ENDS.exec(message)?.[1] ?? "can no longer be opened";
  return `The session ${id} of this link ${why}.`;
}

/** What an error says; `examples` are those that the failed call sent. */
export function inWords(error, examples = []) {
  const detail = error.message.replace(FOR_PROGRAMS, ".");
  const found = /^(?:support|queries)\[(\d+)\](?:\.label)?:? ?/.exec(detail);
  const example = found && examples[Number(found[1])];
  return example ? `${called(example)}: ${detail.slice(found[0].length)}` : detail;
}

function called({ label, input }) {
  const name = input.kind === "vector" ? `(${input.numbers.join(", ")})` : input.name;
  return label === undefined ? name : `${name} in “${label || "a class without a name"}”`;
}
