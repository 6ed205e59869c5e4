/**
 * How far the labelling of one photo has come: the rules of its states, and the menu that sets them.
 *
 * The states are those of core/domain/labels.py. A finished photo without an object says "No damage";
 * suggestions nobody has accepted count as nothing.
 */

import { areSame } from "./annotations.js";
import { make } from "./dom.js";

const WORDS = {
  unlabelled: "Unlabelled", in_progress: "In progress", done: "Done", approved: "Approved", rejected: "Rejected",
};
const LONGEST_NOTE = 1000;

/** The annotations that count. */
export function labelsAmong(annotations) {
  return annotations.filter(({ source }) => source !== "suggested");
}

/** What the state is called on screen; finished without an object is a statement of its own. */
export function stateWords(state, annotations) {
  const isEmpty = labelsAmong(annotations).length === 0;
  if (isEmpty && state === "done") return "No damage";
  if (isEmpty && state === "approved") return "No damage, approved";
  return WORDS[state] ?? state;
}

/**
 * The state after the annotations went from `before` to `after`: nothing stays approved that was changed,
 * nothing says "No damage" because its last object was deleted. A rejected photo stays so until it is done.
 */
export function stateAfterEdit(state, before, after) {
  const [old, labels] = [labelsAmong(before), labelsAmong(after)];
  if (haveSameShapes(old, labels)) return state;
  if (state === "unlabelled") return "in_progress";
  const isFinished = state === "done" || state === "approved";
  if (isFinished && labels.length === 0) return "in_progress";
  return isFinished ? "done" : state;
}

/** What was not touched is the same value, so that thousands of objects cost nothing. */
function haveSameShapes(old, now) {
  return old.length === now.length && old.every((each, i) => each === now[i] || areSame([each], [now[i]]));
}

/** Which changes of state the menu offers now: `{id, words, key, isAllowed}`. */
export function choicesFor(state, annotations) {
  const isEmpty = labelsAmong(annotations).length === 0;
  const isFinished = state === "done" || state === "approved";
  return [
    { id: "done", words: "Done", key: "", isAllowed: !isEmpty && state !== "done" },
    { id: "no_damage", words: "No damage", key: "O", isAllowed: isEmpty && !isFinished },
    { id: "approve", words: "Approve", key: "Y", isAllowed: state !== "approved" },
    { id: "reject", words: "Reject with a note…", key: "N", isAllowed: true },
    { id: "reopen", words: "Back to in progress", key: "U", isAllowed: state !== "in_progress" },
  ];
}

/** The button that tells the state, its menu, and the form that asks why a photo is sent back. */
export class Review {
  #labeler;
  #items;

  constructor(labeler) {
    this.#labeler = labeler;
    this.button = make("button", {
      type: "button", class: "state", "data-testid": "image-state", "data-keeps-focus": "", "aria-haspopup": "menu",
      "aria-expanded": "false", title: "How far this photo's labelling has come", onclick: () => this.toggle(),
    });
    this.menu = make("div", {
      class: "state-menu", role: "menu", "aria-label": "State of this photo", hidden: "", "data-testid": "state-menu",
      onkeydown: (event) => this.#menuKey(event),
      onfocusout: ({ relatedTarget }) => this.#focusLeft(relatedTarget),
    });
    this.form = this.#buildForm();
  }

  #buildForm() {
    this.reason = make("textarea", {
      rows: "3", maxlength: String(LONGEST_NOTE), required: "", "data-testid": "reject-note",
      "aria-label": "What has to change?", placeholder: "What has to change?",
      onkeydown: (event) => this.#reasonKey(event),
    });
    const reject = make("button", { type: "submit", class: "primary", "data-testid": "reject" }, "Reject");
    const cancel = make("button", {
      type: "button", class: "quiet", "data-testid": "reject-cancel", onclick: () => this.#closeForm(),
    }, "Cancel");
    return make("form", {
      class: "banner reject", hidden: "", "aria-label": "Reject this photo",
      onsubmit: (event) => this.#reject(event),
    }, make("p", {}, "Send this photo back. The note stays with it."), this.reason, make("div", {}, reject, cancel));
  }

  get isOpen() {
    return !this.menu.hidden || !this.form.hidden;
  }

  toggle(isOpen = this.menu.hidden) {
    if (!isOpen) {
      this.#closeMenu();
      return this.#labeler.focus();
    }
    this.menu.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    const { imageState, annotations, note } = this.#labeler;
    const choices = choicesFor(imageState, annotations).filter(({ isAllowed }) => isAllowed);
    this.#items = choices.map((choice) => this.#item(choice));
    const why = imageState === "rejected" && note ? [make("p", {}, `Sent back: ${note}`)] : [];
    this.menu.replaceChildren(...why, ...this.#items);
    const [button, stage] = [this.button.getBoundingClientRect(), this.menu.parentElement.getBoundingClientRect()];
    const room = stage.width - this.menu.offsetWidth - 8;
    this.menu.style.left = `${Math.max(8, Math.min(room, button.left - stage.left))}px`;
    this.#items[0].focus();
  }

  #item({ id, words, key }) {
    const keys = key ? [make("kbd", {}, key)] : [];
    const choose = () => {
      this.toggle(false);
      this.perform(id);
    };
    return make("button", {
      type: "button", role: "menuitem", "data-testid": `state-${id}`, "data-keeps-focus": "", onclick: choose,
    }, make("span", { class: "label" }, words), ...keys);
  }

  #menuKey(event) {
    const at = this.#items.indexOf(event.target);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#items[(at + step + this.#items.length) % this.#items.length]?.focus();
    else if (event.key === "Escape" || event.key === "Tab") this.toggle(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #focusLeft(to) {
    if (to !== this.button && !this.menu.contains(to) && !this.menu.hidden) this.#closeMenu();
  }

  #closeMenu() {
    this.menu.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
  }

  /** Do what an entry of the menu or its key says, when it may be done now. */
  perform(id) {
    const labeler = this.#labeler;
    const choice = choicesFor(labeler.imageState, labeler.annotations).find((each) => each.id === id);
    if (!choice.isAllowed) return labeler.hint(refusal(id));
    if (id === "reject") return this.#ask();
    if (id === "no_damage") return labeler.leaving.navigate("done_next");
    if (id === "approve") return labeler.leaving.finish("approved");
    labeler.leaving.setImageState(id === "reopen" ? "in_progress" : "done");
  }

  #ask() {
    if (this.#labeler.isInMidDrawing()) return;
    this.reason.value = this.#labeler.note;
    this.form.hidden = false;
    this.reason.focus();
  }

  #reject(event) {
    event.preventDefault();
    const reason = this.reason.value.trim();
    this.reason.setCustomValidity(reason ? "" : "Say what has to change.");
    if (!this.form.reportValidity()) return;
    this.#closeForm();
    this.#labeler.note = reason;
    this.#labeler.leaving.finish("rejected");
  }

  #reasonKey(event) {
    this.reason.setCustomValidity("");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    else if (event.key === "Escape") this.#closeForm();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #closeForm() {
    this.form.hidden = true;
    this.#labeler.focus();
  }

  /** Another photo came: nothing asked about the old one stays open. */
  close() {
    this.form.hidden = true;
    this.#closeMenu();
  }

  update(state, annotations) {
    this.button.textContent = stateWords(state, annotations);
    this.button.dataset.state = state;
    this.button.setAttribute("aria-label", `State: ${this.button.textContent}. Change it`);
  }
}

function refusal(id) {
  return {
    no_damage: "There is something marked on this photo, or it is done already.",
    done: "It is done already, or nothing is marked: then say “No damage”.",
    approve: "It is approved already.",
    reopen: "It is in progress already.",
  }[id];
}
