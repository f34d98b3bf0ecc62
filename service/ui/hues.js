/** Class colours: the same for a card, a bar and a button of one class. */

const HUES = 8;

/** Which of the eight colours of the style sheet a label has: its place among all labels. */
export function hueOf(label, labels) {
  return Math.max(labels.indexOf(label), 0) % HUES;
}
