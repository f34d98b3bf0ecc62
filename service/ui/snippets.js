/** Calls as a person would write them: for a shell with curl, for Python with the client. */

import { exampleToWire } from "./api.js";
import { toWire } from "./inputs.js";

const SHOWN_CHARACTERS = 16;

/** Shell commands that make these calls of the server at `origin`; `whole` leaves no picture shortened. */
export function asCurl(calls, origin, { whole }) {
  return calls.map((call) => CURL[call.call](call, `${origin}/v1/sessions`, whole)).join("\n\n");
}

/** A Python program that makes the same calls. */
export function asPython(calls, origin, { whole }) {
  const numbers = calls.some(({ estimates, examples = [] }) => estimates || examples.some(({ target }) => target !== undefined));
  const body = calls.map((call, place) => PYTHON[call.call](call, whole, calls[place - 1]?.session === call.session, numbers)).join("\n\n");
  const imports = [
    /\bb64decode\(/.test(body) ? "from base64 import b64decode" : null,
    /\bPath\(/.test(body) ? "from pathlib import Path" : null,
  ].filter(Boolean);
  const head = imports.length ? `${imports.join("\n")}\n\n` : "";
  return `${head}from innerloop import Client\n\nclient = Client(${text(origin)})\n\n${body}`;
}

const CURL = {
  adapt: ({ model, examples, options }, url, whole) => posted(url, { model, ...options }, "support", examples.map((one) => [one.input, exampleToWire(one)]), whole),
  grow: ({ session, examples }, url, whole) =>
    posted(`${url}/${session}/examples`, {}, "support", examples.map((one) => [one.input, exampleToWire(one)]), whole),
  predict: ({ session, inputs, options }, url, whole) =>
    posted(`${url}/${session}/predict`, options, "queries", inputs.map((input) => [input, toWire(input)]), whole),
  open: ({ session }, url) => `curl -s ${url}/${session}`,
  export: ({ session }, url) => `curl -s ${url}/${session}/weights -o ${session}.safetensors`,
  delete: ({ session }, url) => `curl -s -X DELETE ${url}/${session}`,
};

/** JSON goes in through the shell's here-document, where `$`, backquotes and backslashes are escaped and a file is read in place. */
function posted(url, options, name, entries, whole) {
  const lines = entries.map(([input, wire]) => {
    const { image, ...rest } = wire;
    const fields = Object.entries(rest).map(([key, value]) => `"${key}": ${escaped(JSON.stringify(value))}`).join(", ");
    if (image === undefined) return `  {${fields}}`;
    const content = input.fromFile ? `$(base64 < ${quoted(input.name)} | tr -d '\\n')` : shortened(image, whole);
    return `  {${[`"image": "${content}"`, fields].filter(Boolean).join(", ")}}`;
  });
  const rest = Object.entries(options).map(([key, value]) => `"${key}": ${escaped(JSON.stringify(value))}`);
  const body = `{${[...rest, `"${name}": [\n${lines.join(",\n")}\n]`].join(", ")}}`;
  return `curl -s ${url} -H 'Content-Type: application/json' --data-binary @- <<JSON\n${body}\nJSON`;
}

const PYTHON = {
  adapt: ({ model, examples, options }, whole) =>
    `session = client.adapt(\n    ${text(model)},\n${support(examples, whole)},\n${keywords(options)})\nprint(session.id, session.info.leave_one_out_accuracy)`,
  open: ({ session }) => `session = client.session(${text(session)})\nprint(session.info)`,
  grow: ({ session, examples }, whole, known) => `session = ${handle(session, known)}.add(\n${support(examples, whole)},\n)\nprint(session.revision)`,
  predict: ({ session, inputs, options }, whole, known, numbers) => {
    const queries = `[${inputs.map((input) => pythonInput(input, whole)).join(", ")}]`;
    const { top_k: _, ...others } = options; // numbers have no ranks
    const call = numbers ? `estimate(${queries}${given(others)})` : `predict(${queries}${given(options)})`;
    return `answer = ${handle(session, known)}.${call}\nprint(answer.predictions)`;
  },
  export: ({ session }, _, known) => `with open("${session}.safetensors", "wb") as file:\n    file.write(${handle(session, known)}.export())`,
  delete: ({ session }, _, known) => `${handle(session, known)}.delete()`,
};

/** The variable, where the line before was about the same session; else the session, looked up. */
function handle(session, known) {
  return known ? "session" : `client.session(${text(session)})`;
}

function support(examples, whole) {
  if (examples.some(({ target }) => target !== undefined)) {
    const inputs = examples.map(({ input }) => pythonInput(input, whole)).join(", ");
    return `    ([${inputs}], ${JSON.stringify(examples.map(({ target }) => target))})`;
  }
  const labels = [...new Set(examples.map(({ label }) => label))];
  const lines = labels.map((label) => {
    const inputs = examples.filter((one) => one.label === label).map(({ input }) => pythonInput(input, whole));
    return `        ${text(label)}: [${inputs.join(", ")}],`;
  });
  return `    {\n${lines.join("\n")}\n    }`;
}

function pythonInput(input, whole) {
  if (input.kind === "vector") return `[${input.numbers.join(", ")}]`;
  return input.fromFile ? `Path(${text(input.name)})` : `b64decode("${shortened(input.base64, whole)}")`;
}

function keywords(options) {
  return Object.entries(options).map(([name, value]) => `    ${name}=${JSON.stringify(value)},\n`).join("");
}

function given(options) {
  return Object.entries(options).map(([name, value]) => `, ${name}=${JSON.stringify(value)}`).join("");
}

/** JSON's strings are Python's too. */
function text(value) {
  return JSON.stringify(value);
}

function shortened(base64, whole) {
  return whole || base64.length <= SHOWN_CHARACTERS ? base64 : `${base64.slice(0, SHOWN_CHARACTERS)}…`;
}

function escaped(json) {
  return json.replace(/[\\$`]/g, "\\$&");
}

function quoted(name) {
  return `'${name.replaceAll("'", "'\\''")}'`;
}
