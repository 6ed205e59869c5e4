/** The tool that draws polygons and cuts holes; the contract of tools is in tool_select.js. */

import { covers, isTooSmall, polygonOp } from "./annotations.js";
import { clipPolygon, distance, simplify } from "./geometry.js";
import { drawHandle, drawLine } from "./marks.js";
import { CornersTool } from "./tool_corners.js";
import { toScreen } from "./view.js";

const CLOSE_REACH = 11;

/** Click corners or trace freehand; closes into a new object, or takes a hole out of one. */
export class PolygonTool extends CornersTool {
  constructor(app, isSubtract = false) {
    super(app);
    this.isSubtract = isSubtract;
  }

  get underWay() {
    return this.isSubtract ? "hole" : "polygon";
  }

  down(point) {
    if (this.isSubtract || this.app.canAdd()) super.down(point);
  }

  addTrace(points, end) {
    this.add(simplify(points, 1 / this.app.view.scale));
    if (this.closesAt(end)) this.finish();
  }

  /** Whether a point lies at the first of three corners or more. */
  closesAt(point) {
    if (this.points.length <= 2) return false;
    const first = toScreen(this.app.view, this.points[0]);
    return distance(first, point.screen) <= CLOSE_REACH + point.reach - 4;
  }

  finish() {
    if (!this.isDrawing) return;
    const points = this.points;
    if (points.length < 3) return this.app.hint("A polygon needs at least three corners.");
    this.discard();
    const inside = clipPolygon(points, this.app.image);
    if (inside.length < 3) return this.app.hint("That lies outside the photo: nothing was kept.");
    const op = polygonOp(inside, this.isSubtract);
    if (isTooSmall(op, this.app.image)) {
      return this.app.hint("Too small: that looked like an accident and was not kept.");
    }
    if (this.isSubtract) return this.#cutHole(op, inside);
    this.app.objects.add(op);
  }

  #cutHole(op, points) {
    const target = targetOfHole(this.app.selected, this.app.objects.editable, points);
    if (!target) return this.app.hint("Draw the hole over an object.");
    this.app.objects.takeFrom(target, op, "The hole took the whole object away.");
  }

  draw(context) {
    const points = [...this.points, ...(this.trace?.isTracing ? this.trace.points : [])];
    if (points.length === 0) return;
    const line = points.map((point) => toScreen(this.app.view, point));
    const end = this.pointer && !this.trace?.isTracing ? this.pointer.screen : null;
    const color = this.isSubtract ? "#ffffff" : this.app.category.color;
    drawLine(context, end ? [...line, end] : line, color, this.isSubtract);
    const closes = end && this.closesAt(this.pointer);
    const corners = this.points.length > 60 ? [line[0]] : line.slice(0, this.points.length);
    for (const [index, corner] of corners.entries()) {
      const isFirst = index === 0;
      drawHandle(context, corner, isFirst ? (closes ? 7 : 5) : 3, isFirst && closes ? color : "#ffffff");
    }
  }
}

/** The annotation a hole is meant for: the selected one, else the topmost under any of its corners. */
export function targetOfHole(selected, shown, points) {
  if (selected) return selected;
  return shown.findLast((annotation) => points.some((point) => covers(annotation, point))) ?? null;
}
