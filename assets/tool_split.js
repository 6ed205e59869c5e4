/** The tool that cuts an object by a line; the contract of tools is in tool_select.js. */

import { distance, simplify } from "./geometry.js";
import { drawHandle, drawLine } from "./marks.js";
import { toScreen } from "./view.js";

const DOUBLE_CLICK_MS = 350;

/** Drag a line across an object, or click its corners and press Enter. */
export class SplitTool {
  cursor = "crosshair";
  underWay = "line";
  #points = [];
  #trace = null;
  #pointer = null;
  #lastClick = null;

  constructor(app) {
    this.app = app;
  }

  get isDrawing() {
    return this.#points.length > 0;
  }

  down(point) {
    this.#trace = { from: point, points: [point.image], isTracing: false };
  }

  move(point) {
    this.#pointer = point;
    if (!this.#trace) return;
    this.#trace.isTracing ||= distance(this.#trace.from.screen, point.screen) > point.reach + 2;
    this.#trace.points.push(point.image);
    this.app.redraw();
  }

  up(point) {
    const trace = this.#trace;
    this.#trace = null;
    if (!trace) return;
    if (!trace.isTracing) return this.#addClick(trace.from);
    this.#points.push(...simplify(trace.points, 2 / this.app.view.scale));
    this.#pointer = point;
    this.finish();
  }

  #addClick(point) {
    const last = this.#lastClick;
    const isNear = last && distance(last.screen, point.screen) <= point.reach + 2;
    if (isNear && point.time - last.time < DOUBLE_CLICK_MS) return this.finish();
    this.#lastClick = point;
    this.#points.push(point.image);
    this.app.draftChanged();
  }

  finish() {
    if (!this.isDrawing) return;
    const line = this.#points;
    if (line.length < 2) return this.app.hint("A line needs two points.");
    this.discard();
    this.app.objects.split(line);
  }

  /** Take back the last click; false when there is none. */
  stepBack() {
    if (!this.isDrawing) return false;
    this.#points.pop();
    this.#lastClick = null;
    this.app.draftChanged();
    return true;
  }

  discard() {
    [this.#points, this.#trace, this.#lastClick] = [[], null, null];
    this.app.draftChanged();
  }

  cancelStroke() {
    this.#trace = null;
    this.app.redraw();
  }

  leave() {
    this.discard();
    this.#pointer = null;
  }

  hover(point) {
    this.#pointer = point;
  }

  key(name) {
    if (name === "Backspace" || name === "Delete") return this.stepBack();
    if (name === "Enter" && this.isDrawing) this.finish();
    else if (name === "Escape" && this.isDrawing) this.discard();
    else return false;
    return true;
  }

  draw(context) {
    const traced = this.#trace?.isTracing ? this.#trace.points : [];
    const line = [...this.#points, ...traced].map((point) => toScreen(this.app.view, point));
    if (line.length === 0) return;
    const end = this.#pointer && !this.#trace?.isTracing ? [this.#pointer.screen] : [];
    drawLine(context, [...line, ...end], "#ffffff", true);
    for (const corner of line.slice(0, this.#points.length)) drawHandle(context, corner, 3, "#ffffff");
  }
}
