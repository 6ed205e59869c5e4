/** What tools share that are drawn corner by corner or traced; the contract of tools is in tool_select.js. */

import { distance } from "./geometry.js";

const DOUBLE_CLICK_MS = 350;

/**
 * Gather corners by clicks and traces, until Enter, a double click or a click that closes.
 *
 * A tool adds `addTrace(points, end)`, `finish()` and `draw(context)`, and may say in `closesAt(point)`
 * which click finishes it.
 */
export class CornersTool {
  cursor = "crosshair";
  points = []; // the corners so far, in image pixels
  pointer = null;
  trace = null; // the press under way
  #steps = []; // how many corners each click or trace brought
  #lastClick = null;

  constructor(app) {
    this.app = app;
  }

  get isDrawing() {
    return this.points.length > 0;
  }

  get worthKeeping() {
    return this.points.length > 1;
  }

  closesAt() {
    return false;
  }

  down(point) {
    this.trace = { from: point, points: [point.image], isTracing: false };
  }

  move(point) {
    this.pointer = point;
    if (!this.trace) return;
    this.trace.isTracing ||= distance(this.trace.from.screen, point.screen) > point.reach + 2;
    this.trace.points.push(point.image);
    this.app.redraw();
  }

  up(point) {
    const trace = this.trace;
    this.trace = null;
    if (!trace) return;
    if (trace.isTracing) this.addTrace(trace.points, point);
    else this.#addClick(trace.from);
  }

  #addClick(point) {
    const last = this.#lastClick;
    const isNear = last && distance(last.screen, point.screen) <= point.reach + 2;
    if (isNear && point.time - last.time < DOUBLE_CLICK_MS) return this.finish();
    if (this.closesAt(point)) return this.finish();
    this.#lastClick = point;
    this.add([point.image]);
  }

  add(points) {
    this.points.push(...points);
    this.#steps.push(points.length);
    this.app.draftChanged();
  }

  /** Take back the last click or trace; false when there is none. */
  stepBack() {
    if (!this.isDrawing) return false;
    this.points.length -= this.#steps.pop();
    this.#lastClick = null;
    this.app.draftChanged();
    return true;
  }

  discard() {
    [this.points, this.#steps, this.trace, this.#lastClick] = [[], [], null, null];
    this.app.draftChanged();
  }

  cancelStroke() {
    this.trace = null;
    this.app.redraw();
  }

  leave() {
    this.discard();
    this.pointer = null;
  }

  hover(point) {
    this.pointer = point;
  }

  key(name) {
    if (name === "Backspace" || name === "Delete") return this.stepBack();
    if (name === "Enter" && this.isDrawing) this.finish();
    else if (name === "Escape" && this.isDrawing) this.discard();
    else return false;
    return true;
  }
}
