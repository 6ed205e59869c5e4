/**
 * Label maps as arrays: decode, threshold, compare, colour. No canvas and no document in here.
 *
 * A label map is a Uint8Array in row order, one class index per pixel; 0 is background and 255 is
 * "do not count". Colours are Uint32 values whose bytes are R, G, B, A, as ImageData wants them.
 */

export const IGNORED = 255;

/** What an error map holds per pixel; 0 is background in both maps, or ignored. */
export const RIGHT = 1;
export const FALSE_POSITIVE = 2;
export const FALSE_NEGATIVE = 3;
export const WRONG_CLASS = 4;

/**
 * The four kinds in the order of the legend. The colours are Okabe and Ito's, which stay apart for
 * colour-blind eyes. Source: https://jfly.uni-koeln.de/color/
 */
export const ERROR_KINDS = [
  { code: RIGHT, key: "right", name: "Right", color: "#009E73" },
  { code: FALSE_POSITIVE, key: "false_positive", name: "False alarm", color: "#D55E00" },
  { code: FALSE_NEGATIVE, key: "false_negative", name: "Missed", color: "#56B4E9" },
  { code: WRONG_CLASS, key: "wrong_class", name: "Wrong class", color: "#F0E442" },
];

/**
 * The colours of the confidence map from 0 to 100 %: what is sure lies back, what is not stands out.
 * Five even steps of viridis, whose lightness rises evenly, from its bright end to its dark one.
 * Source: https://bids.github.io/colormap/ (CC0)
 */
export const HEAT_COLORS = ["#FDE725", "#5EC962", "#21918C", "#3B528B", "#440154"];

/** Classes that the list does not name are still shown, in grey. */
const UNNAMED_COLOR = "#9AA0A6";

/** The class indices of a grey PNG: the red channel of its decoded pixels (RGBA bytes). */
export function indicesFromRgba(rgba) {
  const indices = new Uint8Array(rgba.length / 4);
  for (let pixel = 0, byte = 0; pixel < indices.length; pixel += 1, byte += 4) {
    indices[pixel] = rgba[byte];
  }
  return indices;
}

/**
 * The prediction without what the model is unsure of: pixels whose confidence (0 to 255) lies under
 * `least` (0 to 1) become background. Gives the same array back when nothing can change.
 */
export function confidentOnly(prediction, confidence, least) {
  if (!confidence || least <= 0) return prediction;
  const floor = least * 255;
  const kept = new Uint8Array(prediction.length);
  for (let pixel = 0; pixel < kept.length; pixel += 1) {
    if (confidence[pixel] >= floor) kept[pixel] = prediction[pixel];
  }
  return kept;
}

/**
 * Compare a prediction with the ground truth, pixel by pixel.
 *
 * With `anyDamage` every class but background counts as the same one. A pixel is left out when each
 * damage class on it, true or predicted, is in `hidden` (a Set of class indices).
 * Returns `{codes, counts}`; `counts` holds pixels per kind, and `pixels`, the size of the image.
 */
export function compare(truth, prediction, { anyDamage = false, hidden = new Set() } = {}) {
  const codeOf = errorCodes(anyDamage, hidden);
  const codes = new Uint8Array(truth.length);
  const tally = new Uint32Array(5);
  for (let pixel = 0; pixel < codes.length; pixel += 1) {
    const code = codeOf[(truth[pixel] << 8) | prediction[pixel]];
    codes[pixel] = code;
    tally[code] += 1;
  }
  const counts = Object.fromEntries(ERROR_KINDS.map(({ code, key }) => [key, tally[code]]));
  return { codes, counts: { ...counts, pixels: codes.length } };
}

/** The error code of every pair, at [true class * 256 + predicted class]. */
function errorCodes(anyDamage, hidden) {
  const isShown = (index) => index !== 0 && !hidden.has(index);
  const codes = new Uint8Array(256 * 256);
  for (let wanted = 0; wanted < IGNORED; wanted += 1) {
    for (let found = 0; found < 256; found += 1) {
      if (isShown(wanted) || isShown(found)) codes[wanted * 256 + found] = errorCode(wanted, found, anyDamage);
    }
  }
  return codes;
}

function errorCode(wanted, found, anyDamage) {
  if (!wanted) return FALSE_POSITIVE;
  if (!found) return FALSE_NEGATIVE;
  return anyDamage || wanted === found ? RIGHT : WRONG_CLASS;
}

/** Colours by class index: nothing for background, ignored pixels and `hidden` classes. */
export function classPalette(classes, hidden = new Set()) {
  const palette = new Uint32Array(256).fill(rgba(UNNAMED_COLOR));
  for (const { index, color } of classes) palette[index] = rgba(color);
  for (const index of [0, IGNORED, ...hidden]) palette[index] = 0;
  return palette;
}

/** Colours by error code. */
export function errorPalette() {
  const palette = new Uint32Array(256);
  for (const { code, color } of ERROR_KINDS) palette[code] = rgba(color);
  return palette;
}

/** Colours by confidence (0 to 255); nothing under `least` (0 to 1), which a threshold leaves out. */
export function heatPalette(least = 0) {
  const floor = least * 255;
  const colorOf = (value) => (value < floor ? 0 : heatColor(value / 255));
  return Uint32Array.from({ length: 256 }, (_, value) => colorOf(value));
}

function heatColor(share) {
  const place = share * (HEAT_COLORS.length - 1);
  const step = Math.min(HEAT_COLORS.length - 2, Math.floor(place));
  const bytes = [0, 1, 2].map((channel) => {
    const [from, to] = HEAT_COLORS.slice(step).map((color) => channelOf(color, channel));
    return Math.round(from + (to - from) * (place - step));
  });
  return (0xff000000 | (bytes[2] << 16) | (bytes[1] << 8) | bytes[0]) >>> 0;
}

function channelOf(hex, channel) {
  return Number.parseInt(hex.slice(1 + 2 * channel, 3 + 2 * channel), 16);
}

/** Paint a confidence map; pixels whose label (null: unknown) is of a `hidden` class stay clear. */
export function heat(confidence, palette, { labels = null, hidden = new Set() } = {}) {
  const pixels = fill(confidence, palette);
  if (!labels || !hidden.size) return pixels;
  const isHidden = Uint8Array.from({ length: 256 }, (_, index) => hidden.has(index));
  for (let pixel = 0; pixel < pixels.length; pixel += 1) {
    if (isHidden[labels[pixel]]) pixels[pixel] = 0;
  }
  return pixels;
}

/** Paint whole regions: one palette colour per pixel. */
export function fill(labels, palette) {
  const pixels = new Uint32Array(labels.length);
  for (let pixel = 0; pixel < pixels.length; pixel += 1) pixels[pixel] = palette[labels[pixel]];
  return pixels;
}

/**
 * Paint the inner border of every region, `thickness` pixels wide; the image's edge is a border too.
 * A pixel belongs to it when one of its neighbours in the four directions has another label.
 */
export function outline(labels, palette, width, thickness = 1) {
  const height = labels.length / width;
  const pixels = new Uint32Array(labels.length);
  for (let y = 0, pixel = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, pixel += 1) {
      const color = palette[labels[pixel]];
      if (color && isNearBorder(labels, pixel, { x, y, width, height, thickness })) pixels[pixel] = color;
    }
  }
  return pixels;
}

function isNearBorder(labels, pixel, { x, y, width, height, thickness }) {
  if (x < thickness || y < thickness || x >= width - thickness || y >= height - thickness) return true;
  const label = labels[pixel];
  for (let step = 1; step <= thickness; step += 1) {
    if (labels[pixel - step] !== label || labels[pixel + step] !== label) return true;
    if (labels[pixel - step * width] !== label || labels[pixel + step * width] !== label) return true;
  }
  return false;
}

/** "#E69F00" as an opaque pixel. The machine is little-endian wherever browsers run. */
export function rgba(hex) {
  const value = Number.parseInt(hex.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}
