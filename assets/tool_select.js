/**
 * The tool that selects, moves and reshapes objects.
 *
 * A tool gets points `{screen, image, type, alt, shift, reach, time}` through `down`, `move`, `up` and
 * `hover`; `cancelStroke` drops what the pointer under way began; `key` says whether it took a key. It
 * changes labels only through the labeler, and shows what is not committed in `live` and `draw`.
 */

import { edgeAt, moved, replaced, topmostAt, vertexAt, withPoints } from "./annotations.js";
import { boxOfPoints, clampPoint, distance, meetBoxes, withPoint, withoutPoint } from "./geometry.js";
import { drawHandle } from "./marks.js";
import { toScreen } from "./view.js";

const HANDLE_REACH = 9;

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
    const original = this.app.selected;
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
    const { selected } = this.app;
    const reach = HANDLE_REACH / this.app.view.scale;
    const vertex = point && selected && vertexAt(selected, point.image, reach);
    const edge = point && selected && !vertex && !this.#drag && edgeAt(selected, point.image, reach * 0.7);
    this.#ghost = edge ? edge.point : null;
    const hit = point && topmostAt(this.app.shown, point.image, 4 / this.app.view.scale);
    if (vertex || edge) this.cursor = vertex ? "pointer" : "copy";
    else if (hit) this.cursor = hit.id === selected?.id ? "move" : "pointer";
    else this.cursor = "grab";
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
    if ((name !== "Delete" && name !== "Backspace") || !this.app.selected) return false;
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
