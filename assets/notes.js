/**
 * Notes on the photo and on the selected object.
 *
 * An object's note is a part of the object, so writing it is an undo step, one per visit to the field;
 * the photo's note has the field's own undo. Both are saved when the typing rests.
 */

import { replaced } from "./annotations.js";
import { make } from "./dom.js";
import { record } from "./history.js";
import { stateAfterEdit } from "./review.js";
import { accepted, isSuggestion, SURE_NOTE } from "./suggestions.js";

const LONGEST_NOTE = 1000;
const REST_MS = 900;

/** The history with its present step rewritten: what was undone before cannot come back over it. */
export function amended(history, present) {
  return { past: history.past, present, future: [] };
}

export class Notes {
  #labeler;
  #timer = 0;
  #typed = null; // the object as last typed here: typing on goes into the same undo step

  constructor(labeler) {
    this.#labeler = labeler;
    this.photo = this.#field("Note on this photo", "photo-note", (text) => this.#writePhoto(text));
    this.object = this.#field("Note on the object", "object-note", (text) => this.#writeObject(text));
    this.objectLabel = make("label", { hidden: "" }, make("span", {}, "Selected object"), this.object);
    const photoLabel = make("label", {}, make("span", {}, "Photo"), this.photo);
    this.element = make(
      "section", { class: "notes", "aria-label": "Notes" }, make("h2", {}, "Notes"), photoLabel, this.objectLabel,
    );
  }

  #field(name, testid, write) {
    return make("textarea", {
      rows: "1", maxlength: String(LONGEST_NOTE), "aria-label": name, "data-testid": testid, placeholder: "Add a note",
      oninput: (event) => write(event.target.value),
      onchange: () => this.flush(),
      onkeydown: (event) => this.#key(event),
    });
  }

  #key(event) {
    const isDone = event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey));
    if (!isDone) return;
    event.preventDefault();
    event.stopPropagation();
    this.#labeler.focus(); // leaving the field saves it
  }

  /** Put the cursor into the note that a key press means: that of the selected object, else the photo's. */
  focus() {
    this.update(this.#labeler);
    (this.#labeler.selected ? this.object : this.photo).focus();
  }

  #writePhoto(text) {
    this.#labeler.note = text;
    this.#saveSoon();
  }

  #writeObject(text) {
    const labeler = this.#labeler;
    const { selected } = labeler;
    if (!selected || labeler.preview) return;
    const noted = { ...selected, note: text };
    const changed = isSuggestion(noted) ? accepted(noted, labeler.author) : noted; // else a new suggestion takes its place
    const before = labeler.annotations;
    const step = this.#typed === selected ? amended : record;
    labeler.history = step(labeler.history, replaced(before, changed));
    labeler.imageState = stateAfterEdit(labeler.imageState, before, labeler.annotations);
    this.#typed = changed;
    this.#saveSoon();
    labeler.redraw();
  }

  #saveSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), REST_MS);
  }

  /** Send what was typed and waits. */
  flush() {
    if (!this.#timer) return;
    this.settle();
    this.#labeler.saveNow();
  }

  /** Everything typed is on its way already. */
  settle() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  update({ note, selected, isOnlyLooking }) {
    show(this.photo, note);
    show(this.object, selected ? noteOf(selected) : "");
    this.objectLabel.hidden = !selected;
    this.object.readOnly = Boolean(isOnlyLooking);
  }
}

/** What a person wrote: how sure the model is of a suggestion is told beside its buttons. */
export function noteOf(annotation) {
  const note = annotation.note ?? "";
  return isSuggestion(annotation) && SURE_NOTE.test(note) ? "" : note;
}

/** Set a field's text unless it is there already, so that the cursor stays; grow to hold it. */
function show(field, text) {
  if (field.value !== text) field.value = text;
  const lines = text.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 28)), 0);
  field.rows = Math.min(5, lines);
}
