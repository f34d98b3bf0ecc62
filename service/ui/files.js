/**
 * Files that a person gives: chosen, dropped, pasted, or in folders; each as `{ label, file, fromFile }`.
 *
 * `label` is the folder it lies in, null outside of one. What was pasted has no name that code could open: `fromFile` is false.
 */

import { element } from "./elements.js";

/** Asks for files; gives none when the person changes their mind. */
export async function chooseFiles() {
  return (await choose({ multiple: true, accept: "image/*" })).map((file) => given(file));
}

/** Asks for a folder; gives the pictures in it, labelled. */
export async function chooseFolder() {
  const files = await choose({ webkitdirectory: true });
  return files.filter(isPicture).map((file) => given(file, file.webkitRelativePath.split("/").at(-2)));
}

/** Takes what is dropped on a place: `dropped` is given the files, or `failed` an Error in words where one of them is no picture. */
export function acceptDrops(place, { dropped, failed }) {
  place.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    place.classList.add("dropping");
  });
  place.addEventListener("dragleave", (event) => {
    if (!place.contains(event.relatedTarget)) place.classList.remove("dropping");
  });
  place.addEventListener("drop", async (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    place.classList.remove("dropping");
    const files = await filesOf(event.dataTransfer);
    const odd = files.find(({ file }) => file.type !== "" && !isPicture(file)); // what the browser does not know the server may
    if (odd) failed(new Error(`${odd.file.name} is no picture (it is ${odd.file.type}), so nothing was added. Drop pictures, or a folder of them.`));
    else dropped(files);
  });
}

/** The pictures of a paste, if there are any. */
export function pasted(event) {
  return [...(event.clipboardData?.files ?? [])].filter(isPicture).map((file) => ({ label: null, file, fromFile: false }));
}

function given(file, label = null) {
  return { label, file, fromFile: true };
}

function choose(attributes) {
  return new Promise((resolve) => {
    const input = element("input", { type: "file", ...attributes });
    input.addEventListener("change", () => resolve([...input.files]));
    input.addEventListener("cancel", () => resolve([]));
    input.click();
  });
}

// What a folder holds beside pictures (notes, .DS_Store) is not meant; a file chosen by hand is, whatever it is called.
function isPicture(file) {
  return file.type.startsWith("image/");
}

async function filesOf(transfer) {
  // Entries must be taken before the first wait: afterwards the browser has emptied the list.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files].map((file) => given(file));
  return (await Promise.all(entries.map((entry) => filesWithin(entry, null)))).flat();
}

async function filesWithin(entry, label) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return label === null || isPicture(file) ? [given(file, label)] : [];
  }
  const inner = await entriesOf(entry.createReader());
  return (await Promise.all(inner.map((each) => filesWithin(each, entry.name)))).flat();
}

async function entriesOf(reader) {
  const found = [];
  // A reader gives a hundred at most, and an empty list at the end.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    found.push(...some);
  }
}
