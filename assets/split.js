/**
 * An object cut by a line: the pieces of its mask become objects of their own.
 *
 * Parts that the line leaves whole stay with the largest piece. A line that runs between the parts of an
 * object sorts them by the side of it they lie on.
 */

import { withoutGone } from "./combine.js";
import { boxOfPoints, joinBoxes, rounded } from "./geometry.js";
import { addedBox, emptyMask, forEachPolygonRun, maskOf, rleOp } from "./raster.js";

/** Smaller pieces beside the line are crumbs of its own width. */
const CRUMB_PX = 9;
const MARGIN_PX = 4;
const [NOTHING, UNLABELLED, LINE] = [0, -1, -2];

/**
 * The ops of each piece, the largest first; `[]` when the line does not part the object.
 * Together they cover what the object covered, and no pixel twice.
 */
export function splitOps(ops, line, size) {
  const mask = maskOf(ops, size);
  const labels = new Int32Array(mask.data).map((pixel) => (pixel ? UNLABELLED : NOTHING)); // `from` is ten times slower
  markLine(labels, mask, line);
  const map = { ...mask, labels, data: null };
  const pieces = findPieces(map);
  const groups = partsOf(pieces, map, line);
  if (groups.length < 2) return [];
  const partOf = new Int32Array(pieces.length + 1);
  groups.forEach((group, part) => group.forEach((piece) => (partOf[piece.label] = part + 1)));
  const parts = labels.map((label) => (label > 0 ? partOf[label] : 0));
  return (groups.length === 2 && byHalves(ops, line, { ...map, parts }, size)) || byMasks(ops, { ...map, parts }, size);
}

/** Every pixel the line touches, so that no piece reaches over it even diagonally. */
function markLine(labels, { x, y, width, height }, line) {
  const mark = (px, py) => {
    const [column, row] = [Math.floor(px) - x, Math.floor(py) - y];
    if (column < 0 || row < 0 || column >= width || row >= height) return;
    const at = column * height + row;
    if (labels[at] !== NOTHING) labels[at] = LINE;
  };
  for (let i = 1; i < line.length; i += 1) {
    const [[ax, ay], [bx, by]] = [line[i - 1], line[i]];
    const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(bx - ax), Math.abs(by - ay))));
    let [lastX, lastY] = [Math.floor(ax), Math.floor(ay)];
    for (let step = 0; step <= steps; step += 1) {
      const [px, py] = [ax + ((bx - ax) * step) / steps, ay + ((by - ay) * step) / steps];
      if (Math.floor(px) !== lastX && Math.floor(py) !== lastY) mark(px, lastY); // no diagonal gap
      mark(px, py);
      [lastX, lastY] = [Math.floor(px), Math.floor(py)];
    }
  }
}

/** Label what hangs together, corners included: `[{label, area, x, y, lines}]`. */
function findPieces(map) {
  const { labels } = map;
  const pieces = [];
  for (let at = 0; at < labels.length; at += 1) {
    if (labels[at] !== UNLABELLED) continue;
    pieces.push(flood(map, at, pieces.length + 1));
  }
  return pieces;
}

function flood({ labels, height }, start, label) {
  const piece = { label, area: 0, x: 0, y: 0, lines: [] };
  const stack = [start];
  const visit = (next) => {
    if (labels[next] === LINE) piece.lines.push(next);
    if (labels[next] !== UNLABELLED) return;
    labels[next] = label;
    stack.push(next);
  };
  labels[start] = label;
  while (stack.length > 0) {
    const at = stack.pop();
    piece.area += 1;
    piece.x += Math.floor(at / height);
    piece.y += at % height;
    forEachNeighbour(labels, height, at, visit);
  }
  return piece;
}

function forEachNeighbour(labels, height, at, each) {
  const row = at % height;
  const [isLow, isHigh] = [row > 0, row < height - 1];
  for (let middle = at - height; middle <= at + height; middle += height) {
    if (middle < 0 || middle >= labels.length) continue;
    if (isLow) each(middle - 1);
    if (middle !== at) each(middle);
    if (isHigh) each(middle + 1);
  }
}

/** Which pieces make which part, the largest part first; one part when the line parted nothing. */
function partsOf(pieces, map, line) {
  const wholes = joinedOverLine(pieces, map).map((whole) => {
    const large = whole.filter(({ area }) => area >= CRUMB_PX);
    return large.length > 1 ? large : whole;
  });
  const isCut = wholes.some((whole) => isParted(whole));
  const groups = isCut ? cutApart(wholes) : bySide(wholes, map, line);
  return groups.sort((a, b) => areaOfAll(b) - areaOfAll(a));
}

const areaOfAll = (group) => group.reduce((sum, { area }) => sum + area, 0);
const isParted = (whole) => whole.length > 1 && whole.every(({ area }) => area >= CRUMB_PX);

function cutApart(wholes) {
  const parts = wholes.filter(isParted).flat().map((piece) => [piece]);
  const largest = parts.reduce((best, part) => (areaOfAll(part) > areaOfAll(best) ? part : best));
  for (const whole of wholes) if (!isParted(whole)) largest.push(...whole);
  return parts;
}

function bySide(wholes, map, line) {
  const side = ([x, y]) => {
    const [a, b] = [line[0], line.at(-1)];
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > 0 ? 1 : 0;
  };
  const sides = [[], []];
  for (const whole of wholes) {
    const area = areaOfAll(whole);
    const sum = (axis) => whole.reduce((total, piece) => total + piece[axis], 0) / area;
    sides[side([map.x + sum("x"), map.y + sum("y")])].push(...whole);
  }
  return sides.filter((group) => group.length > 0);
}

/** The pieces that hung together before the line was drawn, each list one of them. */
function joinedOverLine(pieces, { labels, height }) {
  const parent = new Map();
  const root = (key) => {
    let at = key;
    while (parent.has(at)) at = parent.get(at);
    return at;
  };
  const join = (a, b) => {
    const [from, to] = [root(a), root(b)];
    if (from !== to) parent.set(from, to);
  };
  for (const piece of pieces) for (const at of piece.lines) join(`piece ${piece.label}`, `line ${at}`);
  labels.forEach((label, at) => {
    if (label !== LINE) return;
    forEachNeighbour(labels, height, at, (next) => labels[next] === LINE && join(`line ${at}`, `line ${next}`));
  });
  const wholes = Map.groupBy
    ? Map.groupBy(pieces, ({ label }) => root(`piece ${label}`))
    : pieces.reduce((map, piece) => {
        const key = root(`piece ${piece.label}`);
        return map.set(key, [...(map.get(key) ?? []), piece]);
      }, new Map());
  return [...wholes.values()];
}

/**
 * The two parts as the object less one side of the line each, which keeps its corners; null when the
 * line, made longer at both ends, does not lie between them.
 */
function byHalves(ops, line, map, size) {
  const halves = sidesOf(line, map);
  const inside = emptyMask([map.x, map.y, map.x + map.width, map.y + map.height]);
  forEachPolygonRun(halves[0], inside, (column, top, bottom) => {
    const start = (column - map.x) * map.height;
    const [from, to] = [Math.max(0, top - map.y), Math.min(map.height, bottom - map.y)];
    if (from < to) inside.data.fill(1, start + from, start + to);
  });
  const first = map.parts.findIndex((part) => part === 1);
  const sideOfFirst = inside.data[first];
  if (map.parts.some((part, at) => part > 0 && (inside.data[at] === sideOfFirst) !== (part === 1))) return null;
  const isIn = (x, y) => inside.data[(x - map.x) * map.height + (y - map.y)] === 1;
  return [1, 2].map((part) => {
    const isKept = (part === 1) === (sideOfFirst === 1) ? 1 : 0;
    const cut = { kind: "polygon", points: halves[isKept ? 1 : 0], subtract: true };
    return [...withoutGone(ops, size, (x, y) => contains(map, x, y) && isIn(x, y) !== (isKept === 1)), cut];
  });
}

function contains({ x, y, width, height }, px, py) {
  return px >= x && py >= y && px < x + width && py < y + height;
}

/** The two polygons into which a line, made longer at its ends, parts a box around it and the object. */
function sidesOf(line, { x, y, width, height }) {
  const [x0, y0, x1, y1] = joinBoxes([x, y, x + width, y + height], boxOfPoints(line));
  const [left, top] = [Math.floor(x0) - MARGIN_PX, Math.floor(y0) - MARGIN_PX];
  const box = [left, top, Math.ceil(x1) + MARGIN_PX, Math.ceil(y1) + MARGIN_PX];
  const start = towardsBorder(line[0], line[1], box);
  const end = towardsBorder(line.at(-1), line.at(-2), box);
  const through = rounded([start.point, ...line, end.point]);
  const back = (from, to, step) => {
    const corners = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]];
    const found = [];
    // Edge i runs from corner i to corner i + 1.
    for (let edge = from; edge !== to; edge = (edge + step + 4) % 4) {
      found.push(corners[step > 0 ? (edge + 1) % 4 : edge]);
    }
    return found;
  };
  if (start.edge === end.edge) return onOneEdge(through, start, end, back, box);
  return [[...through, ...back(end.edge, start.edge, 1)], [...through, ...back(end.edge, start.edge, -1)]];
}

/** A line that leaves where it came in: one side is what it encloses, the other all the rest. */
function onOneEdge(through, start, end, back, box) {
  const forward = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]];
  const around = forward.map((_, i) => forward[(start.edge + 1 + i) % 4]);
  const isEndAhead = end.along > start.along;
  return [through, [...through, ...(isEndAhead ? around : around.reverse())]];
}

/** Where the ray from `from` through `tip` meets the box: `{point, edge, along}`; edges go clockwise. */
function towardsBorder(tip, from, [x0, y0, x1, y1]) {
  const [dx, dy] = [tip[0] - from[0], tip[1] - from[1]];
  const [toX, toY] = [dx > 0 ? x1 : x0, dy > 0 ? y1 : y0];
  const [tx, ty] = [dx === 0 ? Infinity : (toX - tip[0]) / dx, dy === 0 ? Infinity : (toY - tip[1]) / dy];
  const isSide = tx < ty;
  const point = isSide ? [toX, tip[1] + tx * dy] : [tip[0] + ty * dx, toY];
  const edge = isSide ? (dx > 0 ? 1 : 3) : dy > 0 ? 2 : 0;
  const along = [point[0], point[1], -point[0], -point[1]][edge];
  return { point, edge, along };
}

/** Each part as the object less a mask of all that lies nearer to the others. */
function byMasks(ops, map, size) {
  const nearest = spread(map.parts, map.height);
  const count = nearest.reduce((most, part) => Math.max(most, part), 0);
  return Array.from({ length: count }, (_, i) => {
    const others = { ...map, data: new Uint8Array(nearest.map((part) => (part === i + 1 ? 0 : 1))) };
    const isGone = (x, y) => contains(map, x, y) && others.data[(x - map.x) * map.height + (y - map.y)] === 1;
    return [...withoutGone(ops, size, isGone), rleOp(others, size, true)];
  });
}

/** Give every pixel the part that is the fewest steps away. */
function spread(parts, height) {
  const filled = Int32Array.from(parts);
  let [edge, next, part] = [[], [], 0];
  const visit = (other) => {
    if (filled[other] > 0) return;
    filled[other] = part;
    next.push(other);
  };
  filled.forEach((known, at) => known > 0 && edge.push(at));
  while (edge.length > 0) {
    for (const at of edge) {
      part = filled[at];
      forEachNeighbour(filled, height, at, visit);
    }
    [edge, next] = [next, []];
  }
  return filled;
}
