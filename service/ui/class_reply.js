/** The answer of a classifier: its best guess, a bar for every likely class, the nearest examples, and one click to teach it. */

import { button, element } from "./elements.js";
import { hueOf } from "./hues.js";
import { NearestExamples } from "./nearest.js";

const NEAREST = 4;

export class ClassReply {
  onteach = () => {};
  #labels = [];
  #waiting;
  #order; // of the labels, which decides their colours
  #guess = element("output", { class: "guess" });
  #doubt = element("p", { class: "doubt", hidden: true });
  #bars = element("ol", { class: "bars", "aria-label": "How likely each class is" });
  #nearest = new NearestExamples();
  #chips = element("div", { class: "chips" });
  #name = element("input", { placeholder: "something new", maxlength: 200, "aria-label": "Name of a new class", autocomplete: "off" });
  #teach;
  #fixed = element("p", { class: "hint", hidden: true }, "This session cannot grow: its examples were not kept, or it was imported.");
  #grows = true;

  /** `order()` gives the labels of the page, in the order of their colours; `waiting` says what to do where nothing is asked yet. */
  constructor({ order, waiting = "Draw here and watch the answer change." }) {
    this.#order = order;
    this.#waiting = waiting;
    const fresh = element("form", { class: "fresh", onsubmit: (event) => this.#teachNew(event) }, this.#name, element("button", { class: "quiet" }, "Add class"));
    this.#teach = element(
      "div",
      { class: "teach", role: "group", "aria-label": "Grow the model with this" },
      element("p", {}, element("b", {}, "Grow the model with this."), " It is:"),
      this.#chips,
      fresh,
    );
    this.element = element("div", { class: "reply" }, this.#guess, this.#doubt, this.#bars, this.#nearest.element, this.#teach, this.#fixed);
  }

  /** How many nearest examples it shows; a session that did not keep its examples knows none. */
  get nearest() {
    return this.#grows ? NEAREST : 0;
  }

  /** Offers the classes of a session; `examples` are those that the call sent which gave it. */
  know({ labels, keeps_support: grows, added = [] }, examples) {
    this.#nearest.know(added, examples);
    this.#labels = labels;
    this.#grows = grows;
    this.#offer(labels);
  }

  /** A chip for each label; one that stays is not moved, so that it keeps the focus. */
  #offer(labels) {
    const known = new Map([...this.#chips.children].map((chip) => [chip.textContent, chip]));
    for (const [label, chip] of known) if (!labels.includes(label)) chip.remove();
    labels.forEach((label, place) => {
      const chip = known.get(label) ?? button(label, () => this.onteach({ label }), { class: "quiet chip" });
      chip.dataset.hue = this.#hue(label);
      if (this.#chips.children[place] !== chip) this.#chips.insertBefore(chip, this.#chips.children[place] ?? null);
    });
  }

  show(prediction) {
    this.#teach.hidden = prediction === null || !this.#grows;
    this.#fixed.hidden = prediction === null || this.#grows;
    this.#bars.hidden = prediction === null;
    this.#doubt.hidden = prediction?.unfamiliar !== true;
    this.#nearest.show(prediction?.nearest ?? [], (label) => this.#hue(label));
    if (prediction === null) {
      this.#guess.replaceChildren(element("span", { class: "waiting" }, this.#waiting));
      return;
    }
    this.#guess.replaceChildren(element("b", {}, prediction.label), ` ${percent(prediction.score)}`, ahead(prediction));
    this.#doubt.textContent = `Unlike every class you showed: take this guess with care${this.#grows ? ", or teach it as something new" : ""}.`;
    this.#bars.replaceChildren(...prediction.top.map((one) => this.#bar(one)));
  }

  #bar({ label, score }) {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${100 * score}%`;
    return element(
      "li",
      { "data-hue": this.#hue(label) },
      element("span", { class: "label" }, label),
      element("span", { class: "track", "aria-hidden": "true" }, fill),
      element("span", { class: "percent" }, percent(score)),
    );
  }

  #hue(label) {
    return hueOf(label, [...new Set([...this.#order(), ...this.#labels])]);
  }

  #teachNew(event) {
    event.preventDefault();
    const label = this.#name.value.trim();
    if (label) {
      this.#name.value = "";
      this.onteach({ label });
    } else {
      this.#name.focus();
    }
  }
}

/** Whole per cent; nothing is ever quite sure. */
function percent(score) {
  if (score < 0.005) return "< 1 %";
  return score > 0.995 ? "> 99 %" : `${Math.round(100 * score)} %`;
}

/** How far the best class is ahead, where the server says so. */
function ahead({ margin }) {
  return typeof margin === "number" ? element("span", { class: "margin" }, `ahead of the next by ${percent(margin)}`) : "";
}
