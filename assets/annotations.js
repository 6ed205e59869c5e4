/**
 * Annotations as immutable values in their JSON form (core/domain/labels.py): each edit gives a new
 * list and leaves what did not change untouched, so an undo step is one reference.
 */

import {
  boxOfPoints, clipPolygon, distance, distanceToLine, isInsideBox, isInsideMask, isInsidePolygon, joinBoxes,
  nearestEdge, polygonArea, rleMask, rounded,
} from "./geometry.js";
import { areaOf, maskOf, movedRle } from "./raster.js";

/** Smaller polygons are a slip of the hand, not damage; in square image pixels. */
export const SMALLEST_AREA = 9;

const boxes = new WeakMap();

export function newAnnotation(categoryId, op, author) {
  return { id: newId(), category_id: categoryId, ops: [op], source: "drawn", author };
}

export function polygonOp(points, subtract = false) {
  return { kind: "polygon", points: rounded(points), subtract };
}

export function brushOp(points, radius, subtract = false) {
  return { kind: "brush", points: rounded(points), radius: Math.round(radius * 10) / 10, subtract };
}

/** On an image that is itself tiny, what covers half of it is meant. */
export function isTooSmall(op, { width, height } = { width: Infinity, height: Infinity }) {
  return op.kind === "polygon" && polygonArea(op.points) < Math.min(SMALLEST_AREA, (width * height) / 2);
}

export function withOp(annotation, op) {
  return { ...annotation, ops: [...annotation.ops, op] };
}

/** With the points of one op replaced; an op left with fewer than three corners goes. */
export function withPoints(annotation, opIndex, points) {
  const kept = points.length < 3 ? null : { ...annotation.ops[opIndex], points: rounded(points) };
  const ops = annotation.ops.map((op, i) => (i === opIndex ? kept : op)).filter((op) => op !== null);
  return { ...annotation, ops };
}

/** Moved by whole ops; an imported mask goes by whole pixels and loses what leaves the image. */
export function moved(annotation, dx, dy) {
  const hasMask = annotation.ops.some((op) => op.kind === "rle");
  const [x, y] = hasMask ? [Math.round(dx), Math.round(dy)] : [dx, dy];
  const shift = (op) =>
    op.kind === "rle" ? movedRle(op, x, y) : { ...op, points: rounded(op.points.map(([px, py]) => [px + x, py + y])) };
  return { ...annotation, ops: annotation.ops.map(shift).filter((op) => op !== null) };
}

/** What of an annotation lies on the image; null when that is nothing. Brush strokes keep their line. */
export function clipped(annotation, size) {
  const ops = annotation.ops.flatMap((op) => {
    if (op.kind !== "polygon" || op.subtract || isOnImage(op.points, size)) return [op];
    const points = rounded(clipPolygon(op.points, size));
    return points.length < 3 ? [] : [{ ...op, points }];
  });
  const isSame = ops.length === annotation.ops.length && ops.every((op, i) => op === annotation.ops[i]);
  const inside = isSame ? annotation : { ...annotation, ops };
  return areaOf(maskOf(inside.ops, size)) > 0 ? inside : null;
}

function isOnImage(points, { width, height }) {
  return points.every(([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height);
}

/** The same object once more, as a new one of `author`. */
export function duplicateOf(annotation, author) {
  return { ...annotation, id: newId(), source: "drawn", author };
}

export function replaced(annotations, changed) {
  return annotations.map((annotation) => (annotation.id === changed.id ? changed : annotation));
}

/** With each of several annotations in its old one's place. */
export function replacedAll(annotations, changed) {
  const byId = new Map(changed.map((annotation) => [annotation.id, annotation]));
  return annotations.map((annotation) => byId.get(annotation.id) ?? annotation);
}

/** With the chosen ones a step up (1) or down (-1) in painting order; together, they keep theirs. */
export function reordered(annotations, ids, step) {
  const list = step > 0 ? [...annotations] : [...annotations].reverse();
  for (let i = list.length - 2; i >= 0; i -= 1) {
    if (ids.has(list[i].id) && !ids.has(list[i + 1].id)) [list[i], list[i + 1]] = [list[i + 1], list[i]];
  }
  return step > 0 ? list : list.reverse();
}

export function without(annotations, id) {
  return annotations.filter((annotation) => annotation.id !== id);
}

export function opBox(op) {
  if (op.kind === "rle") return rleMask(op).box ?? [0, 0, 0, 0];
  return boxOfPoints(op.points, op.kind === "brush" ? op.radius : 0);
}

/** The box around everything the annotation adds. */
export function boxOf(annotation) {
  const known = boxes.get(annotation);
  if (known) return known;
  const added = annotation.ops.filter((op) => !op.subtract).map(opBox);
  const box = added.length > 0 ? added.reduce(joinBoxes) : [0, 0, 0, 0];
  boxes.set(annotation, box);
  return box;
}

/** Whether the mask covers a point: the last op that covers it decides. */
export function covers(annotation, point) {
  if (!isInsideBox(point, boxOf(annotation))) return false;
  const op = annotation.ops.findLast((candidate) => opCovers(candidate, point));
  return op !== undefined && !op.subtract;
}

function opCovers(op, point) {
  if (op.kind === "polygon") return isInsidePolygon(point, op.points);
  if (op.kind === "brush") return distanceToLine(point, op.points) <= op.radius;
  return isInsideMask(point, rleMask(op));
}

/** The topmost annotation at a point; else the topmost polygon whose outline is within `reach`. */
export function topmostAt(annotations, point, reach = 0) {
  const outlined = (annotation) =>
    isInsideBox(point, boxOf(annotation), reach) &&
    annotation.ops.some((op) => op.kind === "polygon" && nearestEdge(point, op.points).distance <= reach);
  return (
    annotations.findLast((annotation) => covers(annotation, point)) ??
    annotations.findLast(outlined) ??
    null
  );
}

/** The corner within `reach` of a point: `{opIndex, index}`, or null. Later ops win. */
export function vertexAt(annotation, point, reach) {
  let best = null;
  annotation.ops.forEach((op, opIndex) => {
    if (op.kind !== "polygon") return;
    op.points.forEach((corner, index) => {
      const gap = distance(point, corner);
      if (gap <= reach && (best === null || gap <= best.gap)) best = { opIndex, index, gap };
    });
  });
  return best;
}

/** The edge within `reach` of a point: `{opIndex, index, point}`, or null. */
export function edgeAt(annotation, point, reach) {
  let best = null;
  annotation.ops.forEach((op, opIndex) => {
    if (op.kind !== "polygon") return;
    const edge = nearestEdge(point, op.points);
    if (edge.distance <= reach && (best === null || edge.distance < best.gap)) {
      best = { opIndex, index: edge.index, point: edge.point, gap: edge.distance };
    }
  });
  return best;
}

/** Whether two lists show the same labels; author and source do not count. */
export function areSame(left, right) {
  const essence = (list) =>
    JSON.stringify(list.map(({ id, category_id, ops }) => [id, category_id, ops.map(essenceOfOp)]));
  return essence(left) === essence(right);
}

function essenceOfOp({ kind, points, radius, size, counts, subtract }) {
  return [kind, points ?? size, radius ?? counts ?? null, Boolean(subtract)];
}

/** crypto.randomUUID exists only on https and localhost; a team's plain http address lacks it. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
