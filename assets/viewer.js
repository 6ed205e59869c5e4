/**
 * The results viewer: a photo with its ground truth, prediction and errors, and one slider over the
 * epochs of a run. Everything happens in the browser; Python hears of the epoch once it stands still.
 *
 * Python half: pages/components/viewer.py, which documents `data`.
 */

import { LabelMaps, loadPhoto } from "./maps.js";
import { EpochBar, Footer, Header } from "./viewer_controls.js";
import { el, setAttribute } from "./viewer_dom.js";
import {
  NOT_LOADED,
  actionFor,
  epochCaption,
  indexOfEpoch,
  nearestFirst,
  outlineThickness,
} from "./viewer_model.js";
import { Overlays } from "./viewer_overlays.js";
import { Stage, panesOf } from "./viewer_stage.js";

/** How long the epoch has to stand still before Python is told, in milliseconds. */
const TELL_AFTER = 400;

/** The app's root: this module lies at assets/<hash>/viewer.js. All URLs in `data` start there. */
const ROOT = new URL("../../", import.meta.url);

const viewers = new WeakMap();
const maps = new LabelMaps();

const styles = new CSSStyleSheet();
await styles.replace(await (await fetch(new URL("./viewer.css", import.meta.url))).text());

/** Called by Streamlit on every run of the script, with the same `parentElement` while it is shown. */
export function mount(component) {
  const host = component.parentElement;
  if (!viewers.has(host)) viewers.set(host, new Viewer(host));
  viewers.get(host).receive(component);
}

export function unmount(host) {
  viewers.get(host)?.destroy();
  viewers.delete(host);
}

class Viewer {
  constructor(host) {
    this.layout = "grid";
    this.chosen = "prediction";
    this.opacity = 0.55;
    this.threshold = 0;
    this.isOutline = false;
    this.hidden = new Set();
    this.overlays = new Overlays();
    this.thickness = 1;
    this.photo = { url: null, bitmap: null };
    this.ticket = 0;
    this.isLoading = false;
    this.#build(host);
  }

  destroy() {
    clearTimeout(this.timer);
    this.stage.destroy();
    maps.prefetch([]);
    this.root.remove();
  }

  /** Take over what Python sent. The epoch follows Python only when `rev` says that it chose one. */
  receive({ data, setStateValue, setTriggerValue }) {
    Object.assign(this, { setStateValue, setTriggerValue });
    const signature = JSON.stringify({ ...data, rev: 0, epoch: 0 });
    const isChosenByPython = !this.data || data.rev !== this.data.rev;
    const shown = isChosenByPython ? data.epoch : this.data.epochs[this.index].epoch;
    this.data = data;
    this.index = indexOfEpoch(data.epochs, shown);
    if (signature === this.signature && !isChosenByPython) return this.#setBusy(this.isLoading);
    this.signature = signature;
    if (isChosenByPython) clearTimeout(this.timer);
    this.root.style.setProperty("--stage-height", `${data.height}px`);
    if (!data.panes.includes(this.chosen)) this.chosen = "prediction";
    this.#arrange();
    this.#load();
  }

  #build(host) {
    this.stage = new Stage({ onView: (view) => this.#viewed(view), onEnlarge: (id) => this.#enlarge(id) });
    const act = this.#actions();
    this.header = new Header(act);
    this.epochBar = new EpochBar(act);
    this.footer = new Footer(act);
    this.busy = el("div", { class: "busy", role: "progressbar", "aria-label": "Loading", hidden: true });
    this.root = el("section", {
      class: "viewer",
      tabindex: 0,
      "aria-label": "Results viewer",
      "data-testid": "viewer",
      on: { keydown: (event) => this.#pressed(event) },
    }, [this.header.element, this.busy, this.stage.element, this.epochBar.element, this.footer.element]);
    this.stage.element.addEventListener("pointerdown", (event) => {
      if (!event.target.closest("button, .divider")) this.root.focus({ preventScroll: true });
    });
    const scope = host.getRootNode();
    if (!scope.adoptedStyleSheets.includes(styles)) scope.adoptedStyleSheets.push(styles);
    host.append(this.root);
  }

  #actions() {
    const redraw = (change) => (value) => {
      change(value);
      this.#draw();
    };
    return {
      navigate: (to) => this.#navigate(to),
      step: (by) => this.#step(by),
      showIndex: (index) => this.#show(index),
      showEpoch: (epoch) => this.#show(indexOfEpoch(this.data.epochs, epoch)),
      zoom: (factor) => this.stage.zoom(factor),
      fit: () => this.stage.fit(),
      chooseLayout: (layout) => this.#choose(layout, this.chosen),
      choosePane: (pane) => this.#choose(this.layout, pane),
      chooseStyle: redraw((style) => (this.isOutline = style === "outline")),
      setOpacity: redraw((opacity) => (this.opacity = opacity)),
      setThreshold: redraw((threshold) => (this.threshold = threshold)),
      toggleClass: redraw((index) => {
        this.hidden = new Set(this.hidden);
        if (!this.hidden.delete(index)) this.hidden.add(index);
      }),
    };
  }

  #pressed(event) {
    // Streamlit's own r (rerun) and c (clear the cache) must not fire through the viewer.
    event.stopPropagation();
    const action = actionFor(event, focusOf(event.target));
    if (!action || !this.data) return;
    event.preventDefault();
    const { kind, by, to, factor, pane } = action;
    if (kind === "step") this.#step(by);
    if (kind === "navigate") this.#navigate(to);
    if (kind === "zoom") this.stage.zoom(factor);
    if (kind === "fit") this.stage.fit();
    if (kind === "enlarge" && this.data.panes[pane]) this.#enlarge(this.data.panes[pane]);
    if (kind === "swipe") this.#choose(this.layout === "swipe" ? "grid" : "swipe", this.chosen);
    if (kind === "grid") this.#choose("grid", this.chosen);
    if (kind === "outline") {
      this.isOutline = !this.isOutline;
      this.#draw();
    }
  }

  #step(by) {
    this.#show(Math.min(this.data.epochs.length - 1, Math.max(0, this.index + by)));
  }

  #show(index) {
    if (index === this.index) return;
    this.index = index;
    this.#load();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.setStateValue("epoch", { epoch: this.data.epochs[this.index].epoch, rev: this.data.rev });
    }, TELL_AFTER);
  }

  #navigate(to) {
    const isThere = to === "next" ? this.data.has_next : this.data.has_previous;
    if (!isThere) return;
    this.#setBusy(true);
    this.setTriggerValue("navigate", { to });
  }

  #enlarge(id) {
    const isEnlarged = this.layout === "single" && this.chosen === id;
    this.#choose(isEnlarged || id === "swipe" ? "grid" : "single", id === "swipe" ? this.chosen : id);
  }

  #choose(layout, pane) {
    this.layout = layout;
    this.chosen = layout === "swipe" && pane !== "truth" ? "photo" : pane;
    this.#arrange();
    this.#draw();
  }

  #arrange() {
    this.stage.setPanes(panesOf(this.layout, this.data.panes, this.chosen), this.layout);
    this.#updateControls();
  }

  #updateControls() {
    const state = { ...this, available: this.data.panes, counts: this.counts };
    for (const part of [this.header, this.epochBar, this.footer]) part.update(state);
  }

  /**
   * Get the files of the image and epoch wanted now, then draw. Decoded ones are drawn at once; until
   * the others are there the old picture stays. A later call wins over an earlier one still waiting.
   */
  async #load() {
    const ticket = (this.ticket += 1);
    const { data } = this;
    const entry = data.epochs[this.index];
    const urls = { truth: data.truth_url, prediction: entry.url, confidence: entry.confidence_url };
    this.#updateControls();
    this.isLoading = !this.#isReady(urls);
    if (this.isLoading) {
      this.#setBusy(true);
      const photo = this.#loadPhoto(data.image.url);
      const loads = Object.values(urls).filter(Boolean).map((url) => maps.get(resolved(url)));
      await Promise.allSettled([photo, ...loads]);
      if (ticket !== this.ticket) return;
      this.photo = await photo;
    }
    const map = (url) => (url ? maps.peek(resolved(url)) : null);
    this.shown = { image: data.image, epoch: entry.epoch };
    for (const [name, url] of Object.entries(urls)) this.shown[name] = map(url);
    this.isLoading = false;
    this.#setBusy(false);
    this.#draw(() => this.#prefetch());
  }

  #isReady(urls) {
    const areDecoded = Object.values(urls).every((url) => !url || maps.peek(resolved(url)));
    return areDecoded && this.photo.url === this.data.image.url;
  }

  async #loadPhoto(url) {
    if (this.photo.url === url) return this.photo;
    return { url, bitmap: await loadPhoto(resolved(url)).catch(() => null) };
  }

  #prefetch() {
    const order = nearestFirst(this.data.epochs.length, this.index).map((index) => this.data.epochs[index]);
    const urls = order.flatMap((entry) => [entry.url, entry.confidence_url]).filter(Boolean);
    maps.prefetch(urls.map(resolved));
  }

  /** Compute what changed and paint it; then `data-epoch-shown` says which epoch is on the screen. */
  #draw(done = () => {}) {
    if (!this.shown) return;
    const { classes, any_damage: anyDamage } = this.data;
    const { hidden, isOutline, threshold, opacity, shown } = this;
    const thicknessOf = (map) => this.#thicknessOf(map);
    const look = { classes, hidden, anyDamage, isOutline, threshold, thicknessOf };
    const { counts, notes, ...overlays } = this.overlays.update(shown, look);
    const photoNote = this.photo.bitmap ? "" : NOT_LOADED.photo;
    const { width, height } = shown.image;
    const scene = { photo: this.photo.bitmap, width, height, overlays, opacity, isOutline };
    const caption = epochCaption(this.data.epochs, this.index);
    this.counts = counts;
    this.stage.setScene({ ...scene, caption, notes: { ...notes, photo: photoNote } });
    this.#updateControls();
    this.stage.draw(() => {
      if (this.shown !== shown) return;
      this.root.dataset.epochShown = shown.epoch;
      this.root.dataset.imageShown = shown.image.id;
      setAttribute(this.root, "data-counts", counts && JSON.stringify(counts));
      done();
    });
  }

  #viewed(view) {
    this.header.showScale(view.scale);
    const map = this.shown?.prediction ?? this.shown?.truth;
    if (!this.isOutline || !map || this.#thicknessOf(map) === this.thickness) return;
    this.thickness = this.#thicknessOf(map);
    this.#draw();
  }

  #thicknessOf(map) {
    return outlineThickness((this.stage.view.scale * this.shown.image.width) / map.width);
  }

  #setBusy(isBusy) {
    setAttribute(this.busy, "hidden", !isBusy);
    this.root.setAttribute("aria-busy", String(isBusy));
  }
}

function resolved(url) {
  return new URL(url, ROOT).href;
}

/** Where a key was pressed, as `actionFor` wants it. */
function focusOf(target) {
  if (target.matches("input[type=number]")) return "text";
  if (target.matches("[data-testid=viewer-epoch-slider]")) return "epochs";
  return target.matches("input, [role=slider]") ? "slider" : "viewer";
}
