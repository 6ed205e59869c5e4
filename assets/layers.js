/**
 * Draw annotations: ops are replayed (add = source-over, subtract = destination-out) into a scratch
 * canvas at screen resolution, so polygons stay crisp at any zoom. What would be slow to replay (many
 * strokes, imported masks) is kept as a bitmap of its bounding box, one per annotation.
 */

import { boxOf, opBox } from "./annotations.js";
import { forEachColumnRun, joinBoxes, meetBoxes, rleMask, withAlpha } from "./geometry.js";

/** Replaying up to this many points per frame is cheaper than keeping a bitmap. */
const REPLAY_POINTS = 400;
/** A bitmap larger than this is kept at a lower resolution; in pixels. */
const BITMAP_PIXELS = 4_000_000;
const OUTLINE_STEPS = [[1, 0], [0.7, 0.7], [0, 1], [-0.7, 0.7], [-1, 0], [-0.7, -0.7], [0, -1], [0.7, -0.7]];

const paths = new WeakMap();
const masks = new WeakMap();

/** The path of a polygon op, kept as long as the op lives. */
function polygonPath(op) {
  let path = paths.get(op);
  if (!path) {
    path = new Path2D();
    op.points.forEach(([x, y], i) => (i === 0 ? path.moveTo(x, y) : path.lineTo(x, y)));
    path.closePath();
    paths.set(op, path);
  }
  return path;
}

/** Paint one op with the context's fillStyle and strokeStyle; the transform maps image pixels. */
export function paintOp(context, op) {
  if (op.kind === "polygon") {
    context.fill(polygonPath(op), "evenodd");
  } else if (op.kind === "brush") {
    paintStroke(context, op);
  } else {
    const mask = tintedMask(op, context.fillStyle);
    if (mask) context.drawImage(mask.canvas, mask.x, mask.y);
  }
}

function paintStroke(context, { points, radius }) {
  if (points.length === 1) {
    context.beginPath();
    context.arc(points[0][0], points[0][1], radius, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.lineWidth = 2 * radius;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  context.stroke();
}

function tintedMask(op, color) {
  let mask = masks.get(op);
  if (mask?.color === color) return mask;
  const runs = rleMask(op);
  if (!runs.box) return null;
  const [x, y, right, bottom] = runs.box;
  const canvas = makeCanvas(right - x, bottom - y);
  const context = canvas.getContext("2d");
  context.fillStyle = color;
  forEachColumnRun(runs, (column, start, end) => context.fillRect(column - x, start - y, 1, end - start));
  mask = { canvas, x, y, color };
  masks.set(op, mask);
  return mask;
}

/** Replay ops over each other with one colour. */
export function replay(context, ops, color) {
  context.fillStyle = context.strokeStyle = color;
  for (const op of ops) {
    context.globalCompositeOperation = op.subtract ? "destination-out" : "source-over";
    paintOp(context, op);
  }
  context.globalCompositeOperation = "source-over";
}

export function makeCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.ceil(width));
  canvas.height = Math.max(1, Math.ceil(height));
  return canvas;
}

/** Bitmaps of annotations that are slow to replay; only the present state of each is kept. */
export class BitmapCache {
  #entries = new Map();

  /** The bitmap `{canvas, x, y, scale}` of an annotation, or null when replaying is fast enough. */
  get(annotation, color) {
    if (!isSlow(annotation)) return null;
    const entry = this.#entries.get(annotation.id);
    if (entry?.annotation === annotation && entry.color === color) return entry;
    const made = this.#extended(entry, annotation, color) ?? buildBitmap(annotation, color);
    this.#entries.set(annotation.id, made);
    return made;
  }

  /** Forget what is no longer among the annotations. */
  keepOnly(annotations) {
    const alive = new Set(annotations.map(({ id }) => id));
    for (const id of this.#entries.keys()) if (!alive.has(id)) this.#entries.delete(id);
  }

  /** One stroke more: copy the bitmap and paint only the last op. */
  #extended(entry, annotation, color) {
    const count = annotation.ops.length - 1;
    if (!entry || entry.color !== color || entry.annotation.ops.length !== count) return null;
    if (entry.annotation.ops.some((op, i) => op !== annotation.ops[i])) return null;
    const made = emptyBitmap(annotation, color);
    if (made.scale !== entry.scale) return null;
    const context = made.canvas.getContext("2d");
    context.setTransform(made.scale, 0, 0, made.scale, -made.x * made.scale, -made.y * made.scale);
    const size = [entry.canvas.width / entry.scale, entry.canvas.height / entry.scale];
    context.drawImage(entry.canvas, entry.x, entry.y, ...size);
    replay(context, annotation.ops.slice(-1), color);
    return made;
  }
}

function isSlow({ ops }) {
  if (ops.every((op) => op.kind === "polygon")) return false;
  return ops.reduce((sum, op) => sum + (op.points?.length ?? Infinity), 0) > REPLAY_POINTS;
}

function emptyBitmap(annotation, color) {
  const box = boxOf(annotation);
  const [x, y] = [Math.floor(box[0]), Math.floor(box[1])];
  const [width, height] = [Math.ceil(box[2]) - x, Math.ceil(box[3]) - y];
  const scale = Math.min(1, Math.sqrt(BITMAP_PIXELS / Math.max(1, width * height)));
  return { annotation, color, canvas: makeCanvas(width * scale, height * scale), x, y, scale };
}

function buildBitmap(annotation, color) {
  const made = emptyBitmap(annotation, color);
  const context = made.canvas.getContext("2d");
  context.setTransform(made.scale, 0, 0, made.scale, -made.x * made.scale, -made.y * made.scale);
  replay(context, annotation.ops, color);
  return made;
}

/** The number of image pixels an annotation covers, counted on at most a megapixel. */
export function countPixels(annotation, { width, height }) {
  const box = meetBoxes(boxOf(annotation), [0, 0, width, height]);
  if (!box) return 0;
  const size = [Math.ceil(box[2] - box[0]), Math.ceil(box[3] - box[1])];
  const scale = Math.min(1, Math.sqrt(1_000_000 / (size[0] * size[1])));
  const canvas = makeCanvas(size[0] * scale, size[1] * scale);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.setTransform(scale, 0, 0, scale, -box[0] * scale, -box[1] * scale);
  replay(context, annotation.ops, "#000000");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 3; i < data.length; i += 4) sum += data[i];
  return sum / 255 / (scale * scale);
}

/** Paints annotations onto a canvas with the stage's view; owns two scratch canvases. */
export class Painter {
  #silhouette = makeCanvas(1, 1);
  #edge = makeCanvas(1, 1);

  constructor() {
    this.bitmaps = new BitmapCache();
  }

  resize(width, height) {
    for (const canvas of [this.#silhouette, this.#edge]) Object.assign(canvas, { width, height });
  }

  /**
   * @param {CanvasRenderingContext2D} target in device pixels, identity transform
   * @param {object} annotation
   * @param {{view, ratio, color, opacity, isSelected, offset?, extraOp?, isCached?}} how
   */
  paint(target, annotation, how) {
    const region = this.#region(annotation, how);
    if (!region) return;
    if (annotation.ops.length === 1 && annotation.ops[0].kind === "polygon" && !how.extraOp) {
      this.#paintPolygon(target, annotation.ops[0], how);
    } else {
      this.#paintSilhouette(target, annotation, how, region);
    }
  }

  #paintPolygon(target, op, how) {
    const scale = how.view.scale * how.ratio;
    const path = polygonPath(op);
    target.save();
    setView(target, how);
    target.fillStyle = withAlpha(how.color, how.opacity);
    target.fill(path, "evenodd");
    target.lineJoin = "round";
    if (how.isSelected) {
      target.strokeStyle = "#ffffff";
      target.lineWidth = (4 * how.ratio) / scale;
      target.stroke(path);
    }
    target.strokeStyle = how.color;
    target.lineWidth = ((how.isSelected ? 2 : 1.5) * how.ratio) / scale;
    target.stroke(path);
    target.restore();
  }

  #paintSilhouette(target, annotation, how, [x, y, right, bottom]) {
    const [width, height] = [right - x, bottom - y];
    const context = this.#silhouette.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    // A little more than the region: shifted copies would blend in what an earlier object left beside it.
    context.clearRect(x - 2, y - 2, width + 4, height + 4);
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    setView(context, how);
    this.#fillSilhouette(context, annotation, how);
    context.restore();
    if (how.isSelected) this.#paintEdge(target, 3, "#ffffff", how, [x, y, width, height]);
    target.save();
    target.globalAlpha = how.opacity;
    target.drawImage(this.#silhouette, x, y, width, height, x, y, width, height);
    target.restore();
    this.#paintEdge(target, 1.5, how.color, how, [x, y, width, height]);
  }

  #fillSilhouette(context, annotation, how) {
    const bitmap = how.isCached === false ? null : this.bitmaps.get(annotation, how.color);
    if (bitmap) {
      context.imageSmoothingEnabled = how.view.scale < 3;
      const size = [bitmap.canvas.width / bitmap.scale, bitmap.canvas.height / bitmap.scale];
      context.drawImage(bitmap.canvas, bitmap.x, bitmap.y, ...size);
    } else {
      replay(context, annotation.ops, how.color);
    }
    if (how.extraOp) replay(context, [how.extraOp], how.color);
  }

  /** A rim around the silhouette: itself, shifted eight ways, with the inside taken out again. */
  #paintEdge(target, thickness, color, how, [x, y, width, height]) {
    const context = this.#edge.getContext("2d");
    const reach = thickness * how.ratio;
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.clearRect(x, y, width, height);
    for (const [dx, dy] of OUTLINE_STEPS) {
      const [toX, toY] = [x + dx * reach, y + dy * reach];
      context.drawImage(this.#silhouette, x, y, width, height, toX, toY, width, height);
    }
    context.globalCompositeOperation = "source-in";
    context.fillStyle = color;
    context.fillRect(x, y, width, height);
    context.globalCompositeOperation = "destination-out";
    context.drawImage(this.#silhouette, x, y, width, height, x, y, width, height);
    context.restore();
    target.drawImage(this.#edge, x, y, width, height, x, y, width, height);
  }

  /** The device pixels that the annotation touches, or null when it is out of sight. */
  #region(annotation, { view, ratio, offset = [0, 0], extraOp }) {
    const box = extraOp ? joinBoxes(boxOf(annotation), opBox(extraOp)) : boxOf(annotation);
    const [scale, rim] = [view.scale * ratio, 4 * ratio];
    const at = (value, shift, origin) => (value + shift) * scale + origin * ratio;
    return meetBoxes(
      [
        Math.floor(at(box[0], offset[0], view.x) - rim),
        Math.floor(at(box[1], offset[1], view.y) - rim),
        Math.ceil(at(box[2], offset[0], view.x) + rim),
        Math.ceil(at(box[3], offset[1], view.y) + rim),
      ],
      [0, 0, this.#silhouette.width, this.#silhouette.height],
    );
  }
}

/** Map image pixels to device pixels; an offset moves the object without changing it. */
function setView(context, { view, ratio, offset = [0, 0] }) {
  const scale = view.scale * ratio;
  const [x, y] = [view.x * ratio + offset[0] * scale, view.y * ratio + offset[1] * scale];
  context.setTransform(scale, 0, 0, scale, x, y);
}
