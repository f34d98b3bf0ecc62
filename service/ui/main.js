/** The page: which parts there are, and what passes between them. */

import { Api, Problem } from "./api.js";
import { Ask } from "./ask.js";
import { counted } from "./cells.js";
import { ClassCards } from "./class_cards.js";
import { ClassReply } from "./class_reply.js";
import { codePanel } from "./code_panel.js";
import { pasted } from "./files.js";
import { Journal } from "./journal.js";
import { learned } from "./learned.js";
import { about, headline, kindOf, referenceOf } from "./models.js";
import { calm, copy, failed, say } from "./notices.js";
import { PictureQuestion } from "./picture_question.js";
import { regressionPlot } from "./plot.js";
import { CHARACTERS, sampleQueries } from "./samples.js";
import { SessionList } from "./sessions.js";
import { TableEditor } from "./table.js";
import { TargetReply } from "./target_reply.js";
import { VectorQuestion } from "./vector_question.js";
import { deadLink, endOf } from "./words.js";

const at = (id) => document.getElementById(id);
const journal = new Journal();
const api = new Api((call) => {
  calm();
  journal.record(call);
});

const list = new SessionList({ save, end });

const WAITING = { vector: "Type numbers and watch the answer change." };

let models = [];
let editor = null; // of the support set
let edited = null; // the meta-model that it is for
let ask = null; // the panel of the session that is open
let opened = null; // its id
let isOurs = false; // whether it was adapted to what stands on the page

// Models ----------------------------------------------------------------------------------------------------------------

async function start() {
  at("snippets").append(codePanel(journal, { origin: location.href.replace(/\/?(#.*)?$/, ""), copied: copy }));
  at("session-list").append(list.element);
  models = (await api.models()).filter(({ status }) => status === "serving");
  if (models.length === 0) throw new Error("This server has no meta-model to adapt. Put one into its model store and start it again.");
  at("model").replaceChildren(...models.map((model) => new Option(referenceOf(model), referenceOf(model), model.default, model.default)));
  edit(chosen());
  await Promise.all([followAddress(), listSessions()]);
}

function chosen() {
  return models[Math.max(at("model").selectedIndex, 0)];
}

/** Shows what a meta-model is, and an editor for what it takes. */
function edit(model) {
  at("model").value = referenceOf(model);
  at("model-about").textContent = about(model);
  for (const [id, text] of Object.entries(headline(model))) at(id).textContent = text;
  Object.assign(at("steps"), { max: model.steps_max, placeholder: model.steps_default, value: "" });
  at("steps").disabled = model.steps_max === 0;
  if (edited === null || !isSameEditor(edited, model)) {
    editor = editorFor(model);
    editor.addEventListener("change", ready);
    at("support").replaceChildren(editor.element);
    at("show-tools").replaceChildren(...editor.tools);
  }
  edited = model;
  if (isPicture(model)) editor.takes({ drawable: kindOf(model) === "drawing" });
  at("show-hint").textContent = editor.hint;
  ready();
}

/** Whether what was shown to one meta-model can be shown to another: any picture, but rows of as many numbers only. */
function isSameEditor(one, other) {
  return (isPicture(one) && isPicture(other)) || (kindOf(one) === kindOf(other) && one.input.length === other.input.length);
}

function isPicture(model) {
  return model.input.kind === "image";
}

function editorFor(model) {
  const kind = kindOf(model);
  if (isPicture(model)) return new ClassCards({ drawable: kind === "drawing", failed, said: done });
  const { length, longest } = model.input;
  return new TableEditor({ columns: length ?? null, most: longest ?? undefined, targets: kind === "regression", failed, said: done });
}

/** Says what a person has just done, and that what was wrong before is mended. */
function done(text) {
  calm();
  say(text);
}

/** Says in the button what adapting will do. */
function ready() {
  at("adapt").textContent = opened !== null && isOurs ? "Adapt again" : "Adapt";
}

// Sessions --------------------------------------------------------------------------------------------------------------

async function adapt() {
  if (at("adapt").hasAttribute("aria-busy")) return; // a second click of one thought
  const model = chosen();
  let examples = [];
  at("adapt").setAttribute("aria-busy", "true");
  try {
    examples = editor.examples;
    demand(model, examples);
    const session = await api.adapt({ model: referenceOf(model), examples, ...options() });
    open(session, examples);
    const steps = session.losses.length - 1;
    say(`Adapted${steps ? ` in ${counted(steps, "inner step")}` : ""}. Now ask about a new one.`);
  } catch (error) {
    failed(error, examples);
  } finally {
    at("adapt").removeAttribute("aria-busy");
  }
}

/** Throws an Error in words when a support set is not worth sending. */
function demand(model, examples) {
  const isRegression = kindOf(model) === "regression";
  if (examples.some(({ label }) => label === "")) throw new Error("Give the class a name: one with examples has none.");
  if (isRegression && examples.length === 0) throw new Error("Give it a few points first: a row of the table each.");
  if (!isRegression && new Set(examples.map(({ label }) => label)).size < 2) {
    throw new Error("Show it at least two different things first: give two classes an example each.");
  }
}

function options() {
  const steps = at("steps").value;
  if (at("steps").validity.badInput || !/^-?\d*$/.test(steps)) throw new Error(`Inner steps: expected a whole number${steps && `, got ${steps}`}.`);
  return { ...(steps === "" ? {} : { steps: Number(steps) }), ttl_seconds: Number(at("lifetime").value) };
}

/** Shows a session and asks it; `examples` are those it was adapted to, if the page has them. */
function open(session, examples = null) {
  close();
  opened = session.session;
  isOurs = examples !== null;
  const model = models.find((one) => referenceOf(one) === session.model) ?? chosen();
  const isRegression = kindOf(model) === "regression";
  const known = examples ? [...examples] : null;
  const question = questionFor(model, session);
  const grown = (next, example) => {
    known?.push(example);
    if (known) editor.add(example);
    tell(next, known, model, question);
    say(`Revision ${next.revision}: it has learned one more example.`);
  };
  const reply = isRegression ? new TargetReply() : new ClassReply({ order: () => editor.labels ?? [], waiting: WAITING[kindOf(model)] });
  ask = new Ask({ api, session, examples, question, reply, grown, failed: refused });
  at("question").replaceChildren(ask.element);
  at("question").hidden = false;
  at("ask-hint").hidden = true;
  tell(session, known, model, question);
  if (matchMedia("(min-width: 62rem)").matches) at("ask").scrollIntoView({ block: "nearest" });
}

/** What is asked about; our own drawings are offered only to a session that knows them. */
function questionFor(model, session) {
  const kind = kindOf(model);
  if (kind === "vector" || kind === "regression") return new VectorQuestion({ columns: columnsOf(model, session) });
  const question = new PictureQuestion({ failed });
  const ours = CHARACTERS.filter((character) => session.labels.includes(character));
  if (ours.length) sampleQueries(ours).then((samples) => question.offer(samples), failed);
  return question;
}

/** How many numbers a session is asked with. */
function columnsOf(model, session) {
  return model.input.length ?? session.length ?? editor.columns;
}

/** Shows what adapting or growing gave, and the address that opens it again. */
function tell(session, examples, model, question) {
  const plotted = kindOf(model) === "regression" && columnsOf(model, session) === 1;
  const extra = plotted ? regressionPlot({ api, session, examples: examples ?? [], question, failed }) : null;
  at("learned").replaceChildren(learned(session, { copied: (link) => copy(link, "the link"), extra }));
  at("learned").hidden = false;
  const address = `#/session/${session.session}`;
  if (location.hash !== address) history.pushState(null, "", address);
  calm();
  ready();
  listSessions();
}

/** Closes what is open, and the address names it no more; Back opens it again unless it `isGone`. */
function leave({ isGone }) {
  const address = location.pathname + location.search;
  if (opened !== null && location.hash.endsWith(opened)) isGone ? history.replaceState(null, "", address) : history.pushState(null, "", address);
  close();
}

function close() {
  ask?.close();
  ask = null;
  opened = null;
  at("question").hidden = true;
  at("learned").hidden = true;
  at("ask-hint").hidden = false;
  ready();
}

/** Opens the session that the address names. */
async function followAddress() {
  const id = /^#\/session\/(.+)$/.exec(location.hash)?.[1];
  if (id === undefined || id === opened) return;
  try {
    const session = await api.session(id);
    const model = models.find((one) => referenceOf(one) === session.model);
    if (model) edit(model);
    open(session);
    say("The session is open: ask it. Its examples stay on the server, so what stands above is for a new one.");
  } catch (error) {
    close();
    failed(error instanceof Problem && error.ended ? new Error(deadLink(id, error)) : error);
  }
}

async function listSessions() {
  try {
    const found = await api.sessions();
    list.show(found, opened);
  } catch (error) {
    failed(error);
  }
}

async function save({ session: id }) {
  try {
    const url = URL.createObjectURL(await api.weights(id));
    Object.assign(document.createElement("a"), { href: url, download: `${id}.safetensors` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    refused(error);
  }
}

async function end({ session: id }) {
  try {
    await api.remove(id);
    if (id === opened) {
      leave({ isGone: true });
    }
    say(`${id} is deleted.`);
    at("sessions").focus();
  } catch (error) {
    failed(error);
  }
  await listSessions();
}

// Errors ----------------------------------------------------------------------------------------------------------------

/** An open session refused: if it is no more, there is nothing left to ask. */
function refused(error, examples) {
  if (error instanceof Problem && error.ended) {
    leave({ isGone: true });
    listSessions();
    failed(new Error(endOf(error)));
    return;
  }
  failed(error, examples);
}

// Events ----------------------------------------------------------------------------------------------------------------

at("adapt").addEventListener("click", adapt);
at("model").addEventListener("change", () => {
  leave({ isGone: false });
  edit(chosen());
});
at("refresh").addEventListener("click", listSessions);
addEventListener("hashchange", followAddress);
addEventListener("paste", (event) => {
  const files = pasted(event);
  if (files.length === 0) return;
  event.preventDefault();
  const place = document.activeElement.closest("[data-takes]") ?? document.querySelector("[data-takes]:hover");
  if (place) place.dispatchEvent(new CustomEvent("give", { detail: files }));
  else failed(new Error("Where should the picture go? Click a class or the question first, then paste."));
});

start().catch(failed);
