/** Our own drawings, of characters that belong to no alphabet: two to learn from and one to ask about, of each. */

import { pictureOf } from "./inputs.js";

export const CHARACTERS = ["anchor", "comet", "kite", "hook", "ladder"];

/** `[{ label, input }]` to learn from. */
export function sampleExamples() {
  return Promise.all(CHARACTERS.flatMap((label) => [1, 2].map(async (n) => ({ label, input: await sample(`${label}-${n}.png`) }))));
}

/** Inputs to ask about, one of each of these characters. */
export function sampleQueries(characters) {
  return Promise.all(characters.map((label) => sample(`${label}-query.png`)));
}

async function sample(name) {
  const answer = await fetch(`ui/samples/${name}`);
  if (!answer.ok) throw new Error(`The drawing ${name} did not come (${answer.status}). Load the page again.`);
  return pictureOf(await answer.blob(), name, { fromFile: false });
}
