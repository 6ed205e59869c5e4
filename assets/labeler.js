/**
 * The label canvas: draw, correct and save the annotations of one image.
 *
 * `mount(component)` runs once per rerun of the page with Streamlit's `{data, parentElement,
 * setTriggerValue}` and must be idempotent; `unmount(parentElement)` runs once. Labels are saved by
 * the canvas itself (autosave.js), never through a rerun; the page only hears `navigate`.
 */

import { boxOf } from "./annotations.js";
import { Assist } from "./assist_bar.js";
import { Saver } from "./autosave.js";
import { Controls } from "./controls.js";
import * as histories from "./history.js";
import { listenToKeys } from "./keyboard.js";
import { Leaving } from "./leaving.js";
import { keepLook, PLAIN, readLook } from "./look.js";
import { Objects } from "./objects.js";
import { openQuestions } from "./questions.js";
import { stateAfterEdit } from "./review.js";
import { Stage } from "./stage.js";
import { attachStyled } from "./styles.js";
import { Suggestions, withEditsAccepted } from "./suggestions.js";
import { BRUSH_RANGE, radiusOfSlider, summaryOf } from "./summary.js";
import { address, deviceStorage, saverSurroundings } from "./surroundings.js";
import { BrushTool } from "./tool_brush.js";
import { PolygonTool } from "./tool_polygon.js";
import { RectangleTool } from "./tool_rectangle.js";
import { SelectTool } from "./tool_select.js";
import { SplitTool } from "./tool_split.js";

const instances = new WeakMap();

export function mount(component) {
  const host = component.parentElement;
  let labeler = instances.get(host);
  if (!labeler) {
    labeler = new Labeler(host);
    instances.set(host, labeler);
  }
  labeler.update(component);
}

export function unmount(host) {
  instances.get(host)?.close();
  instances.delete(host);
}

class Labeler {
  #ends = new AbortController();
  #frame = 0;
  #lastDrawn = null;
  look = PLAIN;
  note = "";
  preview = null; // other labels to look at, such as somebody else's; nothing can be drawn meanwhile

  constructor(host) {
    this.history = histories.startHistory([]);
    [this.tool, this.opacity, this.isHidden] = ["polygon", 0.35, false];
    this.objects = new Objects(this, deviceStorage());
    this.suggestions = new Suggestions(this);
    this.leaving = new Leaving(this);
    [this.selectedId, this.live, this.data, this.saver] = [null, null, null, null];
    this.assist = new Assist(this);
    this.stage = new Stage(this, this.#ends.signal);
    this.controls = new Controls(this, this.stage.element);
    this.tools = {
      select: new SelectTool(this), polygon: new PolygonTool(this), brush: new BrushTool(this),
      eraser: new BrushTool(this, true), subtract: new PolygonTool(this, true),
      rectangle: new RectangleTool(this), split: new SplitTool(this),
      ...this.assist.tools,
    };
    this.#attach(host);
  }

  #attach(host) {
    const { root } = this.controls;
    attachStyled(host, root, () => {
      this.stage.resize();
      this.#focusIfFree();
    });
    const { signal } = this.#ends;
    listenToKeys(this, root, signal);
    window.addEventListener("pagehide", () => this.#sendBeforeLeaving(), { signal });
    window.addEventListener("online", () => this.saver?.retryNow(), { signal });
    document.addEventListener("visibilitychange", () => this.#sendBeforeLeaving(), { signal });
  }

  #sendBeforeLeaving() {
    this.controls.notes.flush();
    this.saver?.sendBeforeLeaving();
  }

  close() {
    this.controls.notes.flush();
    this.saver?.close();
    this.suggestions.reset();
    this.assist.drop();
    this.#ends.abort();
    this.stage.close();
    cancelAnimationFrame(this.#frame);
  }

  /** Take what the page says; labels only when they are newer than ours. */
  update({ data, setTriggerValue }) {
    this.sendEvent = setTriggerValue;
    this.controls.notes.flush(); // what is being typed belongs to the photo and the revision shown so far
    const isOtherImage = data.image.id !== this.data?.image.id;
    const isNewer = !isOtherImage && data.rev > this.saver.rev && this.saver.isClean;
    this.data = data;
    this.controls.root.style.setProperty("--height", data.height ? `${data.height}px` : "");
    if (isOtherImage) this.#openImage(data);
    else if (isNewer) this.#takeLabels(data);
    this.saver.adopt(data.rev, contentIn(data));
    this.saver.renew(address(data.save_url));
    this.category = this.#categoryOf(this.categoryId) ?? data.categories[0] ?? null;
    this.redraw();
  }

  #openImage(data) {
    this.saver?.close();
    this.leaving.cancel();
    this.preview = null;
    this.look = readLook(deviceStorage(), this.author);
    this.stage.reset();
    for (const tool of Object.values(this.tools)) tool.leave?.();
    this.controls.ask(null);
    this.controls.hint("");
    this.controls.review.close();
    this.saver = new Saver(
      { imageId: data.image.id, rev: data.rev, url: address(data.save_url), content: contentIn(data) },
      saverSurroundings({
        onStatus: (saver) => this.#followSaving(saver),
        onConflict: (theirs, saver) => saver === this.saver && openQuestions(this).conflict(theirs),
      }),
    );
    this.objects.reset();
    this.suggestions.reset();
    this.brushRadius ??= Math.max(4, Math.round(Math.min(data.image.width, data.image.height) / 80));
    this.#takeLabels(data);
    this.stage.open(data.image, data.preload, (path) => address(path));
    openQuestions(this).draft(data.rev);
    if (this.imageState === "rejected" && this.note) this.hint(`Sent back: ${this.note}`);
    this.#focusIfFree();
  }

  #followSaving(saver) {
    this.redraw();
    if (saver === this.saver && saver.status === "refused") openQuestions(this).refused();
    else if (saver === this.saver) openQuestions(this).settled();
    const { length } = saver.left.splice(0);
    if (length > 0) this.hint(`${length === 1 ? "An object was" : `${length} objects were`} not saved: no pixel of the photo is covered.`);
  }

  /** Keys work at once, but nobody is pulled out of a field. */
  #focusIfFree() {
    if (document.activeElement === document.body) this.focus();
  }

  #takeLabels({ annotations, state, note }) {
    this.history = histories.startHistory(annotations);
    [this.imageState, this.note] = [state, note ?? ""];
    [this.selectedId, this.live, this.#lastDrawn] = [null, null, null];
    this.redraw();
  }

  /** Show a server's or an earlier visit's labels as one undoable step; saved only when asked. */
  replaceLabels({ annotations, state, note }, { isSaved }) {
    this.history = histories.record(this.history, annotations);
    [this.imageState, this.note] = [state, note ?? ""];
    [this.selectedId, this.preview] = [null, null];
    if (isSaved) this.redraw();
    else this.saveNow();
  }

  get annotations() {
    return this.history.present;
  }

  get image() {
    return this.data.image;
  }

  get view() {
    return this.stage.view;
  }

  get author() {
    return this.data.author ?? "";
  }

  /** What the server is to hold. */
  get content() {
    return { annotations: this.annotations, state: this.imageState, note: this.note };
  }

  /** What the canvas paints: the labels, or those somebody looks at before deciding. */
  get painted() {
    return this.preview ?? this.annotations;
  }

  get fillOpacity() {
    return this.look.isOutline ? 0 : this.opacity;
  }

  /** What can be seen. */
  get shown() {
    return this.objects.shown;
  }

  get selected() {
    return this.selectedId && (this.objects.editable.find(({ id }) => id === this.selectedId) ?? null);
  }

  get activeTool() {
    return this.tools[this.tool];
  }

  colorOf({ category_id }) {
    return this.#categoryOf(category_id)?.color ?? "#808080";
  }

  nameOf({ category_id }) {
    return this.#categoryOf(category_id)?.name ?? "an object of no category";
  }

  #categoryOf(categoryId) {
    return this.data.categories.find(({ category_id }) => category_id === categoryId);
  }

  /** Whether something new may be drawn now; says why not. */
  canAdd() {
    if (!this.category) this.hint("Add a category to the project first.");
    if (this.isHidden) this.toggleHidden();
    return this.category !== null;
  }

  /** One step: shown, undoable, and on its way to the server. A suggestion that it edits is accepted. */
  commit(annotations, { select, drawn, isSuggested } = {}) {
    if (this.#isOnlyLooking() || this.#ends.signal.aborted) return; // an answer may come after the canvas is gone
    this.leaving.cancel();
    const before = this.annotations;
    const edited = isSuggested ? annotations : withEditsAccepted(before, annotations, this.author);
    this.history = histories.record(this.history, edited);
    if (select !== undefined) {
      this.selectedId = select;
      this.objects.forgetOthers();
    }
    if (drawn) this.#lastDrawn = drawn;
    this.#saveEdit(before);
  }

  /** Nothing is drawn onto what is shown in place of our labels; says so. */
  #isOnlyLooking() {
    if (this.preview) this.hint("These are not your labels as they are. Choose first, or go back to yours.");
    return this.preview !== null;
  }

  #saveEdit(before) {
    this.imageState = stateAfterEdit(this.imageState, before, this.annotations);
    this.saveNow();
  }

  /** Send the labels, the state and the note as they are. */
  saveNow() {
    this.controls.notes.settle();
    this.saver.change(this.content);
    this.redraw();
  }

  /** Whether something half drawn has to be finished or dropped first; says so. */
  isInMidDrawing() {
    const isDrawing = Boolean(this.activeTool.isDrawing);
    if (isDrawing) this.hint(`Finish the ${this.activeTool.underWay} first (Enter), or cancel it (Esc).`);
    return isDrawing;
  }

  undo() {
    if (this.activeTool.stepBack?.()) return;
    this.#travel(histories.undo(this.history));
  }

  redo() {
    this.#travel(histories.redo(this.history));
  }

  #travel(history) {
    if (history === this.history || this.#isOnlyLooking()) return;
    this.leaving.cancel();
    const before = this.annotations;
    this.history = history;
    this.#saveEdit(before);
  }

  select(id) {
    this.selectedId = id;
    this.objects.forgetOthers();
    const selected = this.selected;
    if (selected) this.#activateCategory(selected.category_id);
    this.redraw();
  }

  reveal(id) {
    const annotation = this.painted.find((each) => each.id === id);
    if (!annotation) return;
    if (!this.setTool("select")) return;
    this.isHidden = false;
    this.select(this.objects.show(annotation) ? id : null);
    this.stage.reveal(boxOf(annotation));
  }

  chooseCategory(categoryId) {
    this.#activateCategory(categoryId);
    if (!this.preview) this.objects.recategorise(categoryId);
    this.redraw();
  }

  #activateCategory(categoryId) {
    this.categoryId = categoryId;
    this.category = this.#categoryOf(categoryId) ?? this.category;
  }

  /** Give whether the tool is chosen: not while what is half drawn with another one would be lost. */
  setTool(name) {
    if (name !== this.tool) {
      if (this.activeTool.worthKeeping && this.isInMidDrawing()) return false;
      this.stage.gestures.reset(); // a stroke of the old tool would end with the new one
      this.activeTool.leave?.();
    }
    if (name === "polygon" || name === "rectangle") this.select(null); // their keys choose for the next object
    if (name === "select" && !this.selected) this.select(this.#lastDrawn);
    this.tool = name;
    this.stage.refreshHover();
    this.redraw();
    return true;
  }

  setBrushRadius(radius) {
    this.brushRadius = Math.max(BRUSH_RANGE[0], Math.min(BRUSH_RANGE[1], Math.round(radius * 10) / 10));
    this.redraw();
  }

  setBrushSlider(percent) {
    this.setBrushRadius(radiusOfSlider(percent));
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.redraw();
  }

  setLook(change) {
    this.look = { ...this.look, ...change };
    keepLook(deviceStorage(), this.author, this.look);
    this.redraw();
  }

  /** Paint other labels in place of ours until null; `id` is lit up and brought into sight. */
  showPreview(annotations, id = null) {
    this.preview = annotations;
    this.select(id);
    if (this.selected) this.stage.reveal(boxOf(this.selected));
  }

  toggleHidden(isHidden = !this.isHidden) {
    this.isHidden = isHidden;
    this.redraw();
  }

  focus() {
    this.stage.focus();
  }

  hint(text) {
    this.controls.hint(text);
  }

  draftChanged() {
    this.redraw();
  }

  /** Draw and show the present state in the next frame. */
  redraw() {
    if (this.#frame || this.#ends.signal.aborted) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.data) return;
      this.stage.draw();
      this.controls.update(summaryOf(this));
      this.assist.update();
    });
  }
}

function contentIn({ annotations, state, note }) {
  return { annotations, state, note: note ?? "" };
}
