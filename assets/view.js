/**
 * Pan and zoom as plain values: every function takes a view and returns a new one.
 *
 * A view is `{scale, x, y}`: CSS pixels per image pixel, and where the image's origin (the top left
 * pixel's corner) lies inside the stage, in CSS pixels. Sizes are `{width, height}`, points `[x, y]`.
 */

export const MAX_SCALE = 40;

/** Where an arrow key leads: `[x, y]`. */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** How much of the image has to stay on the stage when it is panned away, in CSS pixels. */
const KEEP_VISIBLE = 48;

/** A tiny image is enlarged until its longer side measures this, in CSS pixels. */
const SMALLEST_SIDE = 240;

/** The view that shows the whole image, centred; never enlarged beyond `largest`, unless it is tiny. */
export function fit(image, stage, { margin = 12, largest = 8 } = {}) {
  const room = {
    width: Math.max(1, stage.width - 2 * margin),
    height: Math.max(1, stage.height - 2 * margin),
  };
  const most = Math.max(largest, SMALLEST_SIDE / Math.max(image.width, image.height));
  const scale = Math.min(room.width / image.width, room.height / image.height, most);
  return centred(image, stage, scale);
}

/** The image's middle in the stage's middle, at the given scale. */
export function centred(image, stage, scale) {
  return {
    scale,
    x: (stage.width - image.width * scale) / 2,
    y: (stage.height - image.height * scale) / 2,
  };
}

/** Zoom by `factor`; the image point under the stage point `at` stays where it is. */
export function zoomAt(view, factor, at, { smallest = 0, largest = MAX_SCALE } = {}) {
  const scale = Math.min(largest, Math.max(smallest, view.scale * factor));
  const [imageX, imageY] = toImage(view, at);
  return { scale, x: at[0] - imageX * scale, y: at[1] - imageY * scale };
}

export function pan(view, dx, dy) {
  return { scale: view.scale, x: view.x + dx, y: view.y + dy };
}

/**
 * Follow two fingers: from the pair of stage points `before` to the pair `after`.
 * The image point under the middle of the fingers stays under it.
 */
export function pinch(view, before, after, limits) {
  const [oldMiddle, newMiddle] = [middle(before), middle(after)];
  const spread = distance(before) || 1;
  const zoomed = zoomAt(view, (distance(after) || 1) / spread, oldMiddle, limits);
  return pan(zoomed, newMiddle[0] - oldMiddle[0], newMiddle[1] - oldMiddle[1]);
}

/** The zoom range that makes sense: from half of "fit" to MAX_SCALE, or twice "fit" for a tiny image. */
export function scaleLimits(image, stage) {
  const { scale } = fit(image, stage);
  return { smallest: Math.min(1, scale / 2), largest: Math.max(MAX_SCALE, 2 * scale) };
}

/** Keep a strip of the image on the stage, so that nobody loses it. */
export function clamp(view, image, stage) {
  const inside = (offset, length, room) => {
    const keep = Math.min(KEEP_VISIBLE, length, room / 2);
    return Math.min(room - keep, Math.max(keep - length, offset));
  };
  return {
    scale: view.scale,
    x: inside(view.x, image.width * view.scale, stage.width),
    y: inside(view.y, image.height * view.scale, stage.height),
  };
}

/** Whether so little of the image is in sight, past twice the size of the whole, that an overview helps. */
export function isZoomedIn(view, image, stage) {
  return view.scale > 2 * fit(image, stage, { margin: 0 }).scale;
}

/** The part of the image in sight, `[x0, y0, x1, y1]` in image pixels. */
export function visibleBox(view, image, stage) {
  const [left, top] = toImage(view, [0, 0]);
  const [right, bottom] = toImage(view, [stage.width, stage.height]);
  const [x0, x1] = [left, right].map((x) => Math.max(0, Math.min(image.width, x)));
  const [y0, y1] = [top, bottom].map((y) => Math.max(0, Math.min(image.height, y)));
  return [x0, y0, x1, y1];
}

/** The same zoom with an image point in the stage's middle. */
export function centredOn(view, [x, y], stage) {
  return { scale: view.scale, x: stage.width / 2 - x * view.scale, y: stage.height / 2 - y * view.scale };
}

export function toImage(view, [x, y]) {
  return [(x - view.x) / view.scale, (y - view.y) / view.scale];
}

export function toScreen(view, [x, y]) {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

/** The factor of one wheel event, the same feeling for mouse wheels, touchpads and pinch gestures. */
export function wheelFactor(event) {
  const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1);
  const step = event.ctrlKey ? 0.01 : 0.0015;
  return Math.exp(-Math.max(-240, Math.min(240, pixels)) * step);
}

function middle([[ax, ay], [bx, by]]) {
  return [(ax + bx) / 2, (ay + by) / 2];
}

function distance([[ax, ay], [bx, by]]) {
  return Math.hypot(bx - ax, by - ay);
}
