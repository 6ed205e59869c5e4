/**
 * The tool that selects, moves and reshapes objects.
 *
 * A tool gets points `{screen, image, type, alt, shift, reach, time}` through `down`, `move`, `up` and
 * `hover`; `cancelStroke` drops what the pointer under way began; `key` says whether it took a key. It
 * changes labels only through the labeler, and shows what is not committed in `live` and `draw`. One that
 * can be half done says so by `isDrawing` and names what by `underWay`; where that is more than a single
 * press it is `worthKeeping`, and no other tool is chosen before it is finished or cancelled. The right
 * button presses, as Alt does, where it `takesRight`.
 */

import { edgeAt, replaced, topmostAt, vertexAt, withPoints } from "./annotations.js";
import { boxBetween, clampPoint, distance, withPoint, withoutPoint } from "./geometry.js";
import { drawHandle, drawLine } from "./marks.js";
import { toScreen } from "./view.js";

const HANDLE_REACH = 9;

/**
 * Select, move, and reshape objects. A press on nothing pans. With Shift, or while several are being
 * picked, a click adds an object or takes it out again, and a drag adds all objects inside its box.
 */
export class SelectTool {
  cursor = "default";
  #drag = null;
  #vertex = null;
  #ghost = null;

  constructor(app) {
    this.app = app;
  }

  down(point) {
    const { selected } = this.app;
    if (point.shift || this.app.objects.isPickingSeveral) return this.#begin({ kind: "several", from: point });
    const reach = (HANDLE_REACH + point.reach - 4) / this.app.view.scale;
    const isSingle = this.app.objects.selectedIds.size === 1;
    const vertex = isSingle && vertexAt(selected, point.image, reach);
    if (vertex && point.alt) return this.#deleteVertex(vertex);
    if (vertex) return this.#begin({ kind: "vertex", ...vertex, from: point });
    const edge = isSingle && edgeAt(selected, point.image, reach * 0.7);
    if (edge) return this.#insert(edge, point);
    const hit = this.#pick(point);
    this.#vertex = null;
    if (!hit) return "pan";
    this.#begin({ kind: "object", from: point });
  }

  #pick(point) {
    const hit = this.#hitAt(point);
    if (hit && !this.app.objects.selectedIds.has(hit.id)) this.app.select(hit.id);
    return hit;
  }

  #hitAt(point) {
    return topmostAt(this.app.objects.editable, point.image, point.reach / this.app.view.scale);
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
    const original = this.app.selected;
    const points = withPoint(original.ops[edge.opIndex].points, edge.index, edge.point);
    this.#begin({ kind: "vertex", opIndex: edge.opIndex, index: edge.index + 1, from: point });
    this.#show(withPoints(original, edge.opIndex, points));
  }

  #show(annotation, offset) {
    this.#drag.current = annotation;
    const others = offset ? this.app.objects.selection.filter(({ id }) => id !== annotation.id) : [];
    this.app.live = { annotation, offset, others, isCached: offset !== undefined };
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
    } else if (drag.kind === "several") {
      drag.to = point;
      this.app.redraw();
    } else {
      drag.shift = [point.image[0] - drag.from.image[0], point.image[1] - drag.from.image[1]];
      this.#show(drag.original, drag.shift);
    }
  }

  up() {
    const drag = this.#drag;
    this.#drag = this.app.live = null;
    this.app.redraw();
    if (drag?.kind === "several") return this.#endSeveral(drag);
    if (drag?.kind === "object") return drag.shift ? this.app.objects.move(...drag.shift) : this.#narrow(drag.from);
    if (drag?.current) this.app.commit(replaced(this.app.annotations, drag.current));
  }

  #endSeveral({ from, to }) {
    if (to) return this.app.objects.chooseInside(boxBetween(from.image, to.image));
    const hit = this.#hitAt(from);
    if (hit) this.app.objects.toggleChoice(hit.id);
  }

  /** A plain click on one of several chosen objects chooses it alone. */
  #narrow(point) {
    const hit = this.#hitAt(point);
    if (hit && this.app.objects.selectedIds.size > 1) this.app.select(hit.id);
  }

  cancelStroke() {
    this.#drag = this.app.live = null;
    this.app.redraw();
  }

  hover(point) {
    const { selected } = this.app;
    const reach = HANDLE_REACH / this.app.view.scale;
    const isSingle = selected && this.app.objects.selectedIds.size === 1;
    const vertex = point && isSingle && vertexAt(selected, point.image, reach);
    const edge = point && isSingle && !vertex && !this.#drag && edgeAt(selected, point.image, reach * 0.7);
    this.#ghost = edge ? edge.point : null;
    const hit = point && topmostAt(this.app.objects.editable, point.image, 4 / this.app.view.scale);
    if (vertex || edge) this.cursor = vertex ? "pointer" : "copy";
    else if (hit) this.cursor = hit.id === selected?.id ? "move" : "pointer";
    else this.cursor = "grab";
  }

  #deleteVertex({ opIndex, index }) {
    const selected = this.app.selected;
    const changed = withPoints(selected, opIndex, withoutPoint(selected.ops[opIndex].points, index));
    this.#vertex = null;
    if (!changed.ops.some((op) => !op.subtract)) return this.app.objects.removeOne(selected.id);
    this.app.commit(replaced(this.app.annotations, changed));
  }

  /** Whether a corner is chosen, to be deleted before its object is. */
  get hasVertex() {
    const op = this.#vertex && this.app.selected?.ops[this.#vertex.opIndex];
    return Boolean(op?.points?.[this.#vertex.index]);
  }

  /** Delete the chosen corner, else the chosen objects. */
  remove() {
    if (this.hasVertex) this.#deleteVertex(this.#vertex);
    else this.app.objects.remove();
  }

  key(name) {
    if (name === "Escape") {
      this.app.objects.isPickingSeveral = false;
      this.clickedNothing();
      return true;
    }
    if ((name !== "Delete" && name !== "Backspace") || !this.app.selected) return false;
    this.remove();
    return true;
  }

  leave() {
    this.#vertex = this.#ghost = null;
  }

  draw(context) {
    const { from, to } = this.#drag ?? {};
    if (this.#drag?.kind === "several" && to) {
      const [x0, y0, x1, y1] = boxBetween(from.screen, to.screen);
      return drawLine(context, [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], "#ffffff", true);
    }
    if (this.app.objects.selectedIds.size > 1) return;
    const shown = this.app.live?.annotation ?? this.app.selected;
    if (!shown || this.app.live?.offset) return;
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
