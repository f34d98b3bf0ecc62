/** The calls that led to what the page shows. */

/** Tells of every change with `change`. */
export class Journal extends EventTarget {
  #calls = [];

  get calls() {
    return this.#calls;
  }

  /** Adapting and opening begin anew; of predictions that follow each other the last one stays. */
  record(call) {
    const begins = call.call === "adapt" || call.call === "open";
    const asksAgain = call.call === "predict" && this.#calls.at(-1)?.call === "predict";
    const before = begins ? [] : asksAgain ? this.#calls.slice(0, -1) : this.#calls;
    this.#calls = [...before, call];
    this.dispatchEvent(new Event("change"));
  }
}
