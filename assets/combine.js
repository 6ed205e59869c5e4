/**
 * Objects are joined, cut by a line, or made to give way to another one; images in `{width, height}`.
 *
 * An object is its ops replayed in order, so what one object subtracts must not cut what another adds.
 * Where an order of all ops gives the same pixels they stay as they were drawn, corners and all; only
 * where none does an object becomes a mask.
 */

import { withOp } from "./annotations.js";
import { addedBox, areaOf, haveCommonPixels, maskOf, pixelBox, rleOp } from "./raster.js";
import { meetBoxes } from "./geometry.js";

/** The server's brush may be this much wider than ours; in image pixels. */
const BRUSH_SLACK = 1;

/**
 * The ops of all pixels that any of some annotations covers; exact, but for the edges of brush strokes
 * in objects that each have holes where the other one lies.
 */
export function mergedOps(annotations, size) {
  const parts = annotations.map(({ ops }) => ops);
  for (;;) {
    const ordered = inOrder(parts, size);
    if (ordered) return ordered;
    const at = parts.indexOf(simplest(parts.filter((ops) => ops.some((op) => op.subtract))));
    parts[at] = asMask(parts[at], size);
  }
}

/** Ops of a mask that adds nothing to itself: what is flattened first costs the fewest corners. */
function simplest(lists) {
  const cost = (ops) =>
    ops.reduce((sum, op) => sum + (op.kind === "brush" ? 1e6 : 0) + (op.points?.length ?? 0), 0);
  return lists.reduce((best, ops) => (cost(ops) < cost(best) ? ops : best));
}

function asMask(ops, size) {
  return [rleOp(maskOf(ops, size), size)];
}

/**
 * All ops in an order in which each object stays what it is, or null when there is none.
 *
 * Two ops must keep their order only where one adds and the other subtracts the same pixels: inside an
 * object as drawn, between objects what subtracts comes first.
 */
function inOrder(parts, size) {
  const ops = parts.flatMap((list, owner) => list.map((op, at) => ({ op, owner, at })));
  const [adding, cutting] = [ops.filter(({ op }) => !op.subtract), ops.filter(({ op }) => op.subtract)];
  const before = new Map(ops.map((node) => [node, []]));
  for (const cut of cutting) {
    for (const add of adding) {
      if (!mayMeet(cut.op, add.op, size)) continue;
      const isAddFirst = add.owner === cut.owner && add.at < cut.at;
      if (isAddFirst) before.get(cut).push(add);
      else before.get(add).push(cut);
    }
  }
  return sorted(ops, before)?.map(({ op }) => op) ?? null;
}

/** As they came, each after all that have to come before it; null for a circle. */
function sorted(nodes, before) {
  const [result, states] = [[], new Map()];
  const visit = (node) => {
    if (states.has(node)) return states.get(node);
    states.set(node, false); // under way: met again, it is a circle
    if (!before.get(node).every(visit)) return false;
    result.push(node);
    states.set(node, true);
    return true;
  };
  return nodes.every(visit) ? result : null;
}

function mayMeet(cut, add, size) {
  const [a, b] = [pixelBox(cut, size), pixelBox(add, size)];
  if (!a || !b || !meetBoxes(a, b)) return false;
  const wide = (op) => ({ ...op, subtract: false, ...(op.kind === "brush" && { radius: op.radius + BRUSH_SLACK }) });
  return haveCommonPixels([wide(cut)], [wide(add)], size);
}

/** What an object's ops are when they are to be taken out of others. */
function asCut(ops, size) {
  const isPlain = ops.every((op) => !op.subtract);
  return (isPlain ? ops : asMask(ops, size)).map((op) => ({ ...op, subtract: true }));
}

/**
 * Take what `ops` cover out of the annotations that `mayCut` allows.
 * @returns `{annotations, gone}`: all of them, less those of which nothing was left, and how many went.
 */
export function cutUnder(annotations, ops, size, mayCut) {
  const box = addedBox(ops, size);
  if (!box) return { annotations, gone: 0 };
  const cuts = asCut(ops, size);
  const changed = annotations.flatMap((annotation) => {
    const other = mayCut(annotation) ? addedBox(annotation.ops, size) : null;
    if (!other || !meetBoxes(box, other) || !haveCommonPixels(annotation.ops, ops, size)) return [annotation];
    const rest = cuts.reduce(withOp, annotation);
    return areaOf(maskOf(rest.ops, size)) > 0 ? [rest] : [];
  });
  return { annotations: changed, gone: annotations.length - changed.length };
}

/** Ops without those that no pixel is left of: each one's pixels all lie where `isGone` says so. */
export function withoutGone(ops, size, isGone) {
  return ops.filter((op) => {
    const wide = op.kind === "brush" ? { ...op, radius: op.radius + BRUSH_SLACK } : op;
    const mask = maskOf([{ ...wide, subtract: false }], size);
    return mask.data.some((pixel, at) => {
      if (pixel === 0) return false;
      return !isGone(mask.x + Math.floor(at / mask.height), mask.y + (at % mask.height));
    });
  });
}
