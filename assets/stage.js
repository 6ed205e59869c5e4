/**
 * The stage: three canvases over each other (photo, objects, tool), the view, and the pointer.
 * The top canvas carries `data-scale`, `data-offset-x` and `data-offset-y`: CSS pixels per image pixel
 * and where the image's origin lies inside it; `data-image` is the image's id, `data-photo` how much of
 * it is there: loading, preview or full. `data-lifted` says whether its local contrast is: no, soon, yes.
 */

import { make } from "./controls.js";
import { meetBoxes } from "./geometry.js";
import { Gestures } from "./gestures.js";
import { Painter } from "./layers.js";
import { filterOf } from "./look.js";
import { Minimap } from "./minimap.js";
import { Photo } from "./photo.js";
import { LiftedPhotos } from "./photo_filter.js";
import * as views from "./view.js";

/** Objects that take longer than this to draw are stretched during a zoom and redrawn after it. */
const SLOW_MS = 8;
const SETTLE_MS = 90;
/** After as many stretched frames a drawn one: what comes into sight in a long movement does not stay empty. */
const STRETCHED_FRAMES = 10;

export class Stage {
  #drawn = {};
  #objectCost = 0;
  #stretched = 0;
  #settling = 0;
  #lastHover = null;
  #isFitted = true;
  #lastSize = null;
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
    this.minimap = new Minimap(this);
    const layers = [this.photoCanvas, this.objectCanvas, this.canvas];
    this.element = make("div", { class: "stage" }, ...layers, this.minimap.element);
    this.photo = new Photo(() => this.#photoChanged(), (sentence) => labeler.controls.loading(sentence));
    this.lifted = new LiftedPhotos(() => this.#photoChanged(), (sentence) => labeler.hint(sentence));
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
      isOnlyLooking: () => stage.labeler.preview !== null,
    };
  }

  open(image, preload, address) {
    this.#drawn = {};
    const isAlike = this.#lastSize?.width === image.width && this.#lastSize.height === image.height;
    if (this.#isFitted || !isAlike) this.fit(); // else the same part of the next photo stays in sight
    this.#lastSize = { width: image.width, height: image.height };
    this.lifted.forget();
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
    this.lifted.close();
  }

  resize() {
    if (getComputedStyle(this.element).position === "static") return; // the style sheet has not come yet
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

  get image() {
    return this.labeler.image;
  }

  /** Move the view by shares of the stage. */
  panBy(across, down) {
    this.setView(views.pan(this.view, -across * this.size.width, -down * this.size.height));
  }

  zoomBy(factor, isCentred = false) {
    const middle = [this.size.width / 2, this.size.height / 2];
    const at = isCentred ? middle : (this.#lastHover?.screen ?? middle);
    this.setView(views.zoomAt(this.view, factor, at, views.scaleLimits(this.labeler.image, this.size)));
  }

  /** Bring a box into sight when it is not. */
  reveal(box) {
    const [left, top] = views.toImage(this.view, [0, 0]);
    const [right, bottom] = views.toImage(this.view, [this.size.width, this.size.height]);
    if (meetBoxes(box, [left, top, right, bottom])) return;
    const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    this.setView(views.centredOn(this.view, [x, y], this.size));
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
    if (this.size.width < 2) return; // no room yet
    const ratio = this.canvas.width / this.size.width;
    const { full, preview } = this.photo;
    if (this.#isStale("photo", [view, full, preview, labeler.look])) this.#drawPhoto(ratio);
    if (this.#isStale("minimap", [view, preview ?? full, this.size])) this.minimap.update(preview ?? full);
    const live = labeler.live?.annotation.id ?? null;
    const look = [
      view, labeler.painted, labeler.objects.selectedIds, labeler.objects.access, labeler.isHidden, labeler.fillOpacity,
      live, labeler.live?.others, labeler.data.categories,
    ];
    this.#showObjects(look, () => this.#drawObjects(ratio, live));
    this.#drawTool(ratio);
    this.canvas.style.cursor = labeler.activeTool.cursor;
    const photo = full ? "full" : preview ? "preview" : "loading";
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
    const isSlow = this.#objectCost > SLOW_MS || this.painter.isSlow(this.labeler.shown);
    if (known && isSlow && this.#stretched < STRETCHED_FRAMES && !look.slice(1).some((value, i) => differs(value, i + 1))) {
      this.#stretched += 1;
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
    this.#stretched = 0;
    this.#drawn.objects = look;
    this.objectCanvas.style.transform = "";
  }

  #drawPhoto(ratio) {
    const context = this.photoCanvas.getContext("2d");
    const { image: { width, height }, look } = this.labeler;
    const { scale, x, y } = this.view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.photoCanvas.width, this.photoCanvas.height);
    this.photoCanvas.style.filter = filterOf(look);
    const bitmap = this.photo.best(width, scale * ratio);
    context.setTransform(ratio, 0, 0, ratio, x * ratio, y * ratio);
    if (!bitmap) {
      context.fillStyle = "rgba(128,128,128,.18)";
      return context.fillRect(0, 0, width * scale, height * scale);
    }
    context.imageSmoothingEnabled = scale * ratio < 3;
    context.imageSmoothingQuality = "medium";
    context.drawImage(bitmap, 0, 0, width * scale, height * scale);
    const lifted = look.local > 0 ? this.#liftedFor(bitmap) : null;
    this.canvas.dataset.lifted = look.local === 0 ? "no" : lifted ? "yes" : "soon";
    if (!lifted) return;
    context.globalAlpha = look.local;
    context.drawImage(lifted, 0, 0, width * scale, height * scale);
    context.globalAlpha = 1;
  }

  /** With its local contrast lifted; the preview's stands in while the full one is made. */
  #liftedFor(bitmap) {
    const { preview } = this.photo;
    return this.lifted.of(bitmap) ?? (preview && preview !== bitmap ? this.lifted.of(preview) : null);
  }

  #drawObjects(ratio, liveId) {
    const { labeler, view } = this;
    const context = this.objectCanvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.objectCanvas.width, this.objectCanvas.height);
    this.painter.bitmaps.keepOnly(labeler.painted);
    for (const annotation of labeler.shown) {
      if (annotation.id === liveId || labeler.live?.others?.includes(annotation)) continue;
      const isSelected = labeler.objects.selectedIds.has(annotation.id);
      const color = labeler.colorOf(annotation);
      this.painter.paint(context, annotation, { view, ratio, color, opacity: labeler.fillOpacity, isSelected });
    }
  }

  #drawTool(ratio) {
    const { labeler, view } = this;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (labeler.live) {
      const { annotation, others = [], ...how } = labeler.live;
      for (const each of [annotation, ...others]) {
        const isSelected = labeler.objects.selectedIds.has(each.id);
        const look = { view, ratio, color: labeler.colorOf(each), opacity: labeler.fillOpacity, isSelected };
        this.painter.paint(context, each, { ...look, ...how });
      }
    }
    const { lit } = labeler.objects; // pointed at in the list
    if (lit) this.painter.paint(context, lit, { view, ratio, color: labeler.colorOf(lit), opacity: 0.6, isSelected: true });
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    labeler.activeTool.draw(context);
  }
}
