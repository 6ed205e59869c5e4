/**
 * Local contrast for dark or flat photos: contrast limited adaptive histogram equalisation of the
 * luminance, for the eye only. Pixels are RGBA bytes in row order.
 *
 * Source: Zuiderveld 1994, "Contrast limited adaptive histogram equalization" (Graphics Gems IV); how
 * clipped counts are shared out and tables are blended follows OpenCV's `createCLAHE`.
 */

const LEVELS = 256;
/** Tiles along the longer side, and how far a level may stand out before it is cut, as in OpenCV. */
const TILES = 8;
const CLIP_LIMIT = 3;
/** Nothing is lit up more than this: the noise of black pixels stays dark. */
const LARGEST_GAIN = 5;

/** How many tiles fit a size, about square: `[across, down]`. */
export function tilesFor(width, height) {
  const side = Math.max(width, height) / TILES;
  return [Math.max(1, Math.round(width / side)), Math.max(1, Math.round(height / side))];
}

/** The luminance of a pixel, 0 to 255 (ITU-R BT.601). */
function luminance(rgba, at) {
  return (rgba[at] * 77 + rgba[at + 1] * 150 + rgba[at + 2] * 29 + 128) >> 8;
}

/**
 * The tone curves of a picture: one table of 256 levels per tile, in a Float32Array of
 * `across * down * 256`; pictures smaller than their tiles get fewer.
 */
export function toneCurves(rgba, width, height, { tiles = tilesFor(width, height), clip = CLIP_LIMIT } = {}) {
  const across = Math.min(tiles[0], width);
  const down = Math.min(tiles[1], height);
  const tables = new Float32Array(across * down * LEVELS);
  for (let row = 0; row < down; row++) {
    const rows = [Math.floor((row * height) / down), Math.floor(((row + 1) * height) / down)];
    for (let column = 0; column < across; column++) {
      const columns = [Math.floor((column * width) / across), Math.floor(((column + 1) * width) / across)];
      const table = tables.subarray((row * across + column) * LEVELS, (row * across + column + 1) * LEVELS);
      fillCurve(table, histogram(rgba, width, rows, columns), clip);
    }
  }
  return { tables, across, down };
}

function histogram(rgba, width, [top, bottom], [left, right]) {
  const counts = new Uint32Array(LEVELS);
  for (let y = top; y < bottom; y++) {
    for (let x = left, at = 4 * (y * width + left); x < right; x++, at += 4) counts[luminance(rgba, at)]++;
  }
  return counts;
}

function fillCurve(table, counts, clip) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (clip > 0) shareClipped(counts, Math.max(1, Math.floor((clip * total) / LEVELS)));
  let sum = 0;
  for (let level = 0; level < LEVELS; level++) {
    sum += counts[level];
    table[level] = Math.min(255, Math.round((sum * (LEVELS - 1)) / total));
  }
}

/** Cut what stands out of a histogram and share it among all levels. */
function shareClipped(counts, limit) {
  let clipped = 0;
  for (let level = 0; level < LEVELS; level++) {
    clipped += Math.max(0, counts[level] - limit);
    counts[level] = Math.min(counts[level], limit);
  }
  const each = Math.floor(clipped / LEVELS);
  let rest = clipped - each * LEVELS;
  for (let level = 0; level < LEVELS; level++) counts[level] += each;
  const step = Math.max(1, Math.floor(LEVELS / Math.max(1, rest)));
  for (let level = 0; level < LEVELS && rest > 0; level += step, rest--) counts[level]++;
}

/** Between which two of `count` tiles each of `length` pixels lies, and how near the second: per pixel. */
function neighbours(length, count) {
  const [first, second, weight] = [new Uint16Array(length), new Uint16Array(length), new Float32Array(length)];
  for (let i = 0; i < length; i++) {
    const place = ((i * count) / length) - 0.5;
    const low = Math.floor(place);
    first[i] = Math.max(0, low);
    second[i] = Math.min(count - 1, low + 1);
    weight[i] = place - low;
  }
  return { first, second, weight };
}

/**
 * Apply tone curves to rows of a picture, in place; the hue stays.
 *
 * @param rgba the bytes of the rows from `top` on, as many as there are
 * @param size `{width, height}` of the whole picture; the curves may be of a smaller copy of it
 */
export function applyCurves(rgba, top, { width, height }, { tables, across, down }) {
  const columns = neighbours(width, across);
  const rows = neighbours(height, down);
  const count = rgba.length / 4 / width;
  for (let row = 0, at = 0; row < count; row++) {
    const y = top + row;
    const [upper, lower] = [rows.first[y] * across, rows.second[y] * across];
    const below = rows.weight[y];
    for (let x = 0; x < width; x++, at += 4) {
      const level = luminance(rgba, at);
      const left = columns.first[x];
      const right = columns.second[x];
      const aside = columns.weight[x];
      const high = mix(tables[((upper + left) << 8) + level], tables[((upper + right) << 8) + level], aside);
      const low = mix(tables[((lower + left) << 8) + level], tables[((lower + right) << 8) + level], aside);
      const gain = Math.min(LARGEST_GAIN, mix(high, low, below) / Math.max(1, level));
      rgba[at] *= gain; // a clamped array: rounds, and stops at 255
      rgba[at + 1] *= gain;
      rgba[at + 2] *= gain;
    }
  }
}

function mix(from, to, part) {
  return from + (to - from) * part;
}
