/** The HTTP API: every call that the page makes, and its errors in words. */

import { toWire } from "./inputs.js";

/** The server refused: its problem document. */
export class Problem extends Error {
  constructor({ detail, status, code, field = null }) {
    super(detail);
    Object.assign(this, { status, code, field });
  }

  /** Whether the session that was asked for is no more. */
  get ended() {
    return this.status === 410 || this.code === "session_not_found";
  }
}

/** No answer came. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer. Is it running, and are you connected to it? Try again in a moment.");
  }
}

/** Calls of the server that gave this page; `made` is told of each that succeeded, as `{ call, … }`; one that opens a session without classes `estimates` numbers. */
export class Api {
  #made;

  constructor(made = () => {}) {
    this.#made = made;
  }

  async models() {
    return (await ask("GET", "v1/models")).models;
  }

  /** Every session, newest first. */
  async sessions() {
    const found = [];
    for (let page = { next: "" }; page.next !== null; ) {
      page = await ask("GET", page.next ? `v1/sessions?after=${page.next}` : "v1/sessions");
      found.push(...page.sessions);
    }
    return found.reverse();
  }

  async session(id) {
    const session = await ask("GET", `v1/sessions/${encodeURIComponent(id)}`);
    this.#made({ call: "open", session: id, estimates: !session.labels?.length });
    return session;
  }

  /** Adapts `model` to examples, `[{ label | target, input }]`. */
  async adapt({ model, examples, ...options }) {
    const session = await ask("POST", "v1/sessions", { model, support: examples.map(exampleToWire), ...options });
    this.#made({ call: "adapt", session: session.session, model, examples, options });
    return session;
  }

  async grow(id, examples) {
    const session = await ask("POST", `v1/sessions/${id}/examples`, { support: examples.map(exampleToWire) });
    this.#made({ call: "grow", session: id, examples });
    return session;
  }

  async predict(id, inputs, { signal = null, ...options } = {}) {
    const answer = await ask("POST", `v1/sessions/${id}/predict`, { queries: inputs.map(toWire), ...options }, signal);
    this.#made({ call: "predict", session: id, inputs, options });
    return answer;
  }

  async remove(id) {
    await ask("DELETE", `v1/sessions/${id}`);
    this.#made({ call: "delete", session: id });
  }

  /** The adapted weights, a safetensors file as a Blob. */
  async weights(id) {
    const answer = await send("GET", `v1/sessions/${id}/weights`);
    this.#made({ call: "export", session: id });
    return answer.blob();
  }
}

/** An example as the API takes it. */
export function exampleToWire({ label, target, input }) {
  return target === undefined ? { ...toWire(input), label } : { ...toWire(input), target };
}

async function ask(method, path, body = undefined, signal = null) {
  const answer = await send(method, path, body, signal);
  return answer.status === 204 ? null : answer.json();
}

async function send(method, path, body, signal) {
  const answer = await reach(path, {
    method,
    signal,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.ok) return answer;
  throw new Problem(await problemOf(answer));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable();
  }
}

async function problemOf(answer) {
  const elsewhere = { status: answer.status, code: "unknown", detail: `The server answered ${answer.status} ${answer.statusText}.` };
  const isProblem = (answer.headers.get("Content-Type") ?? "").startsWith("application/problem+json");
  return isProblem ? answer.json() : elsewhere;
}
