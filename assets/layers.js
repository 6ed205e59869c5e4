/**
 * Draw annotations: ops are replayed (add = source-over, subtract = destination-out) into a scratch
 * canvas at screen resolution, so polygons stay crisp at any zoom. What would be slow to replay (many
 * strokes, imported masks) is kept as a bitmap of its bounding box, one per annotation.
 */

import { boxOf, opBox } from "./annotations.js";
import { forEachColumnRun, joinBoxes, meetBoxes, rleMask, withAlpha } from "./geometry.js";
import { looksSuggested, paintSuggestion } from "./suggestion_look.js";

/** Replaying up to this many points per frame is cheaper than keeping a bitmap. */
const REPLAY_POINTS = 400;
/** A bitmap larger than this is kept at a lower resolution; in pixels. */
const BITMAP_PIXELS = 4_000_000;
/** More than this are shifted and stretched while the view moves: browsers draw after our clock has stopped. */
const MANY_OBJECTS = 300;
const MANY_SILHOUETTES = 8;
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

/** Such an object is filled and stroked as it is; all others need a silhouette. */
function isOnePolygon(ops) {
  return ops.length === 1 && ops[0].kind === "polygon";
}

/**
 * Paints annotations onto a canvas with the stage's view. Its scratch canvases are little larger than
 * what is painted: browsers copy the whole of a canvas that is drawn onto another one.
 */
export class Painter {
  #scratch = new Map();
  #size = [1, 1];

  constructor() {
    this.bitmaps = new BitmapCache();
  }

  resize(width, height) {
    this.#size = [width, height];
    this.#scratch.clear();
  }

  /** Two clear canvases of at least this size, `[silhouette, edge]`: always the same ones per power of two. */
  #scratchOf(width, height) {
    const [across, down] = [width, height].map((side) => 2 ** Math.ceil(Math.log2(Math.max(16, side))));
    const key = `${across} ${down}`;
    if (!this.#scratch.has(key)) this.#scratch.set(key, [makeCanvas(across, down), makeCanvas(across, down)]);
    const pair = this.#scratch.get(key);
    for (const canvas of pair) {
      const context = canvas.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, across, down);
    }
    return pair;
  }

  /** Whether painting these takes a good part of a frame, as far as their kind tells. */
  isSlow(annotations) {
    if (annotations.length > MANY_OBJECTS) return true;
    let silhouettes = 0;
    for (const { ops } of annotations) silhouettes += isOnePolygon(ops) ? 0 : 1;
    return silhouettes > MANY_SILHOUETTES;
  }

  /**
   * @param {CanvasRenderingContext2D} target in device pixels, identity transform
   * @param {object} annotation
   * @param {{view, ratio, color, opacity, isSelected, offset?, extraOp?, isCached?}} how
   */
  paint(target, annotation, how) {
    const region = this.#region(annotation, how);
    if (!region) return;
    if (looksSuggested(annotation) && !how.extraOp) {
      this.#paintSuggestion(target, annotation, how);
    } else if (isOnePolygon(annotation.ops) && !how.extraOp) {
      this.#paintPolygon(target, annotation.ops[0], how);
    } else {
      this.#paintSilhouette(target, annotation, how, region);
    }
  }

  #paintSuggestion(target, annotation, how) {
    target.save();
    setView(target, how);
    paintSuggestion(target, annotation, how, polygonPath);
    target.restore();
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
    const [silhouette, edge] = this.#scratchOf(width, height);
    const context = silhouette.getContext("2d");
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    setView(context, how, [x, y]);
    this.#fillSilhouette(context, annotation, how);
    context.restore();
    const layers = { silhouette, edge, region: [x, y, width, height] };
    if (how.isSelected) paintEdge(target, 3 * how.ratio, "#ffffff", layers);
    target.save();
    target.globalAlpha = how.opacity;
    target.drawImage(silhouette, 0, 0, width, height, x, y, width, height);
    target.restore();
    paintEdge(target, 1.5 * how.ratio, how.color, layers);
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
      [0, 0, ...this.#size],
    );
  }
}

/** Map image pixels to device pixels from `origin` on; an offset moves the object without changing it. */
function setView(context, { view, ratio, offset = [0, 0] }, origin = [0, 0]) {
  const scale = view.scale * ratio;
  const [x, y] = [0, 1].map((axis) => (axis ? view.y : view.x) * ratio + offset[axis] * scale - origin[axis]);
  context.setTransform(scale, 0, 0, scale, x, y);
}

/** A rim around the silhouette: itself, shifted eight ways, with the inside taken out again. */
function paintEdge(target, reach, color, { silhouette, edge, region: [x, y, width, height] }) {
  const context = edge.getContext("2d");
  context.save();
  context.beginPath();
  context.rect(0, 0, width, height);
  context.clip();
  context.clearRect(0, 0, width, height);
  for (const [dx, dy] of OUTLINE_STEPS) {
    context.drawImage(silhouette, 0, 0, width, height, dx * reach, dy * reach, width, height);
  }
  context.globalCompositeOperation = "source-in";
  context.fillStyle = color;
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(silhouette, 0, 0, width, height, 0, 0, width, height);
  context.restore();
  target.drawImage(edge, 0, 0, width, height, x, y, width, height);
}
