/** The panes: one photo several times with the same pan and zoom, and what lies over it. */

import { clamp, fit, pan, pinch, scaleLimits, zoomAt, wheelFactor } from "./view.js";
import { el, setAttribute } from "./viewer_dom.js";
import { gridOf } from "./viewer_model.js";

/** Panes that darken the photo, since their colours are the message, and how much stronger they paint. */
const DIAGNOSTIC = { errors: 1.6, confidence: 1.3 };

/** How much the photo is darkened under them. */
const DIMMED = "rgb(12 14 18 / 62%)";

/** Thin paint needs more strength than the chosen opacity to be seen. */
const STRONGER = 1.6;

/** From this many device pixels per photo pixel on, pixels are shown as squares. */
const SHOW_PIXELS_FROM = 4;

export class Stage {
  #frame = 0;
  #pointers = new Map();
  #backdrop = { canvas: document.createElement("canvas"), key: [] };
  #size = { width: 0, height: 0 };

  /**
   * `onView` is told each new view, `onEnlarge` the pane whose title was clicked, `onPick` the role and
   * the value of a picker in a title.
   */
  constructor({ onView, onEnlarge, onPick }) {
    Object.assign(this, { onView, onEnlarge, onPick });
    this.panes = [];
    this.scene = null;
    this.view = { scale: 1, x: 0, y: 0 };
    this.isFitted = true;
    this.swipeAt = 0.5;
    this.afterPaint = [];
    this.element = el("div", { class: "stage" });
    this.divider = this.#buildDivider();
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(this.element);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  /** Show these panes, as `panesOf` gives them. Elements stay while only what they show changes. */
  setPanes(panes, layout) {
    const built = panes.map(({ id, title, key, pickers }) => {
      return [id, key ? title : "", key, pickers.map(({ options }) => options)];
    });
    const signature = JSON.stringify([built, layout]);
    if (signature !== this.signature) this.#rebuild(panes, layout);
    this.signature = signature;
    panes.forEach(({ layers, title, isActive, pickers }, place) => {
      const pane = this.panes[place];
      pane.layers = layers;
      pane.canvas.setAttribute("aria-label", title);
      setAttribute(pane.element, "data-active", isActive);
      pickers.forEach(({ value }, index) => (pane.pickers[index].value = value));
      if (this.scene) this.#showWords(pane);
    });
  }

  #rebuild(panes, layout) {
    this.panes = panes.map((pane) => this.#buildPane(pane));
    this.element.dataset.layout = layout;
    this.element.dataset.count = panes.length;
    this.element.replaceChildren(...this.panes.map(({ element }) => element));
    const split = this.panes.find(({ layers }) => layers.length > 1);
    split?.element.append(this.divider);
    this.#resized();
  }

  /**
   * What to draw: `{photo, width, height, pictures, notes, captions, opacity, isOutline}`. The view is
   * kept while the photo's size stays the same; `captions` (by pane) are what the titles add.
   */
  setScene(scene) {
    const isOtherSize = scene.width !== this.scene?.width || scene.height !== this.scene?.height;
    this.scene = scene;
    this.element.style.setProperty("--photo-ratio", `${scene.width} / ${scene.height}`);
    for (const pane of this.panes) this.#showWords(pane);
    if (isOtherSize) {
      this.#resized();
      this.fit();
    }
    this.draw();
  }

  fit() {
    if (!this.scene || !this.#size.width) return;
    this.isFitted = true;
    this.#setView(fit(this.scene, this.#size, { margin: 0 }));
  }

  zoom(factor, at = [this.#size.width / 2, this.#size.height / 2]) {
    if (!this.scene) return;
    this.#moveTo(zoomAt(this.view, factor, at, scaleLimits(this.scene, this.#size)));
  }

  /** Paint in the next frame; `done` is called right after it. */
  draw(done) {
    if (done) this.afterPaint.push(done);
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #moveTo(view) {
    this.isFitted = false;
    this.#setView(clamp(view, this.scene, this.#size));
  }

  #setView(view) {
    this.view = view;
    // At "fit" one finger still scrolls the page.
    this.element.style.setProperty("--touch", this.isFitted ? "pan-y" : "none");
    this.onView(view);
    this.draw();
  }

  #resized() {
    this.#setGrid();
    const canvas = this.panes[0]?.canvas;
    if (!canvas?.clientWidth) return;
    const before = this.#size;
    this.#size = { width: canvas.clientWidth, height: canvas.clientHeight };
    if (!this.scene) return;
    if (this.isFitted || !before.width) return this.fit();
    const [dx, dy] = [(this.#size.width - before.width) / 2, (this.#size.height - before.height) / 2];
    this.#setView(clamp(pan(this.view, dx, dy), this.scene, this.#size));
  }

  /** The room there is shows only once the height that the last grid needed is taken back. */
  #setGrid() {
    const { style } = this.element;
    style.removeProperty("--grid-height");
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!this.scene || !width || !height) return;
    const grid = gridOf(this.panes.length, this.scene, { width, height });
    style.setProperty("--columns", grid.columns);
    style.setProperty("--grid-height", `${Math.ceil(grid.height)}px`);
  }

  #paint() {
    if (this.scene && this.#size.width) {
      for (const pane of this.panes) this.#paintPane(pane);
    }
    for (const done of this.afterPaint.splice(0)) done();
  }

  #paintPane({ canvas, layers, element }) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.drawImage(this.#photoAt(width, height, ratio), 0, 0);
    const split = Math.round(this.swipeAt * width);
    const sides = layers.length > 1 ? [[0, split], [split, width - split]] : [[0, width]];
    layers.forEach((id, side) => this.#paintOver(context, id, [...sides[side], height], ratio));
    element.dataset.scale = this.view.scale.toFixed(4);
    this.divider.style.left = `${this.swipeAt * 100}%`;
  }

  /** The photo as all panes of one size show it; scaling it down is most of a frame's work. */
  #photoAt(width, height, ratio) {
    const { canvas, key } = this.#backdrop;
    const wanted = [this.scene.photo, this.view, width, height, ratio];
    if (wanted.every((value, index) => value === key[index])) return canvas;
    this.#backdrop.key = wanted;
    Object.assign(canvas, { width, height });
    if (!this.scene.photo) return canvas;
    const context = canvas.getContext("2d");
    this.#toImageSpace(context, ratio);
    const scale = (this.view.scale * ratio * this.scene.width) / this.scene.photo.width;
    context.imageSmoothingEnabled = scale < SHOW_PIXELS_FROM;
    context.imageSmoothingQuality = scale < 0.6 ? "medium" : "low";
    context.drawImage(this.scene.photo, 0, 0, this.scene.width, this.scene.height);
    return canvas;
  }

  #paintOver(context, id, [left, width, height], ratio) {
    const { pictures, opacity, isOutline, width: imageWidth, height: imageHeight } = this.scene;
    const picture = pictures[id];
    const strength = DIAGNOSTIC[id] ?? (isOutline ? STRONGER : 1);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(left, 0, width, height);
    context.clip();
    this.#toImageSpace(context, ratio);
    if (id in DIAGNOSTIC) {
      context.fillStyle = DIMMED;
      context.fillRect(0, 0, imageWidth, imageHeight);
    }
    if (picture) {
      context.imageSmoothingEnabled = false;
      context.globalAlpha = Math.min(1, opacity * strength);
      context.drawImage(picture, 0, 0, imageWidth, imageHeight);
    }
    context.restore();
  }

  #toImageSpace(context, ratio) {
    const { scale, x, y } = this.view;
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
  }

  #buildPane({ id, layers, title, key, pickers: wanted }) {
    const canvas = el("canvas", { class: "picture", role: "img" });
    const pickers = wanted.map((picker) => this.#buildPicker(picker));
    const abouts = layers.map(() => el("span", { class: "about" }));
    const plates = layers.length > 1
      ? pickers.map((picker, side) => el("div", { class: "plate" }, [picker, abouts[side]]))
      : [el("div", { class: "plate" }, [this.#buildTitle(id, { title, key, about: abouts[0] }), ...pickers])];
    const note = el("p", { class: "note", role: "status", hidden: true });
    const element = el("figure", { class: "pane", "data-testid": `pane-${id}` }, [canvas, ...plates, note]);
    this.#listen(canvas);
    return { layers, element, canvas, note, abouts, pickers };
  }

  #buildTitle(id, { title, key, about }) {
    return el("button", {
      class: "title", type: "button", title: "Enlarge or go back", on: { click: () => this.onEnlarge(id) },
    }, [el("kbd", { text: key }), el("span", { text: title }), about]);
  }

  #buildPicker({ role, label, options }) {
    const choices = options.map(({ value, label: text }) => el("option", { value, text }));
    const on = { change: (event) => this.onPick(role, event.target.value) };
    const named = { class: "picker", "aria-label": label, "data-testid": `viewer-pick-${role}` };
    return el("select", { ...named, on }, choices);
  }

  #showWords({ layers, note, abouts }) {
    layers.forEach((id, side) => (abouts[side].textContent = this.scene.captions[id] ?? ""));
    const text = layers.map((id) => this.scene.notes[id]).find(Boolean) ?? "";
    if (note.textContent !== text) note.textContent = text;
    setAttribute(note, "hidden", !text);
  }

  #listen(canvas) {
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(wheelFactor(event), [event.offsetX, event.offsetY]);
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => {
      if (this.isFitted) this.zoom(3, [event.offsetX, event.offsetY]);
      else this.fit();
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, pointIn(canvas, event));
    });
    canvas.addEventListener("pointermove", (event) => this.#drag(canvas, event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
  }

  #drag(canvas, event) {
    if (!this.#pointers.has(event.pointerId) || !this.scene) return;
    const before = [...this.#pointers.values()];
    this.#pointers.set(event.pointerId, pointIn(canvas, event));
    const after = [...this.#pointers.values()];
    if (after.length === 2) {
      this.#moveTo(pinch(this.view, before, after, scaleLimits(this.scene, this.#size)));
    } else if (after.length === 1) {
      const [dx, dy] = [after[0][0] - before[0][0], after[0][1] - before[0][1]];
      if (dx || dy) this.#moveTo(pan(this.view, dx, dy));
    }
  }

  #buildDivider() {
    const divider = el("div", {
      class: "divider",
      role: "slider",
      tabindex: 0,
      "aria-label": "Divider between the two pictures",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": 50,
      "data-testid": "viewer-divider",
    });
    const moveTo = (share) => {
      this.swipeAt = Math.min(1, Math.max(0, share));
      divider.setAttribute("aria-valuenow", Math.round(this.swipeAt * 100));
      this.draw();
    };
    divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
    divider.addEventListener("pointermove", (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const box = divider.parentElement.getBoundingClientRect();
      moveTo((event.clientX - box.left) / box.width);
    });
    divider.addEventListener("keydown", ({ key }) => {
      if (key === "ArrowLeft") moveTo(this.swipeAt - 0.02);
      if (key === "ArrowRight") moveTo(this.swipeAt + 0.02);
    });
    return divider;
  }
}

function pointIn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
