/**
 * Shapes as plain values: points are `[x, y]` in image pixels, boxes `[x0, y0, x1, y1]`.
 * The ops of an annotation are those of core/domain/labels.py: polygon, brush and rle.
 */

const rleCache = new WeakMap();

/** One decimal is finer than anybody draws and keeps the saved JSON small. */
export function rounded(points) {
  return points.map(([x, y]) => [Math.round(x * 10) / 10, Math.round(y * 10) / 10]);
}

export function distance([ax, ay], [bx, by]) {
  return Math.hypot(bx - ax, by - ay);
}

/** The point of the segment a-b nearest to `point`. */
export function nearestOnSegment([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length));
  return [ax + t * dx, ay + t * dy];
}

/** Distance to an open line; one point counts as a line. */
export function distanceToLine(point, line) {
  let best = distance(point, line[0]);
  for (let i = 1; i < line.length; i++) {
    best = Math.min(best, distance(point, nearestOnSegment(point, line[i - 1], line[i])));
  }
  return best;
}

/** The edge of a closed polygon nearest to `point`: `{index, point, distance}`; it starts at `index`. */
export function nearestEdge(point, polygon) {
  let best = { index: -1, point: null, distance: Infinity };
  for (let i = 0; i < polygon.length; i++) {
    const candidate = nearestOnSegment(point, polygon[i], polygon[(i + 1) % polygon.length]);
    const gap = distance(point, candidate);
    if (gap < best.distance) best = { index: i, point: candidate, distance: gap };
  }
  return best;
}

/** Even-odd rule, the same as the fill on screen and as pycocotools. */
export function isInsidePolygon([x, y], polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/** Area without sign, in square pixels. */
export function polygonArea(polygon) {
  let twice = 0;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    twice += polygon[j][0] * polygon[i][1] - polygon[i][0] * polygon[j][1];
  }
  return Math.abs(twice) / 2;
}

/** A new polygon with `point` after the vertex `index`. */
export function withPoint(polygon, index, point) {
  return [...polygon.slice(0, index + 1), point, ...polygon.slice(index + 1)];
}

export function withoutPoint(polygon, index) {
  return polygon.filter((_, i) => i !== index);
}

/**
 * Leave out points that lie within `tolerance` of the line without them; the ends always stay.
 * Source: Douglas & Peucker 1973, written with a stack, so that long traces cannot overflow it.
 */
export function simplify(line, tolerance) {
  if (line.length < 3) return [...line];
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const spans = [[0, line.length - 1]];
  while (spans.length > 0) {
    const [first, last] = spans.pop();
    const [index, gap] = farthest(line, first, last);
    if (gap > tolerance) {
      keep[index] = 1;
      spans.push([first, index], [index, last]);
    }
  }
  return line.filter((_, i) => keep[i] === 1);
}

function farthest(line, first, last) {
  let [index, gap] = [-1, -1];
  for (let i = first + 1; i < last; i++) {
    const away = distance(line[i], nearestOnSegment(line[i], line[first], line[last]));
    if (away > gap) [index, gap] = [i, away];
  }
  return [index, gap];
}

export function clampPoint([x, y], { width, height }) {
  return [Math.max(0, Math.min(width, x)), Math.max(0, Math.min(height, y))];
}

/**
 * The part of a polygon inside the image; `[]` when none is. Where an outline leaves and comes back, the
 * parts stay joined along the image's border.
 * Source: Sutherland & Hodgman 1974.
 */
export function clipPolygon(points, { width, height }) {
  const borders = [[0, 1, 0], [0, -1, width], [1, 1, 0], [1, -1, height]];
  return borders.reduce((kept, [axis, sign, limit]) => clipAtBorder(kept, axis, sign, limit), points);
}

function clipAtBorder(points, axis, sign, limit) {
  const depth = (point) => sign * (point[axis] - limit);
  return points.flatMap((point, i) => {
    const before = points.at(i - 1);
    const [from, to] = [depth(before), depth(point)];
    const inside = to >= 0 ? [point] : [];
    if (from >= 0 === to >= 0) return inside;
    const share = from / (from - to);
    const crossing = [before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])];
    crossing[axis] = limit;
    return [crossing, ...inside];
  });
}

export function boxOfPoints(points, margin = 0) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  }
  return [x0 - margin, y0 - margin, x1 + margin, y1 + margin];
}

export function joinBoxes(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

/** The box between two opposite corners. */
export function boxBetween([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}

export function isBoxInside([x0, y0, x1, y1], [left, top, right, bottom]) {
  return x0 >= left && y0 >= top && x1 <= right && y1 <= bottom;
}

/** The part both boxes share, or null. */
export function meetBoxes(a, b) {
  const box = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return box[0] < box[2] && box[1] < box[3] ? box : null;
}

export function isInsideBox([x, y], [x0, y0, x1, y1], margin = 0) {
  return x >= x0 - margin && x <= x1 + margin && y >= y0 - margin && y <= y1 + margin;
}

/**
 * Decode COCO's compressed run-length counts into run lengths, background first.
 * Source: https://github.com/cocodataset/cocoapi (common/maskApi.c, rleFrString).
 */
export function decodeCounts(text) {
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let [value, shift, code] = [0, 0, 0x20];
    while (code & 0x20) {
      if (at >= text.length) throw new Error("The run-length counts end in the middle of a number.");
      code = text.charCodeAt(at++) - 48;
      value |= (code & 0x1f) << shift;
      shift += 5;
    }
    if (code & 0x10) value |= -1 << shift;
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  return counts;
}

/**
 * The mask of an rle op: `{width, height, ends, box}`. `ends[i]` is where run i ends in column-major
 * order, odd runs are foreground; `box` is null for an empty mask. Kept per op object.
 */
export function rleMask(op) {
  const known = rleCache.get(op);
  if (known) return known;
  const [height, width] = op.size;
  const counts = decodeCounts(op.counts);
  const ends = new Uint32Array(counts.length);
  let [total, box] = [0, null];
  counts.forEach((count, i) => {
    if (i % 2 === 1 && count > 0) {
      const run = boxOfRun(total, total + count, height);
      box = box ? joinBoxes(box, run) : run;
    }
    total += count;
    ends[i] = total;
  });
  const mask = { width, height, ends, box };
  rleCache.set(op, mask);
  return mask;
}

function boxOfRun(start, end, height) {
  const [left, right] = [Math.floor(start / height), Math.floor((end - 1) / height)];
  if (left !== right) return [left, 0, right + 1, height];
  return [left, start % height, right + 1, ((end - 1) % height) + 1];
}

export function isInsideMask([x, y], { width, height, ends }) {
  if (x < 0 || y < 0 || x >= width || y >= height) return false;
  const pixel = Math.floor(x) * height + Math.floor(y);
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] <= pixel) low = middle + 1;
    else high = middle;
  }
  return low < ends.length && low % 2 === 1;
}

/** Call `each(x, y0, y1)` for every vertical foreground piece, y1 excluded. */
export function forEachColumnRun({ height, ends }, each) {
  for (let i = 1; i < ends.length; i += 2) {
    let start = ends[i - 1];
    while (start < ends[i]) {
      const column = Math.floor(start / height);
      const end = Math.min(ends[i], (column + 1) * height);
      each(column, start - column * height, end - column * height);
      start = end;
    }
  }
}

/** `#rrggbb` with an alpha, for canvas and css. */
export function withAlpha(color, alpha) {
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}
