/**
 * The model's suggestions: asked for, shown apart from what people drew, accepted or rejected.
 *
 * A suggestion is an annotation whose source is "suggested"; it counts nowhere until it is accepted, that is
 * until its source is "drawn". New suggestions replace the old ones that nobody accepted, never what people
 * drew. Every change is one step that undo takes back.
 */

import { boxOf, replacedAll } from "./annotations.js";
import { make } from "./dom.js";
import { address } from "./surroundings.js";

const ASK_AGAIN_MS = 1500;
const GIVE_UP_MS = 180_000;
const TOPIC = "suggestions";
/** What the model wrote beside its suggestion (core/inference/suggest.py); no note of a person. */
export const SURE_NOTE = /^\d+ % sure(; \d+ % sure)*$/;
const ICON =
  '<svg viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" ' +
  'stroke-linecap="round" stroke-linejoin="round"><path d="M8.4 3.6l1.5 4.1 4.1 1.5-4.1 1.5-1.5 4.1-1.5-4.1' +
  '-4.1-1.5 4.1-1.5z M14.8 12.6l.7 1.9 1.9.7-1.9.7-.7 1.9-.7-1.9-1.9-.7 1.9-.7z"/></svg>';

export function isSuggestion({ source }) {
  return source === "suggested";
}

/** The same object as a label of `author`. */
export function accepted(annotation, author) {
  const note = SURE_NOTE.test(annotation.note ?? "") ? "" : (annotation.note ?? "");
  return { ...annotation, source: "drawn", author, note };
}

/** Whoever changes a suggestion accepts it: those in `after` that are not as they were in `before`. */
export function withEditsAccepted(before, after, author) {
  const waiting = new Map(before.filter(isSuggestion).map((each) => [each.id, each]));
  if (waiting.size === 0 && !after.some(isSuggestion)) return after;
  const known = new Set(before.map(({ id }) => id));
  const isPart = (each) => !known.has(each.id) && SURE_NOTE.test(each.note ?? ""); // of one that was split
  const isEdited = (each) => waiting.get(each.id) !== each && (waiting.has(each.id) || isSuggestion(each) || isPart(each));
  return after.some(isEdited) ? after.map((each) => (isEdited(each) ? accepted(each, author) : each)) : after;
}

/** With new suggestions in place of those nobody accepted. */
export function withSuggestions(annotations, suggested) {
  return [...annotations.filter((each) => !isSuggestion(each)), ...suggested];
}

/** The suggestion to look at once those in `ids` are decided: the one after them, else the first; or null. */
export function nextWaiting(annotations, ids) {
  const last = annotations.findLastIndex(({ id }) => ids.has(id));
  const left = (each) => isSuggestion(each) && !ids.has(each.id);
  return annotations.slice(last + 1).find(left) ?? annotations.find(left) ?? null;
}

/**
 * Ask for suggestions until there is an answer: `{annotations, said}`, or `{trouble}` with a sentence.
 *
 * @param {string} url
 * @param {{fetch, wait: (ms: number) => Promise, isOver: () => boolean, onWait: (sentence: string) => void}} env
 */
export async function askFor(url, env) {
  for (let waited = 0; waited < GIVE_UP_MS && !env.isOver(); waited += ASK_AGAIN_MS) {
    const { status, answer } = await asked(waited === 0 ? url : `${url}&again=1`, env.fetch);
    if (status === 200) return answer;
    if (status !== 202) return { trouble: answer.message ?? "The champion could not be asked. Try again in a moment." };
    env.onWait(answer.message ?? "");
    await env.wait(ASK_AGAIN_MS);
  }
  return { trouble: "No suggestion came within three minutes. Try again later." };
}

async function asked(url, fetch) {
  try {
    const response = await fetch(url, { method: "POST" });
    return { status: response.status, answer: await response.json().catch(() => ({})) };
  } catch {
    return { status: 0, answer: {} };
  }
}

/** Asks, shows and decides, for the labeler. */
export class Suggestions {
  #app;
  #asking = null;
  #message = "";

  constructor(labeler) {
    this.#app = labeler;
    this.button = make("button", {
      type: "button", class: "icon", "data-testid": "suggest", "aria-label": "Suggest", html: ICON, hidden: "",
      onclick: () => this.ask(),
    });
    this.words = make("output", { class: "chosen", "data-testid": "suggestion-count" });
    const button = (name, label, title, onclick) =>
      make("button", { type: "button", title, "aria-label": title, "data-testid": `suggestion-${name}`, onclick }, label);
    this.first = button("first", "One by one", "Look at the first suggestion", () => this.#goTo(this.waiting[0]));
    this.one = [
      button("accept", "Accept", "Accept this suggestion (Enter)", () => this.acceptChosen()),
      button("reject", "Reject", "Reject this suggestion (Backspace)", () => this.rejectChosen()),
    ];
    this.all = [
      button("accept-all", "Accept all", "Accept all suggestions (Shift A)", () => this.acceptAll()),
      button("reject-all", "Reject all", "Reject all suggestions (Shift R)", () => this.rejectAll()),
    ];
    this.bar = make("div", {
      class: "draft suggestions", hidden: "", role: "toolbar", "aria-label": "Suggestions", "data-testid": "suggestions",
    }, this.words, this.first, ...this.one, ...this.all);
  }

  /** Another photo: what was asked for the old one is not for this one. */
  reset() {
    [this.#asking, this.#message] = [null, ""];
  }

  get waiting() {
    return this.#app.annotations.filter(isSuggestion);
  }

  get #chosen() {
    return this.#app.objects.selection.filter(isSuggestion);
  }

  /** Fill the photo with suggestions. */
  async ask() {
    const app = this.#app;
    const { suggest_url: url, suggest_trouble: trouble } = app.data;
    if (trouble) return app.hint(trouble);
    if (!url || this.#asking) return undefined;
    if (app.preview || app.activeTool.isDrawing) return app.hint("Finish the object under way first.");
    const asking = (this.#asking = {});
    const isOver = () => this.#asking !== asking;
    this.#say("The champion looks at this photo…");
    const isSaved = await app.saver.flush(); // it leaves out what is drawn already
    const answer = isSaved
      ? await askFor(address(url), { ...outside, isOver, onWait: (sentence) => !isOver() && this.#say(sentence) })
      : { trouble: "The last changes are not saved yet. Try again in a moment." };
    if (isOver()) return undefined;
    this.#asking = null;
    this.#say("");
    return answer.trouble ? app.hint(answer.trouble) : this.#show(answer);
  }

  #say(message) {
    this.#message = message;
    this.#app.redraw();
  }

  #show({ annotations, said }) {
    const app = this.#app;
    if (annotations.length > 0 || this.waiting.length > 0) {
      app.commit(withSuggestions(app.annotations, annotations), { isSuggested: true });
    }
    const isBusy = app.activeTool.isDrawing || app.stage.gestures.isDrawing; // nobody is pulled out of a drawing
    if (annotations.length > 0 && !isBusy) this.#goTo(annotations[0]);
    else if (annotations.length === 0 && app.annotations.length === 0) return this.#offerNoDamage(said);
    app.hint(said.join(" "));
  }

  #goTo(annotation) {
    if (!annotation) return this.#app.select(null);
    if (!this.#app.setTool("select")) return;
    this.#app.select(annotation.id);
    this.#app.stage.reveal(boxOf(annotation));
  }

  #offerNoDamage(said) {
    const { controls } = this.#app;
    const close = () => {
      controls.withdraw(TOPIC);
      this.#app.focus();
    };
    const agree = () => {
      close();
      this.#app.leaving.noDamage();
    };
    const choices = [["No damage", agree, "agree-no-damage"], ["I look myself", close, "look-myself"]];
    controls.ask(`${said.join(" ")} Do you agree?`, choices, TOPIC);
  }

  acceptChosen() {
    this.#accept(this.#chosen);
  }

  acceptAll() {
    this.#accept(this.waiting);
  }

  rejectChosen() {
    this.#reject(this.#chosen);
  }

  rejectAll() {
    this.#reject(this.waiting);
  }

  #accept(decided) {
    const { annotations, author } = this.#app;
    const changed = replacedAll(annotations, decided.map((each) => accepted(each, author)));
    this.#decide(decided, changed);
  }

  #reject(decided) {
    const ids = new Set(decided.map(({ id }) => id));
    this.#decide(decided, this.#app.annotations.filter(({ id }) => !ids.has(id)));
  }

  /** Go on to the next one in sight of the eye: deciding ten takes ten keys. */
  #decide(decided, annotations) {
    if (decided.length === 0) return;
    const next = nextWaiting(this.#app.annotations, new Set(decided.map(({ id }) => id)));
    this.#app.commit(annotations, { isSuggested: true, select: null });
    this.#goTo(next);
  }

  /** Whether the photo cannot be finished yet: asks what becomes of the suggestions left, then goes on. */
  asksBefore(goOn) {
    const count = this.waiting.length;
    if (count === 0) return false;
    const { controls } = this.#app;
    const answer = (decide) => () => {
      controls.withdraw(TOPIC);
      decide();
    };
    const first = (decide) => answer(() => {
      decide();
      goOn();
    });
    controls.ask(`${counted(count)} ${count === 1 ? "is" : "are"} left, and the photo is to be finished.`, [
      ["Accept all", first(() => this.acceptAll()), "finish-accept-all"],
      ["Reject all", first(() => this.rejectAll()), "finish-reject-all"],
      ["Cancel", answer(() => this.#app.focus()), "finish-cancel"],
    ], TOPIC);
    return true;
  }

  /** Take a key: Enter and Backspace decide on what is chosen, Shift with a letter on all. */
  key(name, { shiftKey, ctrlKey, metaKey, altKey }) {
    const app = this.#app;
    if (app.preview || app.activeTool.isDrawing || ctrlKey || metaKey || altKey) return false;
    if (shiftKey) return this.#keyOfAll(name);
    const isOnSuggestion = app.tool === "select" && !app.tools.select.hasVertex && this.#chosen.length > 0;
    if (!isOnSuggestion) return false;
    if (name === "Enter") this.acceptChosen();
    else if (name === "Backspace" || name === "Delete") this.rejectChosen();
    else return false;
    return true;
  }

  #keyOfAll(name) {
    const isOffered = Boolean(this.#app.data.suggest_url || this.#app.data.suggest_trouble);
    if (name === "s" && isOffered) this.ask();
    else if (name === "a" && this.waiting.length > 0) this.acceptAll();
    else if (name === "r" && this.waiting.length > 0) this.rejectAll();
    else return false;
    return true;
  }

  /** What the button and the bar depend on; both are brought up to date when one of these changes. */
  get shown() {
    const { data, annotations, objects, preview } = this.#app;
    return [annotations, objects.selectedIds, preview, this.#message, data.suggest_url, data.suggest_trouble];
  }

  update() {
    const { data, preview } = this.#app;
    const trouble = data.suggest_trouble ?? "";
    this.button.hidden = !data.suggest_url && !trouble;
    this.button.title = trouble || "Suggest what the champion sees (Shift S)";
    this.button.setAttribute("aria-disabled", String(Boolean(trouble || this.#asking)));
    const [waiting, chosen] = [this.waiting, this.#chosen];
    this.bar.hidden = preview !== null || (waiting.length === 0 && !this.#message);
    this.first.hidden = Boolean(this.#message) || waiting.length === 0 || chosen.length > 0;
    for (const button of this.one) button.hidden = Boolean(this.#message) || chosen.length === 0;
    for (const button of this.all) button.hidden = Boolean(this.#message) || waiting.length === 0;
    this.words.textContent = this.#message || wordsOf(waiting, chosen);
  }
}

function wordsOf(waiting, chosen) {
  const sure = chosen.length === 1 && SURE_NOTE.test(chosen[0].note ?? "") ? `, ${chosen[0].note}` : "";
  return `${counted(waiting.length)}${sure}`;
}

function counted(count) {
  return count === 1 ? "1 suggestion" : `${count} suggestions`;
}

const outside = {
  fetch: (...request) => fetch(...request),
  wait: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};
