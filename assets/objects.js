/**
 * What is done with whole objects: choose several, hide and lock, merge, split, duplicate, move, put in
 * order, delete; and the way new ones go onto the photo. Works on a labeler; each command is one step.
 */

import * as accesses from "./access.js";
import {
  boxOf, clipped, duplicateOf, moved, newAnnotation, reordered, replaced, replacedAll, topmostAt, withOp, without,
} from "./annotations.js";
import { cutUnder, mergedOps } from "./combine.js";
import { isBoxInside, meetBoxes, simplify } from "./geometry.js";
import { countPixels } from "./layers.js";
import { splitOps } from "./split.js";

const CUT_KEY = "maskwright.cut-under";
const GROUP_KEY = "maskwright.objects-by-class";
/** A copy lies this far from its original; in CSS pixels. */
const COPY_OFFSET = 14;
const LONGEST_NOTE = 1000;

export class Objects {
  #app;
  #storage;
  #others = new Set();
  #known = {};
  access = accesses.OPEN;
  litId = null;
  isPickingSeveral = false;

  /** @param storage keeps the two switches from visit to visit */
  constructor(app, storage) {
    this.#app = app;
    this.#storage = storage;
    this.isCutting = storage.getItem(CUT_KEY) === "1";
    this.isGrouped = storage.getItem(GROUP_KEY) === "1";
  }

  /** Another image. */
  reset() {
    this.access = accesses.forNextImage(this.access);
    [this.#others, this.litId, this.#known] = [new Set(), null, {}];
  }

  /** What can be seen. */
  get shown() {
    return this.#lists().shown;
  }

  /** What can be seen and touched. */
  get editable() {
    return this.#lists().editable;
  }

  #lists() {
    const { painted, isHidden, preview } = this.#app;
    const known = this.#known;
    const isSame = known.painted === painted && known.access === this.access && known.isHidden === isHidden;
    if (isSame && known.preview === preview) return known;
    const shown = isHidden ? [] : painted.filter((each) => !accesses.isHidden(this.access, each));
    const editable = preview ? [] : shown.filter((each) => !accesses.isLocked(this.access, each));
    this.#known = { painted, preview, access: this.access, isHidden, shown, editable };
    return this.#known;
  }

  /** All chosen objects, in painting order; the labeler's `selected` is one of them. */
  get selection() {
    const first = this.#app.selected;
    if (!first) return [];
    if (this.#others.size === 0) return [first];
    return this.editable.filter(({ id }) => id === first.id || this.#others.has(id));
  }

  /** Ids of all chosen objects; changes only when the choice does. */
  get selectedIds() {
    const ids = this.selection.map(({ id }) => id);
    const known = this.#known.ids;
    if (known && known.size === ids.length && ids.every((id) => known.has(id))) return known;
    return (this.#known.ids = new Set(ids));
  }

  /** The labeler chose one object, or none. */
  forgetOthers() {
    this.#others = new Set();
  }

  /** Add an object to the choice, or take it out again. */
  toggleChoice(id) {
    const ids = new Set(this.selectedIds);
    if (!ids.delete(id)) ids.add(id);
    this.choose([...ids]);
  }

  choose(ids) {
    this.#app.select(ids.at(-1) ?? null);
    this.#others = new Set(ids);
    this.#app.redraw();
  }

  chooseAll() {
    this.choose(this.editable.map(({ id }) => id));
  }

  /** Add all objects that lie wholly inside a box. */
  chooseInside(box) {
    const inside = this.editable.filter((each) => isBoxInside(boxOf(each), box)).map(({ id }) => id);
    this.choose([...new Set([...this.selectedIds, ...inside])]);
  }

  /** The object before or after the chosen one, in painting order. */
  chooseNext(step) {
    const list = this.editable;
    if (list.length === 0) return;
    const at = list.findIndex(({ id }) => id === this.#app.selectedId);
    const next = list[at < 0 ? (step > 0 ? 0 : list.length - 1) : (at + step + list.length) % list.length];
    this.#app.reveal(next.id);
  }

  toggleSeveral() {
    this.isPickingSeveral = !this.isPickingSeveral;
    this.#app.redraw();
  }

  /** Show or hide, lock or unlock: `name` is one of the sets of an access. */
  toggle(name, id) {
    this.access = accesses.toggled(this.access, name, id);
    this.#app.redraw();
  }

  /** Lock what is chosen: it cannot be chosen any more. */
  lockChosen() {
    const ids = [...this.selectedIds];
    this.access = { ...this.access, locked: new Set([...this.access.locked, ...ids]) };
    this.#app.select(null);
  }

  /** Make an object visible; says so when it stays locked. */
  show(annotation) {
    this.access = accesses.revealed(this.access, annotation);
    const isLocked = accesses.isLocked(this.access, annotation);
    if (isLocked) this.#app.hint("This object is locked. Unlock it to change it.");
    return !isLocked;
  }

  /** Whether an object is not locked; says so when it is. */
  mayTouch(id) {
    const annotation = this.#app.annotations.find((each) => each.id === id);
    const isFree = annotation !== undefined && !accesses.isLocked(this.access, annotation);
    if (!isFree) this.#refuse("This object is locked. Unlock it to change it.");
    return isFree;
  }

  light(id) {
    if (id === this.litId) return;
    this.litId = id;
    this.#app.redraw();
  }

  get lit() {
    return this.litId === null ? null : this.#app.annotations.find(({ id }) => id === this.litId) ?? null;
  }

  toggleCutting() {
    this.isCutting = !this.isCutting;
    this.#keep(CUT_KEY, this.isCutting);
    this.#app.hint(this.isCutting ? "New objects cut what lies under them." : "New objects leave others as they are.");
    this.#app.redraw();
  }

  #keep(name, isOn) {
    try {
      this.#storage.setItem(name, isOn ? "1" : "0");
    } catch {
      // full, by unsent work for instance: the switch lasts as long as the page
    }
  }

  toggleGrouped() {
    this.isGrouped = !this.isGrouped;
    this.#keep(GROUP_KEY, this.isGrouped);
    this.#app.redraw();
  }

  /** A new object of the present class from one op; false, with a reason on screen, when nothing is left of it. */
  add(op, { select } = {}) {
    const made = newAnnotation(this.#app.category.category_id, op, this.#app.author);
    return this.place(made, { select: select ? made.id : undefined });
  }

  /** Put a new object on top, clipped to the photo; others give way when the switch says so. */
  place(made, { select } = {}) {
    const kept = clipped(made, this.#app.image);
    if (!kept) return this.#refuse("That lies outside the photo: nothing was kept.");
    const others = this.#cutOthers(kept.ops, kept.id);
    this.#app.commit([...others, kept], { select, drawn: kept.id });
    return true;
  }

  /** Add a stroke to an object. */
  extend(target, op) {
    const others = this.#cutOthers([op], target.id);
    this.#app.commit(replacedAll(others, [withOp(target, op)]));
  }

  #cutOthers(ops, ownId) {
    const { annotations, image } = this.#app;
    if (!this.isCutting) return annotations;
    const ids = new Set(this.editable.filter(({ source }) => source !== "suggested").map(({ id }) => id));
    const result = cutUnder(annotations, ops, image, ({ id }) => id !== ownId && ids.has(id));
    if (result.gone > 0) this.#app.hint(`${counted(result.gone)} under it went altogether.`);
    return result.annotations;
  }

  merge() {
    const chosen = this.selection;
    if (chosen.length < 2) return this.#refuse("Choose two or more objects first: Shift-click them.");
    if (new Set(chosen.map((each) => each.category_id)).size > 1) {
      return this.#refuse("Only objects of one class can be merged.");
    }
    const top = chosen.at(-1);
    const merged = asDrawn({ ...top, ops: mergedOps(chosen, this.#app.image), note: joinedNotes(chosen) });
    const ids = this.selectedIds;
    const rest = this.#app.annotations.filter(({ id }) => id === top.id || !ids.has(id));
    this.#app.commit(replacedAll(rest, [merged]), { select: top.id, drawn: top.id });
    this.forgetOthers();
    return true;
  }

  /** Cut the chosen object, or the topmost one under the line, along a line. */
  split(line) {
    const targets = [...new Set([this.#app.selected, this.#underLine(line)])].filter((each) => each !== null);
    if (targets.length === 0) return this.#refuse("Draw the line across an object.");
    const cutter = simplify(line, 0.5);
    const cuts = targets.map((each) => ({ target: each, parts: splitOps(each.ops, cutter, this.#app.image) }));
    const { target, parts } = cuts.find((cut) => cut.parts.length > 0) ?? cuts[0];
    if (parts.length === 0) return this.#refuse("The line has to run right across the object.");
    const [first, ...others] = parts.map((ops, i) =>
      asDrawn(i === 0 ? { ...target, ops } : { ...duplicateOf(target, this.#app.author), ops }),
    );
    const made = this.#app.annotations.flatMap((each) => (each.id === target.id ? [first, ...others] : [each]));
    this.#app.commit(made);
    this.#app.hint(`Split into ${counted(parts.length)}.`);
    this.choose([first, ...others].map(({ id }) => id));
    return true;
  }

  #underLine(line) {
    for (let i = 1; i < line.length; i += 1) {
      for (let step = 0; step <= 32; step += 1) {
        const [from, to, share] = [line[i - 1], line[i], step / 32];
        const point = [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
        const hit = topmostAt(this.editable, point);
        if (hit) return hit;
      }
    }
    return null;
  }

  duplicate() {
    const chosen = this.selection;
    if (chosen.length === 0) return this.#refuse("Choose an object first.");
    const offset = Math.max(1, COPY_OFFSET / this.#app.view.scale);
    const copies = chosen.map((each) => {
      const copy = duplicateOf(each, this.#app.author);
      const there = clipped(moved(copy, offset, offset), this.#app.image);
      return there ?? clipped(moved(copy, -offset, -offset), this.#app.image) ?? copy;
    });
    this.#app.commit([...this.#app.annotations, ...copies]);
    this.choose(copies.map(({ id }) => id));
    return true;
  }

  /** Move what is chosen, in image pixels; refused when an object would leave the photo. */
  move(dx, dy) {
    const chosen = this.selection;
    if (chosen.length === 0) return false;
    const changed = chosen.map((each) => {
      const there = clipped(moved(each, dx, dy), this.#app.image);
      return there && asDrawn(there);
    });
    if (changed.includes(null)) return this.#refuse("An object would leave the photo.");
    this.#app.commit(replacedAll(this.#app.annotations, changed));
    return true;
  }

  /** One step up (1) or down (-1) in painting order; what lies on top counts where objects overlap. */
  reorder(step) {
    const { annotations } = this.#app;
    const ordered = reordered(annotations, this.selectedIds, step);
    if (ordered.every((each, i) => each === annotations[i])) return false;
    this.#app.commit(ordered);
    return true;
  }

  remove() {
    const ids = this.selectedIds;
    if (ids.size === 0) return false;
    this.#app.commit(this.#app.annotations.filter(({ id }) => !ids.has(id)), { select: null });
    return true;
  }

  /** Give all that is chosen another class. */
  recategorise(categoryId) {
    const changed = this.selection.filter((each) => each.category_id !== categoryId);
    if (changed.length === 0) return;
    const others = changed.map((each) => asDrawn({ ...each, category_id: categoryId }));
    this.#app.commit(replacedAll(this.#app.annotations, others));
  }

  /** Delete one object, chosen or not. */
  removeOne(id) {
    const { annotations, selectedId } = this.#app;
    if (this.mayTouch(id)) this.#app.commit(without(annotations, id), id === selectedId ? { select: null } : {});
  }

  /** Erase with a stroke, or cut a hole; what is left of less than a speck goes altogether, with a sentence. */
  takeFrom(target, op, sentence) {
    if (!meetBoxes(boxOf(target), boxOf({ ops: [{ ...op, subtract: false }] }))) return;
    const changed = withOp(target, op);
    if (countPixels(changed, this.#app.image) >= 1) return this.#app.commit(replaced(this.#app.annotations, changed));
    this.removeOne(target.id);
    this.#app.hint(sentence);
  }

  #refuse(sentence) {
    this.#app.hint(sentence);
    return false;
  }
}

/** Whoever changes a suggestion has accepted it. */
function asDrawn(annotation) {
  return annotation.source === "suggested" ? { ...annotation, source: "drawn" } : annotation;
}

function joinedNotes(annotations) {
  const notes = new Set(annotations.map(({ note }) => note).filter(Boolean));
  return [...notes].join("; ").slice(0, LONGEST_NOTE);
}

function counted(count) {
  return count === 1 ? "1 object" : `${count} objects`;
}
