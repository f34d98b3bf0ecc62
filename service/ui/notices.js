/** What the page says, above everything else and without moving it: good news for a while, errors until they are closed or mended. */

import { button, element } from "./elements.js";
import { inWords } from "./words.js";

const SHOWN_MS = 4000;
const MS_PER_CHARACTER = 50; // of reading

const status = document.getElementById("status");
const alert = document.getElementById("alert");
let timer = null;

// Whoever goes on has read it; it must not cover what is drawn.
addEventListener("pointerdown", hush, { capture: true });

/** Shows good news, then leaves it to screen readers. */
export function say(text) {
  status.textContent = text;
  status.classList.remove("visually-hidden");
  clearTimeout(timer);
  timer = setTimeout(hush, Math.max(SHOWN_MS, text.length * MS_PER_CHARACTER));
}

function hush() {
  status.classList.add("visually-hidden");
}

/** Shows an error until something succeeds; `examples` are those that the failed call sent. */
export function failed(error, examples = []) {
  alert.replaceChildren(element("p", {}, inWords(error, examples)), button("Close", calm, { "aria-label": "Close this message" }));
  alert.hidden = false;
  hush();
  // A mistake of the page itself: its place is of use to whoever mends it.
  if (error instanceof TypeError || error instanceof ReferenceError) console.error(error);
}

export function calm() {
  alert.hidden = true;
  alert.replaceChildren();
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
