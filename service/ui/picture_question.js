/** A picture to ask about: drawn, dropped, pasted, chosen, photographed, or one of our own. */

import { photograph } from "./camera.js";
import { button, element } from "./elements.js";
import { acceptDrops, chooseFiles } from "./files.js";
import { pictureOf } from "./inputs.js";
import { Pad } from "./pad.js";

/** Tells of every change with `change`; `input` is null while there is nothing to ask about. */
export class PictureQuestion extends EventTarget {
  #pad = new Pad("Draw something to ask about");
  #given = null; // a picture that covers the pad
  #cover = element("div", { class: "cover", hidden: true });
  #failed;

  constructor({ failed }) {
    super();
    this.#failed = failed;
    this.#pad.addEventListener("change", () => this.#become(null));
    this.#pad.element.append(this.#cover);
    const tools = element(
      "div",
      { class: "tools" },
      button("Undo", () => this.#pad.undo()),
      button("Clear", () => this.clear()),
      button("File", () => this.#attempt(async () => this.#take(await chooseFiles()))),
      button("Camera", () => this.#attempt(() => photograph("A picture to ask about", (photo) => this.#become(photo)))),
    );
    this.element = element("div", { class: "question", "data-takes": true, ongive: (event) => this.#take(event.detail) }, this.#pad.element, tools);
    acceptDrops(this.element, { dropped: (given) => this.#take(given), failed });
  }

  get input() {
    if (this.#given) return this.#given;
    return this.#pad.isEmpty ? null : this.#pad.picture("query.png");
  }

  /** Whether the pen makes it, and not a picture that was given. */
  get isDrawn() {
    return this.#given === null;
  }

  clear() {
    this.#pad.clear();
  }

  /** Offers pictures to ask about in one click. */
  offer(samples) {
    this.element.append(this.#samples(samples));
  }

  #take([first]) {
    return this.#attempt(async () => {
      if (first) this.#become(await pictureOf(first.file, first.file.name, first));
    });
  }

  #become(given) {
    this.#given = given;
    this.#cover.hidden = given === null;
    const image = given && element("img", { src: given.url, alt: given.name });
    image?.addEventListener("error", () => image.replaceWith(element("span", { class: "unseen" }, given.name)));
    this.#cover.replaceChildren(...(given ? [image, button("×", () => this.clear(), { class: "quiet icon", "aria-label": `Take ${given.name} away` })] : []));
    this.dispatchEvent(new Event("change"));
  }

  #samples(samples) {
    const each = samples.map((input) =>
      button(element("img", { src: input.url, alt: "" }), () => this.#become(input), { class: "thumb", "aria-label": `Ask about ${input.name}` }),
    );
    return element("div", { class: "samples" }, element("p", { class: "hint" }, "Or one of ours:"), element("div", { class: "thumbs" }, ...each));
  }

  async #attempt(work) {
    try {
      await work();
    } catch (error) {
      this.#failed(error);
    }
  }
}
