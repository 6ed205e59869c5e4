/** The tools that let the server find an object's outline; the contract of tools is in tool_select.js. */

import { newAnnotation } from "./annotations.js";
import { requestOf } from "./assist.js";
import { boxBetween, clampPoint, distance, simplify } from "./geometry.js";
import { drawHandle, drawLine } from "./marks.js";
import { toScreen } from "./view.js";

const CLOSE_REACH = 11;
const SCRIBBLE_PX = 5; // half the width of a scribble on the screen
const INSIDE = "#7ee0a8";
const OUTSIDE = "#ff8f70";

/**
 * A prompt is drawn, the answer is shown, and refined by more of the prompt, until it is accepted.
 *
 * `kind` "box": drag a box, or click a rough outline; then Shift and Alt draw what is inside and outside.
 * "scribble": drag over the object, with Alt over what is not it. "click": the same by single points.
 * "wand": a click takes what is of its colour.
 */
export class AssistTool {
  cursor = "crosshair";
  takesRight = true; // the right button marks what is outside, as Alt does
  #points = [];
  #strokes = [];
  #press = null;
  #pointer = null;

  constructor(app, assist, kind) {
    [this.app, this.assist, this.kind] = [app, assist, kind];
  }

  get underWay() {
    return this.kind === "box" ? "outline" : "found object";
  }

  get isDrawing() {
    return this.#points.length > 0 || this.#strokes.length > 0;
  }

  get worthKeeping() {
    return this.#points.length > 2 || (this.#points.length > 0 ? 1 : 0) + this.#strokes.length > 1;
  }

  /** A box has its corners, an outline is closed: the server was asked. */
  get #isAsked() {
    return this.assist.isBusy || this.assist.ops !== null || this.assist.error !== "";
  }

  enter() {
    if (this.kind === "click") this.assist.prepare();
  }

  down(point) {
    if (!this.app.canAdd()) return;
    this.#press = { from: point, points: [this.#at(point)], mark: this.#markOf(point), isDrag: false };
  }

  /** What a press marks: "inside", "outside", or null where it draws the box or chooses the colour. */
  #markOf(point) {
    if (this.kind === "wand") return null;
    if (point.alt) return "outside";
    if (this.kind === "box") return point.shift && this.isDrawing ? "inside" : this.isDrawing ? this.assist.mark : null;
    return this.assist.mark ?? "inside";
  }

  #at(point) {
    return clampPoint(point.image, this.app.image);
  }

  move(point) {
    this.#pointer = point;
    const press = this.#press;
    if (!press) return;
    press.isDrag ||= distance(press.from.screen, point.screen) > point.reach + 2;
    press.points.push(this.#at(point));
    this.app.redraw();
  }

  up(point) {
    const press = this.#press;
    this.#press = null;
    if (!press) return;
    if (press.mark && (this.kind !== "box" || this.isDrawing)) return this.#addStroke(press);
    if (this.kind === "wand") this.#begin([press.points[0]]);
    else if (press.isDrag) this.#addBox(press.points[0], this.#at(point));
    else this.#addCorner(press.from);
  }

  #addStroke({ points, mark, isDrag }) {
    const { scale } = this.app.view;
    const line = isDrag && this.kind !== "click" ? simplify(points, 0.5 / scale) : [points[0]];
    this.#strokes.push({ points: line, inside: mark === "inside", radius: SCRIBBLE_PX / scale });
    this.#ask();
  }

  #addBox(from, to) {
    const [x0, y0, x1, y1] = boxBetween(from, to);
    this.#begin([[x0, y0], [x1, y1]]);
  }

  #begin(points) {
    [this.#points, this.#strokes] = [points, []];
    this.assist.drop();
    this.#ask();
  }

  #addCorner(point) {
    if (this.#isAsked) this.discard();
    const isFirst = this.#points.length > 2 && this.#isAtFirst(point);
    if (isFirst) return this.#ask();
    this.#points.push(this.#at(point));
    this.app.draftChanged();
  }

  #isAtFirst(point) {
    const first = toScreen(this.app.view, this.#points[0]);
    return distance(first, point.screen) <= CLOSE_REACH + point.reach - 4;
  }

  #ask() {
    const prompt = { points: this.#points, strokes: this.#strokes };
    const request = requestOf(this.kind, prompt, this.assist.tolerance);
    if (request) this.assist.ask(request);
    else this.app.hint("Mark something that is inside the object first.");
    this.app.draftChanged();
  }

  /** The tolerance changed. */
  askAgain() {
    if (this.isDrawing) this.#ask();
  }

  /** Take the answer as an object; an outline not yet closed is closed and asked about. */
  finish() {
    if (!this.isDrawing) return;
    if (!this.#isAsked && this.kind === "box") {
      return this.#points.length > 2 ? this.#ask() : this.app.hint("An outline needs at least three corners.");
    }
    const ops = this.assist.shown;
    if (ops.length === 0) return this.app.hint(this.assist.isBusy ? "Still looking…" : "There is nothing to take yet.");
    this.discard();
    const made = newAnnotation(this.app.category.category_id, ops[0], this.app.author);
    this.app.objects.place({ ...made, ops });
  }

  /** Take back the last stroke, corner or prompt; false when there is none. */
  stepBack() {
    if (!this.isDrawing) return false;
    if (this.#strokes.length > 0) this.#strokes.pop();
    else if (this.#isAsked) return this.discard() ?? true;
    else this.#points.pop();
    const isLeft = requestOf(this.kind, { points: this.#points, strokes: this.#strokes }, 0) !== null;
    if (isLeft && this.#isAsked) this.#ask();
    else if (this.#isAsked) this.discard();
    this.app.draftChanged();
    return true;
  }

  discard() {
    [this.#points, this.#strokes, this.#press] = [[], [], null];
    this.assist.drop();
    this.app.draftChanged();
  }

  cancelStroke() {
    this.#press = null;
    this.app.redraw();
  }

  leave() {
    this.discard();
    this.#pointer = null;
  }

  hover(point) {
    this.#pointer = point;
  }

  wheel(event) {
    if (this.kind !== "wand" || !event.altKey) return false;
    this.assist.setTolerance(this.assist.tolerance - Math.sign(event.deltaY || event.deltaX));
    return true;
  }

  key(name) {
    if (name === "Backspace" || name === "Delete") return this.stepBack();
    if (name === "Enter" && this.isDrawing) this.finish();
    else if (name === "Escape" && this.isDrawing) this.discard();
    else if ((name === "[" || name === "]") && this.kind === "wand") this.#step(name === "]" ? 1 : -1);
    else if (name === "[" || name === "]") this.assist.setDetail(this.assist.detail + (name === "]" ? 5 : -5));
    else return false;
    return true;
  }

  #step(by) {
    this.assist.setTolerance(this.assist.tolerance + by);
  }

  draw(context) {
    this.#drawOutline(context);
    const press = this.#press;
    const line = press && (press.mark || this.kind !== "box");
    const drawn = line ? [...this.#strokes, { points: press.points, inside: press.mark !== "outside" }] : this.#strokes;
    for (const { points, inside } of drawn) this.#drawStroke(context, points, inside);
    if (this.kind === "wand" && this.#points.length > 0) this.#drawStroke(context, this.#points, true);
  }

  #drawStroke(context, points, inside) {
    const [places, color] = [points.map((point) => toScreen(this.app.view, point)), inside ? INSIDE : OUTSIDE];
    drawLine(context, places, color, !inside);
    if (places.length < 3) drawHandle(context, places[0], 4.5, color);
  }

  #drawOutline(context) {
    if (this.kind !== "box") return;
    const place = (point) => toScreen(this.app.view, point);
    const press = this.#press;
    if (press && !press.mark && press.isDrag) return this.#drawBox(context, [press.points[0], press.points.at(-1)]);
    if (this.#points.length === 2 && this.#isAsked) return this.#drawBox(context, this.#points);
    const corners = this.#points.map(place);
    if (corners.length === 0) return;
    const end = this.#isAsked ? corners[0] : (this.#pointer?.screen ?? corners[0]);
    drawLine(context, [...corners, end], "#ffffff", true);
    corners.forEach((corner, i) => drawHandle(context, corner, i === 0 ? 5 : 3, "#ffffff"));
  }

  #drawBox(context, [from, to]) {
    const [x0, y0, x1, y1] = boxBetween(toScreen(this.app.view, from), toScreen(this.app.view, to));
    drawLine(context, [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], "#ffffff", true);
  }
}
