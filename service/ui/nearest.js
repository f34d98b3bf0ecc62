/** The support examples that a question is nearest to: their pictures where the page has them, else their numbers. */

import { element } from "./elements.js";

export class NearestExamples {
  #inputs = new Map(); // by the ids that the server gave
  #list = element("ol", { class: "near" });

  constructor() {
    this.element = element("section", { class: "nearest", "aria-label": "Nearest examples", hidden: true }, element("p", { class: "hint" }, "Nearest of the examples:"), this.#list);
  }

  /** Learns which ids the server gave to examples that were sent to it. */
  know(ids, examples) {
    ids.forEach((id, place) => this.#inputs.set(id, examples[place]?.input));
  }

  /** Shows `[{ id, label, distance }]`, nearest first; `hue(label)` is a label's colour. */
  show(nearest, hue) {
    this.element.hidden = nearest.length === 0;
    this.#list.replaceChildren(...nearest.map((one) => this.#example(one, hue(one.label))));
  }

  #example({ id, label, distance }, hue) {
    const number = element("span", { class: "unseen" }, `#${id}`);
    const { kind, url } = this.#inputs.get(id) ?? {};
    const image = kind === "picture" ? element("img", { src: url, alt: `Example ${id}:` }) : null;
    image?.addEventListener("error", () => image.replaceWith(number));
    const title = `Example ${id}, at distance ${Number(distance.toPrecision(2))}`;
    return element("li", { "data-hue": hue, title }, element("span", { class: "thumb" }, image ?? number), element("span", { class: "label" }, label));
  }
}
