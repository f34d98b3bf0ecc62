/** The answer of a regression: a number, and one click to teach the right one; like `ClassReply`. */

import { number } from "./cells.js";
import { element } from "./elements.js";

export class TargetReply {
  onteach = () => {};
  nearest = 0; // examples that it shows
  #guess = element("output", { class: "guess" });
  #value = element("input", { "aria-label": "The right value", autocomplete: "off" });
  #complaint = element("p", { class: "doubt", role: "alert", hidden: true });
  #teach;
  #grows = true;

  constructor() {
    this.#teach = element(
      "form",
      { class: "teach", onsubmit: (event) => this.#submit(event) },
      element("p", {}, element("b", {}, "Grow the model with this."), " The value here is:"),
      element("div", { class: "fresh" }, this.#value, element("button", { class: "quiet" }, "Add point")),
      this.#complaint,
    );
    this.element = element("div", { class: "reply" }, this.#guess, this.#teach);
  }

  know({ keeps_support: grows }) {
    this.#grows = grows;
  }

  show(prediction) {
    this.#teach.hidden = prediction === null || !this.#grows;
    this.#guess.replaceChildren(
      prediction === null
        ? element("span", { class: "waiting" }, "Type numbers and watch the answer change.")
        : element("span", {}, "y ≈ ", element("b", {}, prediction.target.map((value) => value.toPrecision(4)).join(", "))),
    );
  }

  #submit(event) {
    event.preventDefault();
    this.#complaint.hidden = true;
    try {
      this.onteach({ target: number(this.#value.value.trim(), "The right value") });
      this.#value.value = "";
    } catch (error) {
      this.#complaint.textContent = error.message;
      this.#complaint.hidden = false;
    }
  }
}
