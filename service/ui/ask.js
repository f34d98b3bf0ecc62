/** Asking an adapted session: answers while the question is still being drawn, and growing by what was asked. */

import { element } from "./elements.js";
import { latest } from "./latest.js";

const PAUSE_MS = 120;

/**
 * A panel that asks a session.
 *
 * `question` has an `input` that may be null, `isDrawn` where the pen makes it, and tells of its changes; `reply` shows an answer (`show(prediction)`) with so many `nearest` examples,
 * nothing (`show(null)`), and calls its `onteach(lesson)` with `{ label }` or `{ target }`. `examples` are those that made the session, where the page
 * has them. `grown(session, example)` is told of every growth, `failed(error)` of every error.
 */
export class Ask {
  #api;
  #session;
  #question;
  #reply;
  #grown;
  #failed;
  #live;
  #isGrowing = false;

  constructor({ api, session, examples, question, reply, grown, failed }) {
    Object.assign(this, { element: element("div", { class: "ask" }, question.element, reply.element) });
    this.#api = api;
    this.#session = session;
    this.#question = question;
    this.#reply = reply;
    this.#grown = grown;
    this.#failed = failed;
    this.#live = latest((signal) => this.#ask(signal), {
      pause: PAUSE_MS,
      answered: ({ predictions: [prediction] }) => reply.show(prediction),
      failed: (error) => this.#refused(error),
    });
    question.addEventListener("change", () => this.#changed());
    reply.onteach = (lesson) => this.#teach(lesson);
    reply.know(session, examples ?? []);
    reply.show(null);
  }

  /** Asks nothing more, and drops the answers that are still to come. */
  close() {
    this.#live.cancel();
  }

  #changed() {
    if (this.#question.input !== null) {
      this.#live.changed();
      return;
    }
    this.#live.cancel();
    this.#reply.show(null);
  }

  #ask(signal) {
    const most = Math.min(Math.max(this.#session.labels?.length ?? 0, 1), 8);
    const { nearest } = this.#reply;
    return this.#api.predict(this.#session.session, [this.#question.input], { signal, top_k: most, ...(nearest ? { nearest } : {}) });
  }

  async #teach(lesson) {
    if (this.#isGrowing) return; // a second click of one thought
    const example = { ...lesson, input: this.#question.input };
    this.#isGrowing = true;
    this.#live.cancel();
    try {
      const session = await this.#api.grow(this.#session.session, [example]);
      this.#session = session;
      this.#reply.know(session, [example]);
      this.#grown(session, example);
      this.#live.changed();
    } catch (error) {
      this.#failed(error, [example]);
    } finally {
      this.#isGrowing = false;
    }
  }

  #refused(error) {
    this.#reply.show(null);
    const isBegun = error.code === "blank_image" && this.#question.isDrawn; // a drawing that has hardly begun is no mistake
    if (!isBegun) this.#failed(error, [{ input: this.#question.input }]);
  }
}
