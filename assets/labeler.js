/**
 * The label canvas: draw, correct and save the annotations of one image.
 *
 * `mount(component)` runs once per rerun of the page with Streamlit's `{data, parentElement,
 * setTriggerValue}` and must be idempotent; `unmount(parentElement)` runs once. Labels are saved by
 * the canvas itself (autosave.js), never through a rerun; the page only hears `navigate`.
 */

import { boxOf, replaced, without, withOp } from "./annotations.js";
import { Saver } from "./autosave.js";
import { Controls, make } from "./controls.js";
import { meetBoxes } from "./geometry.js";
import * as histories from "./history.js";
import { actionOf, shortcutOf } from "./keys.js";
import { countPixels } from "./layers.js";
import { openQuestions } from "./questions.js";
import { Stage } from "./stage.js";
import { BRUSH_RANGE, radiusOfSlider, summaryOf } from "./summary.js";
import { address, saverSurroundings } from "./surroundings.js";
import { BrushTool } from "./tool_brush.js";
import { PolygonTool, targetOfHole } from "./tool_polygon.js";
import { SelectTool } from "./tool_select.js";

/** A page that does not answer a navigation within this time gets its canvas back. */
const NAVIGATION_MS = 6000;

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
  #leaving = null;
  #lastDrawn = null;

  constructor(host) {
    this.history = histories.startHistory([]);
    [this.tool, this.opacity, this.isHidden, this.hidden] = ["polygon", 0.35, false, new Set()];
    [this.selectedId, this.live, this.data, this.saver] = [null, null, null, null];
    this.stage = new Stage(this, this.#ends.signal);
    this.controls = new Controls(this, this.stage.element);
    this.tools = {
      select: new SelectTool(this), polygon: new PolygonTool(this), brush: new BrushTool(this),
      eraser: new BrushTool(this, true), subtract: new PolygonTool(this, true),
    };
    this.#attach(host);
  }

  #attach(host) {
    const style = make("link", { rel: "stylesheet", href: new URL("labeler.css", import.meta.url).href });
    const { root } = this.controls;
    root.style.visibility = "hidden"; // nothing shows before its style is there
    const show = () => {
      root.style.visibility = "";
      this.stage.resize();
      this.#focusIfFree();
    };
    style.addEventListener("load", show);
    style.addEventListener("error", show);
    host.replaceChildren(style, root);
    const { signal } = this.#ends;
    root.addEventListener("keydown", (event) => this.#keyDown(event), { signal });
    root.addEventListener("keyup", (event) => this.#keyUp(event), { signal });
    root.addEventListener("pointerup", (event) => this.#keepFocus(event), { signal });
    window.addEventListener("pagehide", () => this.saver?.sendBeforeLeaving(), { signal });
    window.addEventListener("online", () => this.saver?.retryNow(), { signal });
    document.addEventListener("visibilitychange", () => this.saver?.sendBeforeLeaving(), { signal });
  }

  close() {
    this.saver?.close();
    this.#ends.abort();
    this.stage.close();
    cancelAnimationFrame(this.#frame);
  }

  /** Take what the page says; labels only when they are newer than ours. */
  update({ data, setTriggerValue }) {
    this.sendEvent = setTriggerValue;
    const isOtherImage = data.image.id !== this.data?.image.id;
    const isNewer = !isOtherImage && data.rev > this.saver.rev && this.saver.isClean;
    this.data = data;
    this.controls.root.style.setProperty("--height", data.height ? `${data.height}px` : "");
    if (isOtherImage) this.#openImage(data);
    else if (isNewer) this.#takeLabels(data.annotations, data.state);
    this.saver.adopt(data.rev);
    this.saver.renew(address(data.save_url));
    this.category = this.#categoryOf(this.categoryId) ?? data.categories[0] ?? null;
    this.redraw();
  }

  #openImage(data) {
    this.saver?.close();
    this.#leaving = null;
    this.stage.reset();
    for (const tool of Object.values(this.tools)) tool.leave?.();
    this.controls.ask(null);
    this.controls.hint("");
    this.saver = new Saver(
      { imageId: data.image.id, rev: data.rev, url: address(data.save_url) },
      saverSurroundings({
        onStatus: (saver) => this.#followSaving(saver),
        onConflict: (theirs, saver) => saver === this.saver && openQuestions(this).conflict(theirs),
      }),
    );
    this.hidden = new Set();
    this.brushRadius ??= Math.max(4, Math.round(Math.min(data.image.width, data.image.height) / 80));
    this.#takeLabels(data.annotations, data.state);
    this.stage.open(data.image, data.preload, (path) => address(path));
    openQuestions(this).draft(data.rev);
    this.#focusIfFree();
  }

  #followSaving(saver) {
    this.redraw();
    if (saver === this.saver && saver.status === "refused") openQuestions(this).refused();
    else if (saver === this.saver) openQuestions(this).settled();
  }

  /** Keys work at once, but nobody is pulled out of a field. */
  #focusIfFree() {
    if (document.activeElement === document.body) this.focus();
  }

  #takeLabels(annotations, state) {
    this.history = histories.startHistory(annotations);
    this.imageState = state;
    [this.selectedId, this.live, this.#lastDrawn] = [null, null, null];
    this.redraw();
  }

  /** Show a server's or an earlier visit's labels as one undoable step; saved only when asked. */
  replaceLabels({ annotations, state }, { isSaved }) {
    this.history = histories.record(this.history, annotations);
    this.imageState = state;
    this.selectedId = null;
    if (!isSaved) this.saver.change({ annotations, state });
    this.redraw();
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

  /** What can be seen and hit. */
  get shown() {
    return this.isHidden ? [] : this.annotations.filter(({ id }) => !this.hidden.has(id));
  }

  get selected() {
    return this.shown.find(({ id }) => id === this.selectedId) ?? null;
  }

  get activeTool() {
    return this.tools[this.tool];
  }

  colorOf({ category_id }) {
    return this.#categoryOf(category_id)?.color ?? "#808080";
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

  /** One step: shown, undoable, and on its way to the server. */
  commit(annotations, { select, drawn } = {}) {
    this.#leaving = null;
    this.history = histories.record(this.history, annotations);
    if (select !== undefined) this.selectedId = select;
    if (drawn) this.#lastDrawn = drawn;
    this.#save();
  }

  #save() {
    const isEmptied = this.imageState === "done" && this.annotations.length === 0;
    if (this.imageState === "unlabelled" || isEmptied) this.imageState = "in_progress";
    this.saver.change({ annotations: this.annotations, state: this.imageState });
    this.redraw();
  }

  remove(id) {
    this.commit(without(this.annotations, id), id === this.selectedId ? { select: null } : {});
  }

  /** Erase with a brush stroke; what is left of less than a speck goes altogether. */
  erase(target, op) {
    this.#changeOrRemove(target, op, "The whole object was erased.");
  }

  subtract(op, points) {
    const target = targetOfHole(this.selected, this.shown, points);
    if (!target) return this.hint("Draw the hole over an object.");
    this.#changeOrRemove(target, op, "The hole took the whole object away.");
  }

  #changeOrRemove(target, op, sentence) {
    if (!meetBoxes(boxOf(target), boxOf({ ops: [{ ...op, subtract: false }] }))) return;
    const changed = withOp(target, op);
    if (countPixels(changed, this.image) < 1) {
      this.remove(target.id);
      return this.hint(sentence);
    }
    this.commit(replaced(this.annotations, changed));
  }

  undo() {
    if (this.activeTool.stepBack?.()) return;
    this.#travel(histories.undo(this.history));
  }

  redo() {
    this.#travel(histories.redo(this.history));
  }

  #travel(history) {
    if (history === this.history) return;
    this.#leaving = null;
    this.history = history;
    this.#save();
  }

  select(id) {
    this.selectedId = id;
    const selected = this.selected;
    if (selected) this.#activateCategory(selected.category_id);
    this.redraw();
  }

  reveal(id) {
    this.hidden = new Set([...this.hidden].filter((hidden) => hidden !== id));
    this.isHidden = false;
    this.setTool("select");
    this.select(id);
    this.stage.reveal(boxOf(this.selected));
  }

  chooseCategory(categoryId) {
    this.#activateCategory(categoryId);
    const selected = this.selected;
    if (selected && selected.category_id !== categoryId) {
      this.commit(replaced(this.annotations, { ...selected, category_id: categoryId }));
    }
    this.redraw();
  }

  #activateCategory(categoryId) {
    this.categoryId = categoryId;
    this.category = this.#categoryOf(categoryId) ?? this.category;
  }

  setTool(name) {
    if (name !== this.tool) this.activeTool.leave?.();
    if (name === "polygon") this.selectedId = null; // its keys choose for the next object
    if (name === "select" && !this.selected) this.selectedId = this.#lastDrawn;
    this.tool = name;
    this.stage.refreshHover();
    this.redraw();
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

  toggleHidden(isHidden = !this.isHidden) {
    this.isHidden = isHidden;
    this.redraw();
  }

  toggleObject(id) {
    const hidden = new Set(this.hidden);
    if (!hidden.delete(id)) hidden.add(id);
    this.hidden = hidden;
    this.redraw();
  }

  fit() {
    this.stage.fit();
  }

  actualSize() {
    this.stage.actualSize();
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

  finishDraft() {
    this.activeTool.finish?.();
  }

  stepBackDraft() {
    this.activeTool.stepBack?.();
  }

  discardDraft() {
    this.activeTool.discard?.();
  }

  noDamage() {
    if (this.annotations.length === 0) this.navigate("done_next");
  }

  /** Save what is pending (unless the photo is gone), then tell the page; a new edit cancels it. */
  async navigate(to) {
    const { isGone } = this.saver;
    if (isGone && to === "done_next") return this.navigate("next");
    const isAtEnd = (to === "next" && !this.data.has_next) || (to === "previous" && !this.data.has_previous);
    if (this.#leaving || isAtEnd) return;
    if (this.activeTool.isDrawing) return this.hint("Finish the polygon first (Enter), or cancel it (Esc).");
    const leaving = {};
    this.#leaving = leaving;
    if (to === "done_next") {
      this.imageState = "done";
      this.saver.change({ annotations: this.annotations, state: "done" });
    }
    const isSaved = isGone || (await this.saver.flush());
    if (this.#leaving !== leaving) return;
    if (isSaved) return this.#sendNavigation(to, leaving);
    this.#leaving = null;
    if (this.saver.status === "refused") openQuestions(this).leave(to);
    else this.hint("The last changes are not saved yet.");
  }

  #sendNavigation(to, leaving) {
    this.sendEvent("navigate", { to, image_id: this.image.id, rev: this.saver.rev });
    setTimeout(() => this.#leaving === leaving && (this.#leaving = null), NAVIGATION_MS);
  }

  #keyDown(event) {
    event.stopPropagation(); // Streamlit's own r and c keys must not fire while somebody draws
    const key = shortcutOf(event);
    if (event.target.matches?.("input") && key !== "Escape") return;
    if (event.target.matches?.("button") && (key === "Enter" || key === " ")) return;
    if (this.#perform(key, event)) event.preventDefault();
    this.redraw();
  }

  #keyUp(event) {
    event.stopPropagation();
    if (event.key === " ") this.stage.holdSpace(false);
  }

  #perform(key, event) {
    if (key === "Escape" && this.controls.isHelpOpen) return this.controls.toggleHelp(false) ?? true;
    if (this.activeTool.key?.(key)) return true;
    if (/^[1-9]$/.test(key)) {
      const category = this.data.categories[Number(key) - 1];
      if (category) this.chooseCategory(category.category_id);
      return true;
    }
    const action = actionOf(key, this, event);
    action?.();
    return action !== undefined;
  }

  /** After a click on a button the keys belong to the canvas again. */
  #keepFocus(event) {
    const button = event.target.closest?.("button");
    if (button && !this.controls.isHelpOpen) queueMicrotask(() => this.focus());
  }

  /** Draw and show the present state in the next frame. */
  redraw() {
    if (this.#frame || this.#ends.signal.aborted) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.data) return;
      this.stage.draw();
      this.controls.update(summaryOf(this));
    });
  }
}
