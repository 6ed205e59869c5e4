/**
 * The drawing tools. A tool gets points `{screen, image, alt, shift, reach, time}` through `down`,
 * `move`, `up`, `hover`; `cancelStroke` drops what the pointer under way began. It changes labels only
 * through `app.commit`, and shows what is not committed yet in `app.live` and `draw`.
 */

import {
  brushOp, covers, edgeAt, isTooSmall, moved, newAnnotation, polygonOp, replaced, topmostAt, vertexAt,
  withOp, withPoints,
} from "./annotations.js";
import { boxOfPoints, clampPoint, distance, meetBoxes, simplify, withPoint, withoutPoint } from "./geometry.js";
import { toScreen } from "./view.js";

const HANDLE_REACH = 9;
const CLOSE_REACH = 11;
const DOUBLE_CLICK_MS = 350;

/** Select, move, and reshape objects. A press on nothing pans. */
export class SelectTool {
  cursor = "default";
  #drag = null;
  #vertex = null;
  #ghost = null;

  constructor(app) {
    this.app = app;
  }

  down(point) {
    const selected = this.app.selected;
    if (this.app.isReadonly) return this.#pick(point) ? undefined : "pan";
    const reach = (HANDLE_REACH + point.reach - 4) / this.app.view.scale;
    const vertex = selected && vertexAt(selected, point.image, reach);
    if (vertex && (point.alt || point.shift)) return this.#deleteVertex(vertex);
    if (vertex) return this.#begin({ kind: "vertex", ...vertex, from: point });
    const edge = selected && edgeAt(selected, point.image, reach * 0.7);
    if (edge) return this.#insert(edge, point);
    const hit = this.#pick(point);
    this.#vertex = null;
    if (!hit) return "pan";
    this.#begin({ kind: "object", from: point });
  }

  #pick(point) {
    const hit = topmostAt(this.app.shown, point.image, point.reach / this.app.view.scale);
    if (hit) this.app.select(hit.id);
    return hit;
  }

  clickedNothing() {
    this.#vertex = null;
    this.app.select(null);
  }

  #begin(drag) {
    this.#drag = { ...drag, original: this.app.selected, current: null };
    if (drag.kind === "vertex") this.#vertex = { opIndex: drag.opIndex, index: drag.index };
    this.app.redraw();
  }

  #insert(edge, point) {
    const { original } = { original: this.app.selected };
    const points = withPoint(original.ops[edge.opIndex].points, edge.index, edge.point);
    this.#begin({ kind: "vertex", opIndex: edge.opIndex, index: edge.index + 1, from: point });
    this.#show(withPoints(original, edge.opIndex, points));
  }

  #show(annotation, offset) {
    this.#drag.current = annotation;
    this.app.live = { annotation, offset, isCached: offset !== undefined };
    this.app.redraw();
  }

  move(point) {
    const drag = this.#drag;
    if (!drag) return;
    drag.hasMoved ||= distance(drag.from.screen, point.screen) > point.reach - 1;
    if (!drag.hasMoved) return;
    if (drag.kind === "vertex") {
      const base = drag.current ?? drag.original;
      const to = clampPoint(point.image, this.app.image);
      const points = base.ops[drag.opIndex].points.map((old, i) => (i === drag.index ? to : old));
      this.#show(withPoints(base, drag.opIndex, points));
    } else {
      drag.shift = [point.image[0] - drag.from.image[0], point.image[1] - drag.from.image[1]];
      this.#show(drag.original, drag.shift);
    }
  }

  up() {
    const drag = this.#drag;
    this.#drag = this.app.live = null;
    if (!drag?.current) return this.app.redraw();
    const changed = drag.kind === "object" ? moved(drag.original, ...drag.shift) : drag.current;
    if (!changed) return this.app.hint("An imported mask cannot be moved. Brush and eraser can change it.");
    if (!this.#isOnImage(changed)) return this.app.hint("The object would leave the photo.");
    this.app.commit(replaced(this.app.annotations, changed));
  }

  #isOnImage(annotation) {
    const { width, height } = this.app.image;
    const added = annotation.ops.filter((op) => !op.subtract && op.points);
    if (added.length === 0) return true;
    return meetBoxes(boxOfPoints(added.flatMap((op) => op.points)), [0, 0, width, height]) !== null;
  }

  cancelStroke() {
    this.#drag = this.app.live = null;
    this.app.redraw();
  }

  hover(point) {
    const selected = this.app.isReadonly ? null : this.app.selected;
    const reach = HANDLE_REACH / this.app.view.scale;
    const vertex = point && selected && vertexAt(selected, point.image, reach);
    const edge = point && selected && !vertex && !this.#drag && edgeAt(selected, point.image, reach * 0.7);
    this.#ghost = edge ? edge.point : null;
    const hit = point && topmostAt(this.app.shown, point.image, 4 / this.app.view.scale);
    this.cursor = vertex ? "pointer" : edge ? "copy" : hit?.id === selected?.id && hit ? "move" : hit ? "pointer" : "grab";
  }

  #deleteVertex({ opIndex, index }) {
    const selected = this.app.selected;
    const changed = withPoints(selected, opIndex, withoutPoint(selected.ops[opIndex].points, index));
    this.#vertex = null;
    if (!changed.ops.some((op) => !op.subtract)) return this.app.remove(selected.id);
    this.app.commit(replaced(this.app.annotations, changed));
  }

  key(name) {
    if (name === "Escape") {
      this.clickedNothing();
      return true;
    }
    if ((name !== "Delete" && name !== "Backspace") || !this.app.selected || this.app.isReadonly) return false;
    const op = this.#vertex && this.app.selected.ops[this.#vertex.opIndex];
    if (op?.points?.[this.#vertex.index]) this.#deleteVertex(this.#vertex);
    else this.app.remove(this.app.selected.id);
    return true;
  }

  leave() {
    this.#vertex = this.#ghost = null;
  }

  draw(context) {
    const shown = this.app.live?.annotation ?? this.app.selected;
    if (!shown || this.app.isReadonly || this.app.live?.offset) return;
    const { width, height } = context.canvas;
    for (const [opIndex, op] of shown.ops.entries()) {
      if (op.kind !== "polygon") continue;
      for (const [index, corner] of op.points.entries()) {
        const [x, y] = toScreen(this.app.view, corner);
        if (x < 0 || y < 0 || x > width || y > height) continue;
        const isActive = this.#vertex?.opIndex === opIndex && this.#vertex.index === index;
        drawHandle(context, [x, y], isActive ? 5.5 : 4, isActive ? this.app.colorOf(shown) : "#ffffff");
      }
    }
    if (this.#ghost) drawHandle(context, toScreen(this.app.view, this.#ghost), 3.5, "rgba(255,255,255,.7)");
  }
}

/** Click corners or trace freehand; closes into a new object, or takes a hole out of one. */
export class PolygonTool {
  cursor = "crosshair";
  #points = [];
  #steps = [];
  #pointer = null;
  #trace = null;
  #lastClick = null;

  constructor(app, isSubtract = false) {
    this.app = app;
    this.isSubtract = isSubtract;
  }

  get isDrawing() {
    return this.#points.length > 0;
  }

  down(point) {
    if (!this.isSubtract && !this.app.canAdd()) return;
    this.#trace = { from: point, points: [clampPoint(point.image, this.app.image)], isTracing: false };
  }

  move(point) {
    this.#pointer = point;
    if (!this.#trace) return;
    this.#trace.isTracing ||= distance(this.#trace.from.screen, point.screen) > point.reach + 2;
    this.#trace.points.push(clampPoint(point.image, this.app.image));
    this.app.redraw();
  }

  up(point) {
    const trace = this.#trace;
    this.#trace = null;
    if (!trace) return;
    if (trace.isTracing) this.#addTrace(trace.points, point);
    else this.#addClick(trace.from);
  }

  #addTrace(points, end) {
    this.#add(simplify(points, 1 / this.app.view.scale));
    if (this.#points.length > 2 && this.#isAtFirst(end)) this.finish();
  }

  #addClick(point) {
    const last = this.#lastClick;
    const isNear = last && distance(last.screen, point.screen) <= point.reach + 2;
    if (isNear && point.time - last.time < DOUBLE_CLICK_MS) return this.finish();
    if (this.#points.length > 2 && this.#isAtFirst(point)) return this.finish();
    this.#lastClick = point;
    this.#add([clampPoint(point.image, this.app.image)]);
  }

  #isAtFirst(point) {
    const first = toScreen(this.app.view, this.#points[0]);
    return distance(first, point.screen) <= CLOSE_REACH + point.reach - 4;
  }

  #add(points) {
    this.#points.push(...points);
    this.#steps.push(points.length);
    this.app.draftChanged();
  }

  finish() {
    if (!this.isDrawing) return;
    const points = this.#points;
    if (points.length < 3) return this.app.hint("A polygon needs at least three corners.");
    this.discard();
    const op = polygonOp(points, this.isSubtract);
    if (isTooSmall(op)) return this.app.hint("Too small: that looked like an accident and was not kept.");
    if (this.isSubtract) return this.app.subtract(op, points);
    const made = newAnnotation(this.app.category.category_id, op, this.app.author);
    this.app.commit([...this.app.annotations, made], { drawn: made.id });
  }

  /** Take back the last click or trace; false when there is none. */
  stepBack() {
    if (!this.isDrawing) return false;
    this.#points.length -= this.#steps.pop();
    this.#lastClick = null;
    this.app.draftChanged();
    return true;
  }

  discard() {
    [this.#points, this.#steps, this.#trace, this.#lastClick] = [[], [], null, null];
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
    const points = [...this.#points, ...(this.#trace?.isTracing ? this.#trace.points : [])];
    if (points.length === 0) return;
    const line = points.map((point) => toScreen(this.app.view, point));
    const end = this.#pointer && !this.#trace?.isTracing ? this.#pointer.screen : null;
    const color = this.isSubtract ? "#ffffff" : this.app.category.color;
    drawLine(context, end ? [...line, end] : line, color, this.isSubtract);
    const closes = end && this.#points.length > 2 && this.#isAtFirst(this.#pointer);
    const corners = this.#points.length > 60 ? [line[0]] : line.slice(0, this.#points.length);
    for (const [index, corner] of corners.entries()) {
      const isFirst = index === 0;
      drawHandle(context, corner, isFirst ? (closes ? 7 : 5) : 3, isFirst && closes ? color : "#ffffff");
    }
  }
}

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
    if (this.isEraser ? this.app.isReadonly : !this.app.canAdd()) return;
    this.#stroke = { points: [point.image], target: this.#targetAt(point) };
    this.#show();
  }

  #targetAt(point) {
    const selected = this.app.selected;
    if (!this.isEraser) return selected?.category_id === this.app.category.category_id ? selected : null;
    if (selected && this.app.shown.includes(selected)) return selected;
    return topmostAt(this.app.shown, point.image, this.app.brushRadius);
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
    if (this.isEraser) return target ? this.app.erase(target, op) : undefined;
    if (!this.#touchesImage(op)) return;
    if (target) return this.app.commit(replaced(this.app.annotations, withOp(target, op)));
    const made = newAnnotation(this.app.category.category_id, op, this.app.author);
    this.app.commit([...this.app.annotations, made], { select: made.id, drawn: made.id });
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

  key(name) {
    if (name === "[" || name === "]") this.app.setBrushRadius(this.app.brushRadius * (name === "]" ? 1.2 : 1 / 1.2));
    else if (name === "Enter" || name === "Escape") this.app.select(null);
    else if (name === "Delete" && this.app.selected) this.app.remove(this.app.selected.id);
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

/** The annotation a hole is meant for: the selected one, else the topmost under any of its corners. */
export function targetOfHole(selected, shown, points) {
  if (selected) return selected;
  return shown.findLast((annotation) => points.some((point) => covers(annotation, point))) ?? null;
}

function drawHandle(context, [x, y], radius, fill) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "rgba(0,0,0,.75)";
  context.stroke();
}

function drawLine(context, points, color, isDashed) {
  for (const [stroke, width] of [["rgba(0,0,0,.55)", 3.5], [color, 1.75]]) {
    context.beginPath();
    points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(isDashed ? [6, 4] : []);
    context.stroke();
  }
  context.setLineDash([]);
}
