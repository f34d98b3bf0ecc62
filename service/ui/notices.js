/** What the page says: good news to screen readers, errors to everyone. */

import { inWords } from "./words.js";

const status = document.getElementById("status");
const alert = document.getElementById("alert");

export function say(text) {
  status.textContent = text;
}

/** Shows an error until something succeeds; `examples` are those that the failed call sent. */
export function failed(error, examples = []) {
  alert.textContent = inWords(error, examples);
  alert.hidden = false;
  // A mistake of the page itself: its place is of use to whoever mends it.
  if (error instanceof TypeError || error instanceof ReferenceError) console.error(error);
}

export function calm() {
  alert.hidden = true;
  alert.textContent = "";
}

/** Puts a text on the clipboard; `what` it is called. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${what}.`);
  } catch {
    failed(new Error("The browser does not let this page copy. Select the text and copy it by hand."));
  }
}
