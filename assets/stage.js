/**
 * The stage: three canvases over each other (photo, objects, tool), the view, and the pointer.
 * The top canvas carries `data-scale`, `data-offset-x` and `data-offset-y`: CSS pixels per image pixel
 * and where the image's origin lies inside it; `data-image` is the image's id, `data-photo` how much of
 * it is there: loading, preview or full.
 */

import { make } from "./controls.js";
import { meetBoxes } from "./geometry.js";
import { Gestures } from "./gestures.js";
import { Painter } from "./layers.js";
import { Photo } from "./photo.js";
import * as views from "./view.js";

/** Objects that take longer than this to draw are stretched during a zoom and redrawn after it. */
const SLOW_MS = 8;
const SETTLE_MS = 90;

export class Stage {
  #drawn = {};
  #objectCost = 0;
  #settling = 0;
  #lastHover = null;
  #isFitted = true;
  size = { width: 1, height: 1 };
  view = { scale: 1, x: 0, y: 0 };

  constructor(labeler, signal) {
    this.labeler = labeler;
    this.painter = new Painter();
    this.photoCanvas = make("canvas", { "aria-hidden": "true" });
    this.objectCanvas = make("canvas", { "aria-hidden": "true" });
    this.canvas = make("canvas", {
      class: "top", tabindex: "0", "data-testid": "labeler-canvas", role: "application",
      "aria-label": "Photo with its labels. Press question mark for the keyboard shortcuts.",
    });
    this.element = make("div", { class: "stage" }, this.photoCanvas, this.objectCanvas, this.canvas);
    this.photo = new Photo(() => this.#photoChanged(), (sentence) => labeler.controls.loading(sentence));
    this.gestures = new Gestures(this.canvas, this.#gestureHost(), signal);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.canvas.addEventListener("blur", () => this.holdSpace(false), { signal });
  }

  #gestureHost() {
    const stage = this;
    return {
      get view() {
        return stage.view;
      },
      setView: (view) => stage.setView(view),
      limits: () => views.scaleLimits(stage.labeler.image, stage.size),
      tool: () => stage.labeler.activeTool,
      hover: (point) => stage.#hover(point),
      isBlocked: () => !stage.labeler.data,
    };
  }

  open(image, preload, address) {
    this.#drawn = {};
    this.fit();
    this.labeler.controls.loading("Loading the photo…");
    this.photo.open({
      previewUrl: address(image.view_url || image.url),
      fullUrl: address(image.url),
      preload: (preload ?? []).map(address),
    });
  }

  #photoChanged() {
    this.labeler.controls.loading(null);
    this.#drawn.photo = null;
    this.labeler.redraw();
  }

  reset() {
    this.gestures.reset();
    this.labeler.live = null;
  }

  close() {
    clearTimeout(this.#settling);
    this.observer.disconnect();
    this.photo.close();
  }

  resize() {
    const { width, height } = this.element.getBoundingClientRect();
    if (width < 2 || height < 2) return;
    const ratio = window.devicePixelRatio || 1;
    const [deviceWidth, deviceHeight] = [Math.round(width * ratio), Math.round(height * ratio)];
    const isSame = this.canvas.width === deviceWidth && this.canvas.height === deviceHeight;
    if (isSame && this.size.width === width) return;
    this.size = { width, height };
    for (const canvas of [this.photoCanvas, this.objectCanvas, this.canvas]) {
      Object.assign(canvas, { width: deviceWidth, height: deviceHeight });
    }
    this.painter.resize(deviceWidth, deviceHeight);
    this.#drawn = {};
    if (this.#isFitted && this.labeler.data) this.fit();
    else if (this.labeler.data) this.setView(this.view, this.#isFitted);
  }

  setView(view, isFitted = false) {
    this.#isFitted = isFitted;
    this.view = views.clamp(view, this.labeler.image, this.size);
    this.labeler.redraw();
  }

  fit() {
    const margin = this.size.width < 700 ? 4 : 16;
    this.setView(views.fit(this.labeler.image, this.size, { margin }), true);
  }

  actualSize() {
    const scale = 1 / (window.devicePixelRatio || 1);
    this.zoomBy(scale / this.view.scale);
  }

  zoomBy(factor) {
    const at = this.#lastHover?.screen ?? [this.size.width / 2, this.size.height / 2];
    this.setView(views.zoomAt(this.view, factor, at, views.scaleLimits(this.labeler.image, this.size)));
  }

  /** Bring a box into sight when it is not. */
  reveal(box) {
    const [left, top] = views.toImage(this.view, [0, 0]);
    const [right, bottom] = views.toImage(this.view, [this.size.width, this.size.height]);
    if (meetBoxes(box, [left, top, right, bottom])) return;
    const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    const { scale } = this.view;
    this.setView({ scale, x: this.size.width / 2 - x * scale, y: this.size.height / 2 - y * scale });
  }

  focus() {
    this.canvas.focus({ preventScroll: true });
  }

  holdSpace(isHeld) {
    this.gestures.isSpaceHeld = isHeld;
    this.canvas.classList.toggle("pannable", isHeld);
  }

  #hover(point) {
    this.#lastHover = point;
    this.labeler.activeTool.hover(point);
    this.labeler.redraw();
  }

  /** The tool changed under a resting pointer. */
  refreshHover() {
    this.labeler.activeTool.hover(this.#lastHover);
  }

  /** Draw what changed since the last frame. */
  draw() {
    const { labeler, view } = this;
    if (this.size.width < 2) return; // the style sheet has not come yet
    const ratio = this.canvas.width / this.size.width;
    if (this.#isStale("photo", [view, this.photo.full, this.photo.preview])) this.#drawPhoto(ratio);
    const live = labeler.live?.annotation.id ?? null;
    const look = [
      view, labeler.annotations, labeler.selectedId, labeler.hidden, labeler.isHidden, labeler.opacity,
      live, labeler.data.categories,
    ];
    this.#showObjects(look, () => this.#drawObjects(ratio, live));
    this.#drawTool(ratio);
    this.canvas.style.cursor = labeler.activeTool.cursor;
    const photo = this.photo.full ? "full" : this.photo.preview ? "preview" : "loading";
    const { id } = labeler.image;
    Object.assign(this.canvas.dataset, { image: id, photo, scale: view.scale, offsetX: view.x, offsetY: view.y });
  }

  #isStale(name, values) {
    const known = this.#drawn[name];
    this.#drawn[name] = values;
    return !known || known.some((value, i) => value !== values[i]);
  }

  /** Redraw the objects; while only the view moves and redrawing is slow, stretch what is there. */
  #showObjects(look, redraw) {
    const known = this.#drawn.objects;
    const differs = (value, i) => value !== known[i];
    if (known && !look.some(differs)) return;
    clearTimeout(this.#settling);
    if (known && this.#objectCost > SLOW_MS && !look.slice(1).some((value, i) => differs(value, i + 1))) {
      const grown = this.view.scale / known[0].scale;
      const [x, y] = [this.view.x - known[0].x * grown, this.view.y - known[0].y * grown];
      this.objectCanvas.style.transform = `matrix(${grown}, 0, 0, ${grown}, ${x}, ${y})`;
      this.#settling = setTimeout(() => {
        this.#drawn.objects = null;
        this.labeler.redraw();
      }, SETTLE_MS);
      return;
    }
    const started = performance.now();
    redraw();
    this.#objectCost = performance.now() - started;
    this.#drawn.objects = look;
    this.objectCanvas.style.transform = "";
  }

  #drawPhoto(ratio) {
    const context = this.photoCanvas.getContext("2d");
    const { width, height } = this.labeler.image;
    const { scale, x, y } = this.view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.photoCanvas.width, this.photoCanvas.height);
    const bitmap = this.photo.best(width, scale * ratio);
    context.setTransform(ratio, 0, 0, ratio, x * ratio, y * ratio);
    if (!bitmap) {
      context.fillStyle = "rgba(128,128,128,.18)";
      return context.fillRect(0, 0, width * scale, height * scale);
    }
    context.imageSmoothingEnabled = scale * ratio < 3;
    context.imageSmoothingQuality = "medium";
    context.drawImage(bitmap, 0, 0, width * scale, height * scale);
  }

  #drawObjects(ratio, liveId) {
    const { labeler, view } = this;
    const context = this.objectCanvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.objectCanvas.width, this.objectCanvas.height);
    this.painter.bitmaps.keepOnly(labeler.annotations);
    for (const annotation of labeler.shown) {
      if (annotation.id === liveId) continue;
      const isSelected = annotation.id === labeler.selectedId;
      const color = labeler.colorOf(annotation);
      this.painter.paint(context, annotation, { view, ratio, color, opacity: labeler.opacity, isSelected });
    }
  }

  #drawTool(ratio) {
    const { labeler, view } = this;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (labeler.live) {
      const { annotation, ...how } = labeler.live;
      const color = labeler.colorOf(annotation);
      const isSelected = annotation.id !== "" && annotation.id === labeler.selectedId;
      this.painter.paint(context, annotation, { view, ratio, color, opacity: labeler.opacity, isSelected, ...how });
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    labeler.activeTool.draw(context);
  }
}
