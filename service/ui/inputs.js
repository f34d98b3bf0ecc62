/**
 * What a meta-model is shown: a picture or a row of numbers, as values.
 *
 * A picture is `{ kind: "picture", name, url, base64, fromFile }`, a row `{ kind: "vector", numbers }`.
 */

/** A picture of a `data:` URL; one that came from a file can be named by its path in code. */
export function picture(url, name, { fromFile = false } = {}) {
  return Object.freeze({ kind: "picture", name, url, base64: url.slice(url.indexOf(",") + 1), fromFile });
}

/** A picture of a file or of what was pasted or photographed, byte by byte as it came; rejects with an Error in words. */
export function pictureOf(blob, name, { fromFile }) {
  return new Promise((resolve, reject) => {
    if (blob.size === 0) reject(new Error(`${name} is an empty file. Choose another.`));
    const reader = new FileReader();
    reader.onload = () => resolve(picture(reader.result, name, { fromFile }));
    reader.onerror = () => reject(new Error(`${name} cannot be read: ${reader.error.message}. Choose it again.`));
    reader.readAsDataURL(blob);
  });
}

export function vector(numbers) {
  return Object.freeze({ kind: "vector", numbers: Object.freeze([...numbers]) });
}

/** An input as the API takes it. */
export function toWire(input) {
  return input.kind === "vector" ? { vector: input.numbers } : { image: input.base64 };
}
