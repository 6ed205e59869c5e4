/** The overview in the stage's corner: the whole photo small, and the part of it that is in sight. */

import { make } from "./dom.js";
import * as views from "./view.js";

/** How large it may be, in CSS pixels; on a narrow stage half of it. */
const ROOM = { width: 176, height: 132 };
const NARROW = 560;
const STEP = 0.25;

/** The overview's size for an image, in CSS pixels: as large as the room allows, never nothing. */
export function sizeFor(image, stage) {
  const part = stage.width < NARROW ? 0.55 : 1;
  const scale = part * Math.min(ROOM.width / image.width, ROOM.height / image.height);
  return { width: Math.max(8, Math.round(image.width * scale)), height: Math.max(8, Math.round(image.height * scale)) };
}

export class Minimap {
  #stage;
  #pointer = null;
  #thumbnail = null;
  #shownOf = null;

  /** @param stage `{view, size, image, setView(view), zoomBy(factor), fit(), focus()}` */
  constructor(stage) {
    this.#stage = stage;
    this.element = make("canvas", {
      class: "minimap", tabindex: "0", role: "application", hidden: "", "data-testid": "minimap",
      "aria-label": "Overview. Arrow keys move the view, plus and minus zoom.",
      onpointerdown: (event) => this.#down(event),
      onpointermove: (event) => this.#pointer === event.pointerId && this.#moveTo(event),
      onpointerup: () => (this.#pointer = null),
      onpointercancel: () => (this.#pointer = null),
      onkeydown: (event) => this.#key(event),
    });
  }

  #down(event) {
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#moveTo(event);
  }

  #moveTo(event) {
    const box = this.element.getBoundingClientRect();
    const { view, size, image } = this.#stage;
    const x = ((event.clientX - box.left) / box.width) * image.width;
    const y = ((event.clientY - box.top) / box.height) * image.height;
    this.#stage.setView(views.centredOn(view, [x, y], size));
  }

  #key(event) {
    const stage = this.#stage;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = views.ARROWS[event.key];
    if (step) stage.panBy(STEP * step[0], STEP * step[1]);
    else if (event.key === "+" || event.key === "-") stage.zoomBy(event.key === "+" ? 1.25 : 0.8, true);
    else if (event.key === "Escape") stage.focus();
    else return;
    event.preventDefault();
    event.stopPropagation(); // else an arrow would go to another photo
  }

  /** Bring it up to date; `bitmap` is the photo as far as it is there. */
  update(bitmap) {
    const { view, size, image } = this.#stage;
    const isShown = bitmap !== null && views.isZoomedIn(view, image, size);
    if (!isShown && this.element.getRootNode().activeElement === this.element) this.#stage.focus();
    this.element.hidden = !isShown;
    if (isShown) this.#draw(bitmap);
  }

  #draw(bitmap) {
    const { view, size, image } = this.#stage;
    const [room, ratio] = [sizeFor(image, size), window.devicePixelRatio || 1];
    const [width, height] = [Math.round(room.width * ratio), Math.round(room.height * ratio)];
    Object.assign(this.element.style, { width: `${room.width}px`, height: `${room.height}px` });
    if (this.element.width !== width || this.element.height !== height) Object.assign(this.element, { width, height });
    const context = this.element.getContext("2d");
    context.drawImage(this.#small(bitmap, width, height), 0, 0);
    const [x0, y0, x1, y1] = views.visibleBox(view, image, size);
    const [across, down] = [width / image.width, height / image.height];
    const frame = [x0 * across, y0 * down, Math.max(3, (x1 - x0) * across), Math.max(3, (y1 - y0) * down)];
    context.fillStyle = "rgba(0,0,0,.45)";
    context.beginPath();
    context.rect(0, 0, width, height);
    context.rect(...frame);
    context.fill("evenodd");
    context.strokeStyle = "#ffffff";
    context.lineWidth = 1.5 * ratio;
    context.strokeRect(...frame);
  }

  /** The photo at the overview's size, scaled once. */
  #small(bitmap, width, height) {
    const of = [bitmap, width, height];
    if (this.#shownOf?.every((value, i) => value === of[i])) return this.#thumbnail;
    this.#thumbnail ??= document.createElement("canvas");
    Object.assign(this.#thumbnail, { width, height });
    const context = this.#thumbnail.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    this.#shownOf = of;
    return this.#thumbnail;
  }
}
