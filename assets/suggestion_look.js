/** How a suggestion looks: a dashed outline and a lighter fill, so that nobody takes it for a label. */

import { withAlpha } from "./geometry.js";

const FILL = 0.4; // of what a label's fill would be
const DASH = [7, 5]; // CSS pixels

const paths = new WeakMap();

/** Whether an annotation is drawn as a suggestion; those of a model are polygons, parts and holes. */
export function looksSuggested({ source, ops }) {
  return source === "suggested" && ops.every(({ kind }) => kind === "polygon");
}

/**
 * Paint a suggestion.
 *
 * @param {CanvasRenderingContext2D} target in device pixels; the caller has mapped image pixels to them
 * @param {object} annotation of polygons, each within the one before it or beside it
 * @param {{view, ratio, color, opacity, isSelected}} how
 * @param {(op: object) => Path2D} pathOf
 */
export function paintSuggestion(target, annotation, how, pathOf) {
  const pixel = 1 / how.view.scale; // a CSS pixel in image pixels
  const path = joined(annotation, pathOf);
  target.fillStyle = withAlpha(how.color, how.opacity * FILL);
  target.fill(path, "evenodd");
  target.lineJoin = "round";
  target.strokeStyle = how.isSelected ? "#ffffff" : "rgba(255,255,255,.55)";
  target.lineWidth = (how.isSelected ? 4 : 2.5) * pixel;
  target.stroke(path);
  target.setLineDash(DASH.map((length) => length * pixel));
  target.strokeStyle = how.color;
  target.lineWidth = (how.isSelected ? 2.5 : 2) * pixel;
  target.stroke(path);
}

/** One path of all outlines: with the even-odd rule its holes stay open. */
function joined(annotation, pathOf) {
  let path = paths.get(annotation);
  if (!path) {
    path = new Path2D();
    for (const op of annotation.ops) path.addPath(pathOf(op));
    paths.set(annotation, path);
  }
  return path;
}
