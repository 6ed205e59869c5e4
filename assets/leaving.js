/** How far a photo's labelling has come is said, saved, and the page is asked for another photo. */

import { openQuestions } from "./questions.js";
import { labelsAmong } from "./review.js";

/** A page that does not answer a navigation within this time gets its canvas back. */
const NAVIGATION_MS = 6000;

export class Leaving {
  #labeler;
  #underWay = null;

  constructor(labeler) {
    this.#labeler = labeler;
  }

  /** The photo stays after all: an edit, or another photo came. */
  cancel() {
    this.#underWay = null;
  }

  /** Say how far the labelling has come, and stay. */
  setImageState(state) {
    const labeler = this.#labeler;
    if (labeler.isInMidDrawing() || this.#asks(state, () => this.setImageState(state))) return;
    labeler.imageState = state;
    labeler.saveNow();
  }

  /** Say how far it has come, then go on where there is another photo. */
  finish(state) {
    const labeler = this.#labeler;
    if (labeler.isInMidDrawing() || this.#asks(state, () => this.finish(state))) return;
    this.cancel(); // the newer wish counts
    if (labeler.data.has_next) return this.navigate("next", state);
    this.setImageState(state);
    labeler.hint(`${state === "approved" ? "Approved" : "Sent back"}. This is the last photo of the list.`);
  }

  noDamage() {
    if (labelsAmong(this.#labeler.annotations).length === 0) this.navigate("done_next");
  }

  /**
   * Save what is pending (unless the photo is gone), then tell the page; a new edit cancels it.
   * With a state the photo is saved in that state first.
   */
  async navigate(to, state = to === "done_next" ? "done" : null) {
    const labeler = this.#labeler;
    const { data, saver } = labeler;
    const { isGone } = saver;
    if (isGone && to === "done_next") return this.navigate("next");
    const isAtEnd = (to === "next" && !data.has_next) || (to === "previous" && !data.has_previous);
    if (this.#underWay || isAtEnd || labeler.isInMidDrawing()) return;
    if (!isGone && this.#asks(state, () => this.navigate(to, state))) return;
    const leaving = {};
    this.#underWay = leaving;
    labeler.controls.notes.flush();
    if (state && !isGone) {
      labeler.imageState = state;
      labeler.saveNow();
    }
    const isSaved = isGone || (await saver.flush());
    if (this.#underWay !== leaving) return;
    if (isSaved) return this.#send(to, leaving);
    this.cancel();
    if (saver.status === "refused") openQuestions(labeler).leave(to);
    else labeler.hint("The last changes are not saved yet.");
  }

  /** Nothing is finished over suggestions that nobody decided on. */
  #asks(state, goOn) {
    const isFinal = state === "done" || state === "approved";
    return isFinal && this.#labeler.suggestions.asksBefore(goOn);
  }

  #send(to, leaving) {
    const { image, saver } = this.#labeler;
    this.#labeler.sendEvent("navigate", { to, image_id: image.id, rev: saver.rev });
    setTimeout(() => this.#underWay === leaving && this.cancel(), NAVIGATION_MS);
  }
}
