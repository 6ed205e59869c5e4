/**
 * Ops become masks as on the server (core/imaging/masks.py), masks become run-length codes.
 *
 * A mask is `{x, y, width, height, data}`: a box of the image in whole pixels and its bytes in
 * column-major order, 1 where it is covered. Polygons and imported masks are exact to the pixel; the edge
 * of a brush stroke may lie half a pixel away from the server's.
 */

import { boxOfPoints, forEachColumnRun, joinBoxes, meetBoxes, rleMask } from "./geometry.js";

/** pycocotools walks outlines on a grid five times as fine. */
const FINE = 5;
/** Where in a column of five the outline has to pass to count: its middle. */
const MIDDLE = 2;

export function emptyMask([x0, y0, x1, y1]) {
  const [width, height] = [Math.max(0, x1 - x0), Math.max(0, y1 - y0)];
  return { x: x0, y: y0, width, height, data: new Uint8Array(width * height) };
}

/** The box of an op in whole pixels, as large as its mask can be; null for an empty one. */
export function pixelBox(op, size) {
  const box = op.kind === "rle" ? rleMask(op).box : boxOfPoints(op.points, op.kind === "brush" ? op.radius : 0);
  if (!box) return null;
  const whole = [Math.floor(box[0]) - 1, Math.floor(box[1]) - 1, Math.ceil(box[2]) + 1, Math.ceil(box[3]) + 1];
  return meetBoxes(whole, [0, 0, size.width, size.height]);
}

/** The box in whole pixels of everything that ops add; null when that lies outside the image. */
export function addedBox(ops, size) {
  const boxes = ops.filter((op) => !op.subtract).map((op) => pixelBox(op, size)).filter((box) => box !== null);
  return boxes.length > 0 ? boxes.reduce(joinBoxes) : null;
}

/** Replay ops in order inside a box of whole pixels, by default the one of what they add. */
export function maskOf(ops, size, box = addedBox(ops, size)) {
  const mask = emptyMask(box ?? [0, 0, 0, 0]);
  if (mask.data.length > 0) for (const op of ops) paint(mask, op, op.subtract ? 0 : 1);
  return mask;
}

export function areaOf(mask) {
  let area = 0;
  for (const pixel of mask.data) area += pixel;
  return area;
}

/** Whether two lists of ops cover a pixel in common. */
export function haveCommonPixels(ops, others, size) {
  const [box, other] = [addedBox(ops, size), addedBox(others, size)];
  const common = box && other && meetBoxes(box, other);
  if (!common) return false;
  const [left, right] = [maskOf(ops, size, common).data, maskOf(others, size, common).data];
  return left.some((pixel, at) => pixel === 1 && right[at] === 1);
}

function paint(mask, op, value) {
  const fill = (column, top, bottom) => fillColumn(mask, column, top, bottom, value);
  if (op.kind === "polygon") forEachPolygonRun(op.points, mask, fill);
  else if (op.kind === "rle") forEachColumnRun(rleMask(op), fill);
  else forEachBrushRun(op, fill);
}

function fillColumn({ x, y, width, height, data }, column, top, bottom, value) {
  if (column < x || column >= x + width) return;
  const start = (column - x) * height;
  const [from, to] = [Math.max(0, top - y), Math.min(height, bottom - y)];
  if (from < to) data.fill(value, start + from, start + to);
}

/**
 * Call `fill(column, top, bottom)` for each vertical piece of a polygon, bottom excluded; even-odd rule.
 * The outline's corners are rounded to fifths of a pixel; a column begins or ends a piece where a
 * stepwise walk along the outline crosses the column's middle.
 * Source: https://github.com/cocodataset/cocoapi (common/maskApi.c, rleFrPoly).
 */
export function forEachPolygonRun(points, { x, width }, fill) {
  const crossings = new Map();
  const fine = points.map(([px, py]) => [Math.trunc(FINE * px + 0.5), Math.trunc(FINE * py + 0.5)]);
  fine.forEach((corner, i) => crossColumns(corner, fine[(i + 1) % fine.length], (column, row) => {
    if (column < x || column >= x + width) return;
    const rows = crossings.get(column);
    if (rows) rows.push(row);
    else crossings.set(column, [row]);
  }));
  for (const [column, rows] of crossings) {
    rows.sort((a, b) => a - b);
    for (let i = 0; i + 1 < rows.length; i += 2) fill(column, rows[i], rows[i + 1]);
  }
}

/** Walk one edge on the fine grid; `cross(column, row)` where it passes a column's middle. */
function crossColumns(from, to, cross) {
  const isFlat = Math.abs(to[0] - from[0]) >= Math.abs(to[1] - from[1]);
  const along = isFlat ? 0 : 1;
  const [start, end] = from[along] <= to[along] ? [from, to] : [to, from];
  const length = end[along] - start[along];
  if (length === 0) return;
  const slope = (end[1 - along] - start[1 - along]) / length;
  const at = (step) => {
    const [main, side] = [start[along] + step, Math.trunc(start[1 - along] + slope * step + 0.5)];
    return isFlat ? [main, side] : [side, main];
  };
  let before = at(0);
  for (let step = 1; step <= length; step += 1) {
    const now = at(step);
    const left = Math.min(now[0], before[0]);
    if (now[0] !== before[0] && (((left % FINE) + FINE) % FINE) === MIDDLE) {
      const row = Math.ceil((Math.min(now[1], before[1]) + 0.5) / FINE - 0.5);
      cross(Math.floor(left / FINE), Math.max(0, row));
    }
    before = now;
  }
}

/** The same for a brush stroke: pixels whose centre lies within the radius of the line. */
function forEachBrushRun({ points, radius }, fill) {
  const line = points.length === 1 ? [points[0], points[0]] : points;
  for (let i = 1; i < line.length; i += 1) {
    const [a, b] = [line[i - 1], line[i]];
    const first = Math.ceil(Math.min(a[0], b[0]) - radius - 0.5);
    const last = Math.floor(Math.max(a[0], b[0]) + radius - 0.5);
    for (let column = first; column <= last; column += 1) {
      const span = capsuleSpan(a, b, radius, column + 0.5);
      if (span) fill(column, Math.ceil(span[0] - 0.5), Math.floor(span[1] - 0.5) + 1);
    }
  }
}

/** Where the vertical line at `x` runs inside what lies within `radius` of a segment, or null. */
function capsuleSpan(a, b, radius, x) {
  let [low, high] = [Infinity, -Infinity];
  const take = (y) => {
    low = Math.min(low, y);
    high = Math.max(high, y);
  };
  for (const [cx, cy] of [a, b]) {
    const half = radius * radius - (x - cx) * (x - cx);
    if (half < 0) continue;
    take(cy - Math.sqrt(half));
    take(cy + Math.sqrt(half));
  }
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy);
  // The two straight sides: shifted by the radius along the segment's normal.
  for (const side of length > 0 ? [radius / length, -radius / length] : []) {
    const [fromX, fromY] = [a[0] - dy * side, a[1] + dx * side];
    const t = dx === 0 ? NaN : (x - fromX) / dx;
    if (t >= 0 && t <= 1) take(fromY + t * dy);
  }
  return low <= high ? [low, high] : null;
}

/** A mask as an rle op of its whole image: COCO's compressed counts. */
export function rleOp(mask, { width, height }, subtract = false) {
  const counts = [];
  let [value, end, start] = [0, 0, 0];
  const change = (position) => {
    counts.push(position - start);
    [start, value] = [position, 1 - value];
  };
  for (let column = 0; column < mask.width; column += 1) {
    const head = (mask.x + column) * height + mask.y;
    if (value === 1 && head !== end) change(end);
    for (let row = 0; row < mask.height; row += 1) {
      if (mask.data[column * mask.height + row] !== value) change(head + row);
    }
    end = head + mask.height;
  }
  if (value === 1) change(end);
  if (start < width * height) counts.push(width * height - start);
  return { kind: "rle", size: [height, width], counts: encodeCounts(counts), subtract };
}

/**
 * Compress run lengths, background first, to COCO's text; `decodeCounts` of geometry.js undoes it.
 * Source: https://github.com/cocodataset/cocoapi (common/maskApi.c, rleToString).
 */
export function encodeCounts(counts) {
  let text = "";
  counts.forEach((count, i) => {
    let value = i > 2 ? count - counts[i - 2] : count;
    for (let isOpen = true; isOpen; ) {
      const low = value & 0x1f;
      value >>= 5;
      isOpen = !((value === 0 && !(low & 0x10)) || (value === -1 && low & 0x10));
      text += String.fromCharCode((isOpen ? low | 0x20 : low) + 48);
    }
  });
  return text;
}

/** An rle op moved by whole pixels; what leaves the image is cut off. Null when nothing is left. */
export function movedRle(op, dx, dy) {
  const [height, width] = op.size;
  const source = rleMask(op);
  if (!source.box) return null;
  const [x0, y0, x1, y1] = source.box;
  const box = meetBoxes([x0 + dx, y0 + dy, x1 + dx, y1 + dy], [0, 0, width, height]);
  if (!box) return null;
  const mask = emptyMask(box);
  forEachColumnRun(source, (column, top, bottom) => fillColumn(mask, column + dx, top + dy, bottom + dy, 1));
  return rleOp(mask, { width, height }, op.subtract);
}
