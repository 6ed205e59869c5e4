/** The tool that draws rectangles, polygons from then on; the contract of tools is in tool_select.js. */

import { isTooSmall, polygonOp } from "./annotations.js";
import { boxBetween, clampPoint, distance } from "./geometry.js";
import { drawHandle, drawLine } from "./marks.js";
import { toScreen } from "./view.js";

/** Drag from corner to corner, or click both; with Shift a square. */
export class RectangleTool {
  cursor = "crosshair";
  underWay = "rectangle";
  #first = null;
  #isPressed = false;
  #pointer = null;

  constructor(app) {
    this.app = app;
  }

  /** Whether the first corner is clicked and the second still to come. */
  get isDrawing() {
    return this.#first !== null && !this.#isPressed;
  }

  down(point) {
    if (!this.app.canAdd()) return;
    if (this.isDrawing) this.#pointer = point;
    else this.#first = point;
    this.#isPressed = true;
    this.app.draftChanged();
  }

  move(point) {
    this.#pointer = point;
    this.app.redraw();
  }

  up(point) {
    if (!this.#first) return;
    this.#isPressed = false;
    this.#pointer = point;
    if (distance(this.#first.screen, point.screen) > point.reach + 2) return this.finish();
    this.app.draftChanged();
  }

  #corners() {
    const [from, to] = [this.#first.image, this.#pointer.image].map((at) => clampPoint(at, this.app.image));
    if (!this.#pointer.shift) return [from, to];
    const [width, height] = [to[0] - from[0], to[1] - from[1]];
    const side = Math.min(Math.abs(width), Math.abs(height));
    return [from, [from[0] + Math.sign(width) * side, from[1] + Math.sign(height) * side]];
  }

  #points() {
    const [x0, y0, x1, y1] = boxBetween(...this.#corners());
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  }

  finish() {
    if (!this.#first || !this.#pointer) return;
    const op = polygonOp(this.#points());
    this.discard();
    if (isTooSmall(op, this.app.image)) return this.app.hint("Too small: that looked like an accident and was not kept.");
    this.app.objects.add(op);
  }

  stepBack() {
    if (!this.isDrawing) return false;
    this.discard();
    return true;
  }

  discard() {
    [this.#first, this.#isPressed] = [null, false];
    this.app.draftChanged();
  }

  cancelStroke() {
    if (this.#isPressed) this.discard();
  }

  leave() {
    this.discard();
    this.#pointer = null;
  }

  hover(point) {
    if (point) this.#pointer = point;
  }

  key(name) {
    if (name === "Enter" && this.isDrawing) this.finish();
    else if (["Escape", "Backspace", "Delete"].includes(name) && this.#first) this.discard();
    else return false;
    return true;
  }

  draw(context) {
    if (!this.#first || !this.#pointer) return;
    const corners = this.#points().map((point) => toScreen(this.app.view, point));
    drawLine(context, [...corners, corners[0]], this.app.category.color, false);
    drawHandle(context, toScreen(this.app.view, this.#corners()[0]), 4, "#ffffff");
  }
}
