/** The examples on the page, by class. Tells of every change with a `change` event. */

export class SupportSet extends EventTarget {
  #classes = [];
  #next = 1;

  /** `[{ id, label, examples: [{ id, input }] }]`, in the order of their making. */
  get classes() {
    return this.#classes;
  }

  /** `[{ label, input }]` of every class. */
  get examples() {
    return this.#classes.flatMap(({ label, examples }) => examples.map(({ input }) => ({ label: label.trim(), input })));
  }

  get isEmpty() {
    return this.#classes.every(({ examples }) => examples.length === 0);
  }

  /** Makes a class, without examples yet; gives its id. */
  addClass(label = this.#freeLabel()) {
    const id = this.#next++;
    this.#become([...this.#classes, { id, label, examples: [] }]);
    return id;
  }

  /** The id of the class with this label, made if there is none. */
  classOf(label) {
    return this.#classes.find((one) => one.label.trim() === label)?.id ?? this.addClass(label);
  }

  rename(id, label) {
    this.#change(id, (one) => ({ ...one, label }));
  }

  removeClass(id) {
    this.#become(this.#classes.filter((one) => one.id !== id));
  }

  addExample(id, input) {
    this.#change(id, (one) => ({ ...one, examples: [...one.examples, { id: this.#next++, input }] }));
  }

  removeExample(id, exampleId) {
    this.#change(id, (one) => ({ ...one, examples: one.examples.filter((example) => example.id !== exampleId) }));
  }

  /** Begins anew, with classes of these labels. */
  reset(labels) {
    this.#become(labels.map((label) => ({ id: this.#next++, label, examples: [] })));
  }

  #freeLabel() {
    const taken = new Set(this.#classes.map(({ label }) => label.trim()));
    for (let number = this.#classes.length + 1; ; number++) {
      if (!taken.has(`class ${number}`)) return `class ${number}`;
    }
  }

  #change(id, change) {
    this.#become(this.#classes.map((one) => (one.id === id ? change(one) : one)));
  }

  #become(classes) {
    this.#classes = classes;
    this.dispatchEvent(new Event("change"));
  }
}
