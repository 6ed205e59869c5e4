/** Everything around the panes: image and layout above, epochs below them, what to show at the end. */

import { ANY_DAMAGE_COLOR } from "./viewer_overlays.js";
import { ERROR_KINDS, HEAT_COLORS } from "./pixels.js";
import { PercentSlider, Segments, el, iconButton, picture, setAttribute } from "./viewer_dom.js";
import {
  PANE_NAMES,
  SHORTCUTS,
  countText,
  epochRole,
  letterOf,
  paneName,
  runOfPane,
  scoreCurve,
  scoreText,
  shareText,
} from "./viewer_model.js";

const LAYOUTS = [
  { value: "grid", label: "All panes as a grid", icon: "grid" },
  { value: "row", label: "All panes side by side", icon: "row" },
  { value: "single", label: "One pane", icon: "single" },
  { value: "swipe", label: "Two pictures with a divider (S)", icon: "swipe" },
];

const STYLES = [
  { value: "fill", label: "Fill", icon: "fill" },
  { value: "outline", label: "Outline (O)", icon: "outline" },
];

/** Above the panes: which image, which pane, which layout, how large. */
export class Header {
  constructor(act) {
    const go = (to) => () => act.navigate(to);
    const named = (id) => ({ "data-testid": id });
    this.previous = iconButton("previous", "Previous image (,)", go("previous"), named("viewer-previous"));
    this.next = iconButton("next", "Next image (.)", go("next"), named("viewer-next"));
    this.name = el("strong", { class: "name" });
    this.position = el("span", { class: "position" });
    this.tabs = new Segments("Panes", act.choosePane);
    this.layouts = new Segments("Layout", act.chooseLayout);
    this.scale = el("output", { class: "scale", "aria-label": "Zoom" });
    const zoom = el("div", { class: "zoom", role: "group", "aria-label": "Zoom" }, [
      iconButton("minus", "Zoom out (-)", () => act.zoom(1 / 1.4)),
      this.scale,
      iconButton("plus", "Zoom in (+)", () => act.zoom(1.4)),
      iconButton("fit", "Fit the photo (F)", act.fit, named("viewer-fit")),
      iconButton("help", "Keys (?)", act.toggleHelp, { ...named("viewer-help"), class: "button keys" }),
    ]);
    const names = el("div", { class: "names" }, [this.name, this.position]);
    this.element = el("header", { class: "header" }, [
      el("div", { class: "where" }, [this.previous, names, this.next]),
      this.tabs.element,
      el("div", { class: "tools" }, [this.layouts.element, zoom]),
    ]);
  }

  update({ data, layout, chosen, available, shown }) {
    this.name.textContent = data.image.name;
    this.name.title = data.image.name;
    this.position.textContent = data.position;
    for (const [button, isThere] of [[this.previous, data.has_previous], [this.next, data.has_next]]) {
      button.disabled = !isThere;
      button.hidden = !data.has_previous && !data.has_next;
    }
    this.layouts.update(LAYOUTS, layout);
    this.tabs.element.hidden = layout === "swipe" || available.length < (layout === "single" ? 2 : 3);
    const choices = available.map((id) => paneChoice(id, data.series));
    this.tabs.update(choices, layout === "single" ? chosen : new Set(shown));
  }

  showScale(scale) {
    this.scale.textContent = `${Math.round(scale * 100)}\u202f%`;
  }
}

/** One of several predictions is named by its letter; its name says the rest. */
function paneChoice(id, series) {
  const run = runOfPane(id);
  if (run === null || series.length < 2) return { value: id, label: PANE_NAMES[id] };
  const name = `${paneName(id, series.length)}, ${series[run].title}`;
  return { value: id, label: letterOf(run), name };
}

/** The list of keys, over the panes. */
export class Help {
  constructor(act) {
    this.close = iconButton("close", "Close", act.toggleHelp);
    this.list = el("dl");
    this.element = el("div", {
      class: "help", role: "dialog", "aria-label": "Keys", hidden: true, "data-testid": "viewer-help-panel",
    }, [el("div", { class: "head" }, [el("strong", { text: "Keys" }), this.close]), this.list]);
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle(runs) {
    this.element.hidden = this.isOpen;
    const rows = SHORTCUTS.filter(([, , isOfSeveral]) => runs > 1 || !isOfSeveral);
    this.list.replaceChildren(...rows.flatMap(([keys, what]) => {
      const caps = keys.split(" ").map((key) => el(key === "–" ? "span" : "kbd", { text: key }));
      return [el("dt", {}, caps), el("dd", { text: what })];
    }));
    if (this.isOpen) this.close.focus();
  }
}

/** Of several runs: which one is the active one, its score beside its name, and whether all go together. */
class RunBar {
  constructor(act) {
    this.act = act;
    this.chips = el("div", { class: "chips", role: "group", "aria-label": "Run" });
    const on = { change: () => act.goTogether(this.all.checked) };
    const named = { class: "switch", "data-testid": "viewer-all-runs" };
    this.all = el("input", { type: "checkbox", role: "switch", ...named, on });
    const all = el("label", { class: "setting", title: "All runs follow the epoch (A)" }, [
      this.all, el("span", { text: "All runs" }),
    ]);
    this.element = el("div", { class: "runs" }, [this.chips, all]);
  }

  update({ data: { series }, at, active, isTogether }) {
    this.element.hidden = series.length < 2;
    if (this.element.hidden) return;
    const signature = JSON.stringify(series.map(({ title }) => title));
    if (signature !== this.signature) {
      this.chips.replaceChildren(...series.map((entry, run) => this.#chip(entry, run)));
    }
    this.signature = signature;
    this.all.checked = isTogether;
    series.forEach(({ epochs }, run) => {
      const chip = this.chips.children[run];
      const { miou, epoch } = epochs[at[run]];
      chip.setAttribute("aria-pressed", String(run === active));
      chip.querySelector(".figure").textContent = scoreText(miou);
      chip.title = `${series[run].title}, epoch ${epoch}, IoU ${scoreText(miou)}`;
    });
  }

  #chip({ title }, run) {
    const on = { click: () => this.act.chooseRun(run) };
    return el("button", { type: "button", class: "run", "data-testid": `viewer-run-${run}`, on }, [
      el("span", { class: "letter", text: letterOf(run) }),
      el("span", { class: "title-of", text: title }),
      el("span", { class: "figure" }),
    ]);
  }
}

/** Below the panes: the active run's epochs on a slider with marks, and this image's score at the epoch. */
export class EpochBar {
  constructor(act) {
    this.runs = new RunBar(act);
    const on = { input: () => act.showIndex(Number(this.slider.value)) };
    const range = { type: "range", min: 0, step: 1, class: "range", "aria-label": "Epoch" };
    this.slider = el("input", { ...range, "data-testid": "viewer-epoch-slider", on });
    this.marks = el("div", { class: "marks" });
    this.label = el("span", { class: "spoken", "aria-live": "polite", "data-testid": "viewer-epoch-label" });
    this.number = el("input", {
      type: "number", class: "number", "aria-label": "Go to epoch", "data-testid": "viewer-epoch-number",
      on: { change: () => act.showEpoch(Number(this.number.value)) },
    });
    this.total = el("span", { class: "total", "aria-hidden": "true" });
    this.scores = el("dl", { class: "scores" });
    this.earlier = iconButton("previous", "Previous epoch (left arrow)", () => act.step(-1));
    this.later = iconButton("next", "Next epoch (right arrow)", () => act.step(1));
    this.jump = el("div", { class: "jump" }, [
      el("span", { class: "caption", text: "Epoch", "aria-hidden": "true" }),
      this.number,
      this.total,
      this.label,
    ]);
    this.track = el("div", { class: "track" }, [this.marks, this.slider]);
    const steps = el("div", { class: "steps" }, [this.earlier, this.track, this.later]);
    this.element = el("div", { class: "epochs" }, [this.runs.element, this.jump, steps, this.scores]);
    this.act = act;
  }

  update(state) {
    const { data: { series }, at, active } = state;
    const [{ epochs }, index] = [series[active], at[active]];
    const isAlone = epochs.length < 2;
    this.runs.update(state);
    for (const part of [this.jump, this.track.parentElement]) part.hidden = isAlone;
    setAttribute(this.element, "data-alone", isAlone && series.length < 2);
    this.#showMarks(epochs);
    const entry = epochs[index];
    this.slider.max = epochs.length - 1;
    this.slider.value = index;
    this.slider.setAttribute("aria-valuetext", `Epoch ${entry.epoch}`);
    this.slider.style.setProperty("--filled", `${(100 * index) / Math.max(1, epochs.length - 1)}%`);
    Object.assign(this.number, { min: epochs[0].epoch, max: epochs.at(-1).epoch, value: entry.epoch });
    this.total.textContent = `of ${epochs.at(-1).epoch}`;
    this.label.textContent = `Epoch ${entry.epoch} of ${epochs.at(-1).epoch}`;
    this.earlier.disabled = index === 0;
    this.later.disabled = index === epochs.length - 1;
    for (const mark of this.marks.querySelectorAll(".mark")) {
      setAttribute(mark, "aria-current", Number(mark.dataset.index) === index && "true");
    }
    this.#showScores(entry, epochs);
    this.element.hidden = isAlone && series.length < 2 && !this.scores.childElementCount;
  }

  /** The room of the figures stays when one epoch has none, so that the slider does not jump. */
  #showScores({ miou, dice }, epochs) {
    const isKnown = epochs.some((entry) => (entry.miou ?? entry.dice ?? null) !== null);
    const figure = (name, value) =>
      el("div", {}, [el("dt", { text: name }), el("dd", { text: scoreText(value) })]);
    this.scores.replaceChildren(...(isKnown ? [figure("IoU", miou), figure("Dice", dice)] : []));
    this.scores.title = "Of this image at this epoch";
  }

  #showMarks(epochs) {
    const signature = JSON.stringify(epochs.map((e) => [e.epoch, e.miou, e.is_best, e.is_champion]));
    if (signature === this.signature) return;
    this.signature = signature;
    const buttons = epochs.flatMap((entry, index) => {
      const role = epochRole(entry);
      if (!role) return [];
      const label = `Epoch ${entry.epoch}, ${role}`;
      const mark = el("button", {
        type: "button", class: "mark", "aria-label": label, title: label, "data-index": index,
        on: { click: () => this.act.showIndex(index) },
      }, [entry.is_best && picture("best"), entry.is_champion && picture("champion")].filter(Boolean));
      mark.style.setProperty("--at", index / Math.max(1, epochs.length - 1));
      return [mark];
    });
    this.marks.replaceChildren(curveOf(epochs), ...buttons);
  }
}

/** The image's IoU by epoch, faint behind the slider: where it is worth stopping. */
function curveOf(epochs) {
  const holder = el("div", { class: "curve", "aria-hidden": "true" });
  const lines = scoreCurve(epochs).map((points) => `<polyline points="${points}"/>`).join("");
  holder.innerHTML = `<svg viewBox="0 0 100 100" preserveAspectRatio="none">${lines}</svg>`;
  return holder;
}

/** At the end: classes, opacity, style, confidence, and the legend of the error map with its counts. */
export class Footer {
  constructor(act) {
    this.act = act;
    this.chips = el("div", { class: "chips", role: "group", "aria-label": "Classes shown" });
    this.opacity = new PercentSlider("Opacity", act.setOpacity, "viewer-opacity");
    this.confidence = new PercentSlider("Confidence from", act.setThreshold, "viewer-confidence");
    this.style = new Segments("Style of the regions", act.chooseStyle);
    this.legend = el("dl", { class: "legend", "aria-label": "Errors" });
    this.heat = heatLegend();
    const settings = el("div", { class: "settings" }, [
      this.style.element, this.opacity.element, this.confidence.element,
    ]);
    this.element = el("footer", { class: "footer" }, [
      el("div", { class: "line" }, [this.chips, settings]),
      el("div", { class: "legends" }, [this.legend, this.heat]),
    ]);
  }

  update({ data, hidden, opacity, isOutline, threshold, counts, available, painted, active }) {
    this.#showChips(data.classes, hidden);
    this.opacity.update(opacity);
    this.confidence.update(threshold);
    this.confidence.element.hidden = !available.includes("confidence");
    this.style.update(STYLES, isOutline ? "outline" : "fill");
    this.#showLegend(data, { counts, active });
    setAttribute(this.legend, "hidden", !available.includes("errors"));
    setAttribute(this.heat, "hidden", !painted.has("confidence"));
    this.heat.style.setProperty("--left-out", `${Math.round(100 * threshold)}%`);
  }

  #showChips(classes, hidden) {
    const signature = JSON.stringify(classes);
    if (signature !== this.signature) {
      this.signature = signature;
      this.chips.replaceChildren(...classes.map((entry) => this.#chip(entry)));
    }
    for (const chip of this.chips.children) {
      chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.index))));
    }
  }

  #chip({ index, name, color }) {
    const on = { click: () => this.act.toggleClass(index) };
    const attributes = { type: "button", class: "chip", "data-index": index, title: `Show or hide ${name}` };
    return el("button", { ...attributes, on }, [swatch(color), el("span", { text: name })]);
  }

  #showLegend({ any_damage: anyDamage, series }, { counts, active }) {
    const kinds = ERROR_KINDS.filter(({ key }) => !(anyDamage && key === "wrong_class"));
    const rows = kinds.map(({ key, name, color }) => {
      const amount = counts ? `${shareText(counts[key], counts.pixels)} · ${countText(counts[key])}` : "–";
      return el("div", { class: "kind", "data-kind": key }, [
        el("dt", {}, [swatch(color), el("span", { text: name })]), el("dd", { text: amount }),
      ]);
    });
    const truth = el("div", { class: "kind" }, [
      el("dt", {}, [swatch(ANY_DAMAGE_COLOR), el("span", { text: "Ground truth, any damage" })]),
    ]);
    const of = el("span", { class: "letter", text: letterOf(active), title: series[active].title });
    this.legend.replaceChildren(...(series.length > 1 ? [of] : []), ...rows, ...(anyDamage ? [truth] : []));
  }
}

/** The colours of the confidence map; what the threshold leaves out is struck from the bar. */
function heatLegend() {
  const words = (text) => el("span", { class: "amount", text });
  const bar = el("i", { class: "bar", role: "img", "aria-label": "From unsure, bright, to sure, dark" });
  bar.style.setProperty("--colors", HEAT_COLORS.join(", "));
  return el("div", { class: "heat", role: "group", "aria-label": "Confidence" }, [
    el("span", { class: "caption", text: "Confidence" }),
    words("0\u202f% unsure"), bar, words("100\u202f% sure"),
  ]);
}

function swatch(color) {
  const element = el("i", { class: "swatch" });
  element.style.background = color;
  return element;
}
