/** The support set as cards, one a class: draw, drop, paste, choose or photograph its examples. */

import { photograph } from "./camera.js";
import { counted } from "./cells.js";
import { button, element } from "./elements.js";
import { acceptDrops, chooseFiles, chooseFolder } from "./files.js";
import { hueOf } from "./hues.js";
import { pictureOf } from "./inputs.js";
import { Pad } from "./pad.js";
import { CHARACTERS, sampleExamples } from "./samples.js";
import { SupportSet } from "./support_set.js";

/** An editor of a picture support set; tells of changes with `change`, gives errors to `failed`, and tells `said` what was added. */
export class ClassCards extends EventTarget {
  #support = new SupportSet();
  #cards = new Map();
  #list = element("ul", { class: "cards" });
  #failed;
  #said;

  constructor({ drawable, failed, said }) {
    super();
    this.#failed = failed;
    this.#said = said;
    const add = element("li", { class: "add-card" }, button("Add a class", () => this.#addClass()));
    this.element = element("div", { class: "picture-editor" }, this.#list);
    this.#list.append(add);
    this.tools = [
      button("Try our drawings", () => this.#attempt(() => this.loadSamples())),
      button("Open a folder", () => this.#attempt(() => this.#openFolder()), { title: "A folder with one folder of pictures per class" }),
      button("Start over", () => this.clear()),
    ];
    this.takes({ drawable });
    this.#support.addEventListener("change", () => this.#show());
    acceptDrops(this.element, { dropped: (given) => this.#take(given, null), failed });
    this.clear();
  }

  /** Goes on with the same classes and examples for a meta-model of drawings or of photos. */
  takes({ drawable }) {
    if (!drawable) this.#commit(); // its pads are about to hide
    this.element.classList.toggle("photos", !drawable);
    this.hint = drawable
      ? "Name each class, then draw an example and add it: two of each are better than one. Files and folders can be dropped, pictures pasted."
      : "Name each class and give it a few pictures: drop or paste them, choose files, or take them with the camera.";
  }

  /** `[{ label, input }]`, with what is drawn but not added yet. */
  get examples() {
    this.#commit();
    return this.#support.examples;
  }

  get labels() {
    return this.#support.classes.map(({ label }) => label.trim());
  }

  /** Puts an example into the class of its label, which is made if there is none. */
  add({ label, input }) {
    this.#support.addExample(this.#support.classOf(label), input);
  }

  clear() {
    this.#support.reset(["first thing", "second thing", "third thing"]);
  }

  async loadSamples() {
    const examples = await sampleExamples();
    this.#support.reset(CHARACTERS);
    examples.forEach((example) => this.add(example));
  }

  #commit() {
    for (const card of this.#cards.values()) card.commit();
  }

  #addClass() {
    const id = this.#support.addClass();
    this.#cards.get(id).focusName();
  }

  async #openFolder() {
    await this.#take(await chooseFolder(), null);
  }

  /** Adds files to the class they say, else to the class with this id, else to the one that is named as the file. */
  #take(given, id) {
    return this.#attempt(async () => {
      const inputs = await Promise.all(given.map(({ file, fromFile }) => pictureOf(file, file.name, { fromFile })));
      if (id === null && given.length > 0) this.#dropUnused();
      given.forEach(({ label, file }, place) => {
        const target = label !== null ? this.#support.classOf(label) : (id ?? this.#support.classOf(stem(file.name)));
        this.#support.addExample(target, inputs[place]);
      });
    });
  }

  #dropUnused() {
    this.#support.classes
      .filter(({ id, examples }) => examples.length === 0 && !this.#cards.get(id).isTouched)
      .forEach(({ id }) => this.#support.removeClass(id));
  }

  async #attempt(work) {
    try {
      await work();
    } catch (error) {
      this.#failed(error);
    }
  }

  #show() {
    const { classes } = this.#support;
    const ids = new Set(classes.map(({ id }) => id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    for (const one of classes) {
      if (!this.#cards.has(one.id)) this.#make(one.id);
      this.#cards.get(one.id).show(one, hueOf(one.label.trim(), this.labels));
    }
    this.dispatchEvent(new Event("change"));
  }

  #make(id) {
    const card = new Card({
      support: this.#support,
      id,
      take: (given) => this.#take(given, id),
      attempt: (work) => this.#attempt(work),
      failed: this.#failed,
      said: this.#said,
    });
    this.#cards.set(id, card);
    this.#list.lastElementChild.before(card.element);
  }
}

class Card {
  #support;
  #id;
  #label = "";
  #shown = null;
  #pad = new Pad("Draw an example");
  #name;
  #thumbs = element("ul", { class: "thumbs" });
  #remove;
  #add;
  #said;

  constructor({ support, id, take, attempt, failed, said }) {
    this.#support = support;
    this.#id = id;
    this.#said = said;
    this.#name = element("input", {
      class: "name",
      maxlength: 200,
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": "Name of the class",
      oninput: () => support.rename(id, this.#name.value),
      onfocus: () => this.#name.select(),
    });
    this.#remove = button("×", () => this.#leave(), { class: "quiet icon" });
    this.#add = button("Add", () => this.commit());
    this.#pad.addEventListener("change", () => this.element.classList.toggle("unsaved", !this.#pad.isEmpty));
    this.#pad.addEventListener("done", () => this.commit());
    const tools = element(
      "div",
      { class: "tools" },
      button("Files", () => attempt(async () => take(await chooseFiles()))),
      button("Camera", () => attempt(() => photograph(`Pictures of ${this.#label}`, (photo) => support.addExample(id, photo)))),
    );
    this.element = element(
      "li",
      { class: "card", "data-takes": true, ongive: (event) => take(event.detail) },
      element("div", { class: "card-head" }, this.#name, this.#remove),
      element(
        "div",
        { class: "card-body" },
        element("div", { class: "pad-side" }, this.#pad.element, element("div", { class: "tools" }, this.#add, button("Clear", () => this.#pad.clear()))),
        element("div", { class: "card-side" }, this.#thumbs, tools),
      ),
    );
    acceptDrops(this.element, { dropped: take, failed });
  }

  /** Whether something is drawn that was not added. */
  get isTouched() {
    return !this.#pad.isEmpty;
  }

  /** Adds what is drawn on the pad. */
  commit() {
    if (this.#pad.isEmpty) return;
    const count = this.#support.classes.find(({ id }) => id === this.#id).examples.length;
    const drawn = this.#pad.picture(`${this.#label.trim()}-${count + 1}.png`);
    this.#pad.clear();
    this.#support.addExample(this.#id, drawn);
    this.#said(`Added a drawing to ${this.#label.trim() || "the class"}: ${counted(count + 1, "example")}.`);
  }

  focusName() {
    this.#name.focus();
  }

  show(one, hue) {
    this.element.dataset.hue = hue;
    if (one === this.#shown) return;
    this.#label = one.label;
    if (this.#name.value !== one.label) this.#name.value = one.label;
    this.#remove.setAttribute("aria-label", `Remove the class ${one.label}`);
    this.#add.setAttribute("aria-label", `Add the drawing to ${one.label}`);
    this.element.setAttribute("aria-label", one.label);
    if (one.examples !== this.#shown?.examples) this.#showExamples(one.examples);
    this.#shown = one;
  }

  #showExamples(examples) {
    const none = element("li", { class: "none" }, "No examples yet");
    this.#thumbs.replaceChildren(...(examples.length ? examples.map((example) => this.#thumb(example)) : [none]));
  }

  #thumb({ id, input }) {
    const image = element("img", { src: input.url, alt: input.name });
    image.addEventListener("error", () => image.replaceWith(element("span", { class: "unseen" }, input.name)));
    const remove = button(image, () => this.#removeExample(id), { class: "thumb", "aria-label": `Remove ${input.name}`, title: `Remove ${input.name}` });
    return element("li", {}, remove);
  }

  #removeExample(id) {
    this.#support.removeExample(this.#id, id);
    (this.#thumbs.querySelector("button") ?? this.#name).focus();
  }

  #leave() {
    const neighbour = this.element.nextElementSibling.querySelector("input, button");
    this.#support.removeClass(this.#id);
    neighbour.focus();
  }
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "");
}
