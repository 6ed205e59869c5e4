/**
 * The results viewer: a photo with its ground truth, the predictions of one or several runs, the errors
 * and the confidence of one of them (the active one), and one slider over its epochs. Everything happens
 * in the browser; Python hears of the first run's epoch once it stands still.
 *
 * Python half: pages/components/viewer.py, which documents `data`.
 */

import { LabelMaps, loadPhoto } from "./maps.js";
import { EpochBar, Footer, Header, Help } from "./viewer_controls.js";
import { el, setAttribute } from "./viewer_dom.js";
import {
  NOT_LOADED,
  actionFor,
  availablePanes,
  captionsOf,
  filesAhead,
  filesAt,
  indexOfEpoch,
  outlineThickness,
  panesOf,
  placesAfter,
  placesIn,
  runOfPane,
  shownPanes,
  sidesAfter,
  sidesOf,
} from "./viewer_model.js";
import { Overlays } from "./viewer_overlays.js";
import { Stage } from "./viewer_stage.js";

/** How long the epoch has to stand still before Python is told, in milliseconds. */
const TELL_AFTER = 400;

/** Narrower than this, in CSS pixels, the panes of several runs are shown one at a time at first. */
const NARROW = 700;

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
    this.paneChoices = new Map();
    this.sides = null;
    this.active = 0;
    this.isTogether = true;
    this.painted = new Set();
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
    const before = this.data?.series ?? [];
    const former = Object.fromEntries(before.map(({ id, epochs }, run) => [id, epochs[this.at[run]].epoch]));
    const epoch = isChosenByPython ? data.epoch : former[before[0].id];
    this.active = Math.max(0, data.series.findIndex(({ id }) => id === before[this.active]?.id));
    this.at = placesIn(data.series, epoch, former, this.isTogether && isChosenByPython);
    this.data = data;
    if (signature === this.signature && !isChosenByPython) return this.#setBusy(this.isLoading);
    this.signature = signature;
    if (isChosenByPython) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    this.root.style.setProperty("--stage-height", `${data.height}px`);
    this.available = availablePanes(data);
    if (!this.available.includes(this.chosen)) this.chosen = "prediction";
    const isNarrow = this.root.clientWidth < NARROW;
    if (data.series.length > 1 && before.length < 2 && isNarrow) this.layout = "single";
    this.#arrange();
    this.#load();
  }

  #build(host) {
    this.stage = new Stage({
      onView: (view) => this.#viewed(view),
      onEnlarge: (id) => this.#enlarge(id),
      onPick: (role, value) => this.#pick(role, value),
    });
    const act = this.#actions();
    this.header = new Header(act);
    this.epochBar = new EpochBar(act);
    this.footer = new Footer(act);
    this.help = new Help(act);
    this.busy = el("div", { class: "busy", role: "progressbar", "aria-label": "Loading", hidden: true });
    this.root = el("section", {
      class: "viewer",
      tabindex: 0,
      "aria-label": "Results viewer",
      "data-testid": "viewer",
      on: { keydown: (event) => this.#pressed(event) },
    }, [
      this.header.element, this.busy, this.stage.element, this.epochBar.element, this.footer.element,
      this.help.element,
    ]);
    this.stage.element.addEventListener("pointerdown", (event) => {
      if (!event.target.closest("button, select, .divider")) this.root.focus({ preventScroll: true });
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
      showEpoch: (epoch) => this.#show(indexOfEpoch(this.#epochs, epoch)),
      chooseRun: (run) => this.#chooseRun(run),
      goTogether: (isTogether) => this.#goTogether(isTogether),
      toggleHelp: () => this.#toggleHelp(),
      zoom: (factor) => this.stage.zoom(factor),
      fit: () => this.stage.fit(),
      chooseLayout: (layout) => this.#choose(layout, this.chosen),
      choosePane: (id) => (this.layout === "single" ? this.#choose("single", id) : this.#togglePane(id)),
      chooseStyle: redraw((style) => (this.isOutline = style === "outline")),
      setOpacity: redraw((opacity) => (this.opacity = opacity)),
      setThreshold: (threshold) => {
        this.threshold = threshold;
        this.#load();
      },
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
    if (kind === "enlarge" && this.available[pane]) this.#enlarge(this.available[pane]);
    if (kind === "swipe") this.#choose(this.layout === "swipe" ? "grid" : "swipe", this.chosen);
    if (kind === "grid" && this.help.isOpen) this.#toggleHelp();
    else if (kind === "grid") this.#choose("grid", this.chosen);
    if (kind === "nextRun") this.#chooseRun((this.active + 1) % this.data.series.length);
    if (kind === "together") this.#goTogether(!this.isTogether);
    if (kind === "help") this.#toggleHelp();
    if (kind === "outline") {
      this.isOutline = !this.isOutline;
      this.#draw();
    }
  }

  /** The epochs on the slider. */
  get #epochs() {
    return this.data.series[this.active].epochs;
  }

  #step(by) {
    this.#show(Math.min(this.#epochs.length - 1, Math.max(0, this.at[this.active] + by)));
  }

  #show(index) {
    if (index !== this.at[this.active]) this.#moveTo(index);
  }

  /** The active run goes to another epoch, and the others with it if they go together. */
  #moveTo(index) {
    const [before] = this.at;
    this.at = placesAfter(this.data.series, this.at, { ...this, index });
    this.#load();
    if (this.at[0] === before) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#tellEpoch(), TELL_AFTER);
  }

  #tellEpoch() {
    clearTimeout(this.timer);
    this.timer = null;
    const { epoch } = this.data.series[0].epochs[this.at[0]];
    this.setStateValue("epoch", { epoch, rev: this.data.rev });
  }

  #chooseRun(run) {
    if (run === this.active) return;
    this.active = run;
    this.#arrange();
    this.#load();
  }

  #goTogether(isTogether) {
    this.isTogether = isTogether;
    this.#moveTo(this.at[this.active]);
  }

  #pick(role, value) {
    if (role === "run") return this.#chooseRun(Number(value));
    this.sides = sidesAfter(sidesOf(this.sides, this.available), role === "left" ? 0 : 1, value);
    return this.#choose("swipe", this.chosen);
  }

  #togglePane(id) {
    const isShown = shownPanes(this.available, this.paneChoices, this.data.series.length).includes(id);
    this.paneChoices.set(id, !isShown);
    this.#choose(this.layout, this.chosen);
  }

  #toggleHelp() {
    this.help.toggle(this.data.series.length);
    if (!this.help.isOpen) this.root.focus({ preventScroll: true });
  }

  #navigate(to) {
    const isThere = to === "next" ? this.data.has_next : this.data.has_previous;
    if (!isThere) return;
    this.#setBusy(true);
    if (this.timer) this.#tellEpoch(); // told later, it would break off the script's run that hears of the wish
    this.setTriggerValue("navigate", { to });
  }

  #enlarge(id) {
    const isEnlarged = this.layout === "single" && this.chosen === id;
    this.#choose(isEnlarged || id === "swipe" ? "grid" : "single", id === "swipe" ? this.chosen : id);
  }

  /** Of several runs the one whose prediction is enlarged becomes the active one. */
  #choose(layout, pane) {
    this.layout = layout;
    this.chosen = pane;
    if (layout === "single") this.active = runOfPane(pane) ?? this.active;
    this.#arrange();
    this.#load();
  }

  #arrange() {
    const { layout, available, chosen, active, data: { series } } = this;
    const shown = shownPanes(available, this.paneChoices, series.length);
    const sides = sidesOf(this.sides, available);
    const panes = panesOf({ layout, available, shown, chosen, sides, series, active });
    this.painted = new Set(panes.flatMap(({ layers }) => layers));
    this.stage.setPanes(panes, layout);
    this.#updateControls();
  }

  #updateControls() {
    const shown = shownPanes(this.available, this.paneChoices, this.data.series.length);
    const state = { ...this, shown };
    for (const part of [this.header, this.epochBar, this.footer]) part.update(state);
  }

  /**
   * Get the files of the image and epochs wanted now, then draw. Decoded ones are drawn at once; until
   * the others are there the old picture stays. A later call wins over an earlier one still waiting.
   */
  async #load() {
    const ticket = (this.ticket += 1);
    const { data, at } = this;
    const files = filesAt(data, at, this);
    const urls = [files.truth, ...files.series.flatMap(Object.values)].filter(Boolean).map(resolved);
    this.#updateControls();
    this.isLoading = this.photo.url !== data.image.url || !urls.every((url) => maps.peek(url));
    if (this.isLoading) {
      this.#setBusy(true);
      const photo = this.#loadPhoto(data.image.url);
      await Promise.allSettled([photo, ...urls.map((url) => maps.get(url))]);
      if (ticket !== this.ticket) return;
      this.photo = await photo;
    }
    const map = (url) => (url ? maps.peek(resolved(url)) : null);
    const series = files.series.map(({ prediction, confidence }) => {
      return { prediction: map(prediction), confidence: map(confidence), hasConfidence: Boolean(confidence) };
    });
    this.shown = { data, at, active: this.active, truth: map(files.truth), series };
    this.isLoading = false;
    this.#setBusy(false);
    this.#draw(() => this.#prefetch());
  }

  async #loadPhoto(url) {
    if (this.photo.url === url) return this.photo;
    return { url, bitmap: await loadPhoto(resolved(url)).catch(() => null) };
  }

  #prefetch() {
    maps.prefetch(filesAhead(this.data, this.at, this).map(resolved));
  }

  /** Compute what changed and paint it; then `data-epoch-shown` says which epoch is on the screen. */
  #draw(done = () => {}) {
    if (!this.shown) return;
    const { hidden, isOutline, threshold, opacity, shown, painted: wanted } = this;
    const { data: { classes, any_damage: anyDamage, image, series }, at, active } = shown;
    const thicknessOf = (map) => this.#thicknessOf(map);
    const look = { classes, hidden, anyDamage, isOutline, threshold, thicknessOf, active, wanted };
    const { counts, notes, pictures } = this.overlays.update(shown, look);
    const photoNote = this.photo.bitmap ? "" : NOT_LOADED.photo;
    const { width, height } = image;
    const scene = { photo: this.photo.bitmap, width, height, pictures, opacity, isOutline };
    const captions = captionsOf(series, at, active);
    this.counts = counts;
    this.stage.setScene({ ...scene, captions, notes: { ...notes, photo: photoNote } });
    this.#updateControls();
    this.stage.draw(() => {
      if (this.shown !== shown) return;
      const epochs = series.map((run, index) => run.epochs[at[index]].epoch);
      Object.assign(this.root.dataset, { epochShown: epochs[0], epochsShown: epochs.join(" ") });
      this.root.dataset.imageShown = image.id;
      setAttribute(this.root, "data-counts", counts && JSON.stringify(counts));
      done();
    });
  }

  #viewed(view) {
    this.header.showScale(view.scale);
    const map = this.shown?.series[0].prediction ?? this.shown?.truth;
    if (!this.isOutline || !map || this.#thicknessOf(map) === this.thickness) return;
    this.thickness = this.#thicknessOf(map);
    this.#draw();
  }

  #thicknessOf(map) {
    return outlineThickness((this.stage.view.scale * this.shown.data.image.width) / map.width);
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
  if (target.matches("input[type=number], select")) return "text";
  if (target.matches("[data-testid=viewer-epoch-slider]")) return "epochs";
  return target.matches("input, [role=slider]") ? "slider" : "viewer";
}
