/** The tool that paints and erases; the contract of tools is in tool_select.js. */

import { brushOp, topmostAt } from "./annotations.js";
import { boxOfPoints, distance, meetBoxes, simplify } from "./geometry.js";

/** Paint onto the selected object of the category, or a new one; or erase. */
export class BrushTool {
  cursor = "none";
  #stroke = null;
  #pointer = null;

  constructor(app, isEraser = false) {
    this.app = app;
    this.isEraser = isEraser;
  }

  down(point) {
    if (!this.isEraser && !this.app.canAdd()) return;
    this.#stroke = { points: [point.image], target: this.#targetAt(point) };
    this.#show();
  }

  #targetAt(point) {
    const selected = this.app.selected;
    if (!this.isEraser) return selected?.category_id === this.app.category.category_id ? selected : null;
    if (selected) return selected;
    return topmostAt(this.app.objects.editable, point.image, this.app.brushRadius);
  }

  move(point) {
    this.#pointer = point;
    const stroke = this.#stroke;
    if (!stroke) return;
    if (distance(stroke.points.at(-1), point.image) < 0.5 / this.app.view.scale) return;
    stroke.points.push(point.image);
    if (this.isEraser) stroke.target ??= this.#targetAt(point);
    this.#show();
  }

  #op() {
    const points = simplify(this.#stroke.points, 0.4 / this.app.view.scale);
    return brushOp(points, this.app.brushRadius, this.isEraser);
  }

  #show() {
    const { target, points } = this.#stroke;
    const extraOp = { kind: "brush", points, radius: this.app.brushRadius, subtract: this.isEraser };
    if (target) this.app.live = { annotation: target, extraOp: { ...extraOp, points: [...points] } };
    else if (!this.isEraser) {
      const made = { id: "", category_id: this.app.category.category_id, ops: [{ ...extraOp, points: [...points] }] };
      this.app.live = { annotation: made, isCached: false };
    }
    this.app.redraw();
  }

  up() {
    if (!this.#stroke) return;
    const op = this.#op();
    const { target } = this.#stroke;
    this.cancelStroke();
    if (this.isEraser) return target && this.app.objects.takeFrom(target, op, "The whole object was erased.");
    if (!this.#touchesImage(op)) return this.app.hint("That lies outside the photo: nothing was kept.");
    if (target) return this.app.objects.extend(target, op);
    this.app.objects.add(op, { select: true });
  }

  #touchesImage(op) {
    const { width, height } = this.app.image;
    return meetBoxes(boxOfPoints(op.points, op.radius), [0, 0, width, height]) !== null;
  }

  cancelStroke() {
    this.#stroke = this.app.live = null;
    this.app.redraw();
  }

  leave() {
    this.#pointer = null;
  }

  hover(point) {
    this.#pointer = point;
  }

  /** Turn the wheel with Alt or Shift held: a larger or smaller brush. */
  wheel(event) {
    if (!event.altKey && !event.shiftKey) return false;
    const turned = event.deltaY || event.deltaX; // Shift turns the wheel sideways
    this.app.setBrushRadius(this.app.brushRadius * (turned < 0 ? 1.1 : 1 / 1.1));
    return true;
  }

  key(name) {
    if (name === "[" || name === "]") this.app.setBrushRadius(this.app.brushRadius * (name === "]" ? 1.2 : 1 / 1.2));
    else if (name === "Enter" || name === "Escape") this.app.select(null);
    else if (name === "Delete" && this.app.selected) this.app.objects.remove();
    else return false;
    return true;
  }

  draw(context) {
    if (!this.#pointer) return;
    const [x, y] = this.#pointer.screen;
    const radius = Math.max(1, this.app.brushRadius * this.app.view.scale);
    for (const [color, width] of [["rgba(0,0,0,.65)", 3], ["#ffffff", 1.25]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = color;
      context.lineWidth = width;
      context.setLineDash(this.isEraser ? [4, 3] : []);
      context.stroke();
    }
    context.setLineDash([]);
    context.fillStyle = this.isEraser ? "#ffffff" : this.app.category?.color ?? "#ffffff";
    context.fillRect(x - 1, y - 1, 2, 2);
  }
}
