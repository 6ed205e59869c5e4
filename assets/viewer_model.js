/** What the viewer decides and says, without a document: the order of things, words, keys. */

export const PANE_NAMES = {
  photo: "Photo",
  truth: "Ground truth",
  prediction: "Prediction",
  errors: "Errors",
  confidence: "Confidence",
};

/** How several runs are told apart where there is no room for their names. */
const LETTERS = "ABCD";

export const NOT_LOADED = {
  photo: "The photo could not be loaded. Reload the page.",
  truth: "Ground truth could not be loaded. Reload the page.",
  prediction: "Prediction could not be loaded. Reload the page.",
  errors: "Errors need ground truth and prediction. Reload the page.",
  confidence: "Confidence could not be loaded. Reload the page.",
};

export const NO_CONFIDENCE = "This epoch has no confidence map.";

export const SIZES_DIFFER = "Ground truth and prediction differ in size, so they cannot be compared.";

/** Where an epoch stands in the list; the last one when it is not there. */
export function indexOfEpoch(epochs, epoch) {
  const index = epochs.findIndex((entry) => entry.epoch === epoch);
  return index < 0 ? epochs.length - 1 : index;
}

/** Where a run stands when another is at `epoch`: the same, else its last one before, else its first. */
export function indexUpTo(epochs, epoch) {
  return Math.max(0, epochs.findLastIndex((entry) => entry.epoch <= epoch));
}

/**
 * Where all runs stand (an index into each one's epochs) when the active one goes to `index`:
 * together with it, or where they are in `at`.
 */
export function placesAfter(series, at, { active, index, isTogether }) {
  const { epoch } = series[active].epochs[index];
  return series.map(({ epochs }, run) => {
    if (run === active) return index;
    return isTogether ? indexUpTo(epochs, epoch) : at[run];
  });
}

/**
 * Where all runs stand in a new list: the first at `epoch`; the others at what `former` (epochs by
 * id) says, or up to `epoch` when they are new or all go together.
 */
export function placesIn(series, epoch, former, isTogether) {
  return series.map(({ id, epochs }, run) => {
    if (run === 0) return indexOfEpoch(epochs, epoch);
    return isTogether || !(id in former) ? indexUpTo(epochs, epoch) : indexOfEpoch(epochs, former[id]);
  });
}

/** All other indices, the nearest first and the later one of two before the earlier one. */
export function nearestFirst(length, from) {
  return Array.from({ length }, (_, index) => index)
    .filter((index) => index !== from)
    .sort((a, b) => Math.abs(a - from) - Math.abs(b - from) || b - a);
}

/** Files fetched ahead at most: what the browser keeps by URL must not push itself out. */
export const MAX_AHEAD = 600;

/**
 * The URLs on the screen with the runs at `places`: `{truth, series: [{prediction, confidence}]}`.
 * A confidence that nothing on the screen depends on is null: only a threshold and the active run's
 * map need one.
 */
export function filesAt({ truth_url: truth, series }, places, { active, threshold }) {
  const files = series.map(({ epochs }, run) => {
    const { url, confidence_url: confidence } = epochs[places[run]];
    return { prediction: url, confidence: run === active || threshold > 0 ? confidence ?? null : null };
  });
  return { truth: truth ?? null, series: files };
}

/** What will be wanted next, the most urgent first: the active run's nearest epochs, with those of the
 * runs that go along; then the neighbours of the others. */
export function filesAhead(data, at, { active, threshold, isTogether }) {
  const { series } = data;
  const first = [active, ...series.keys()].filter((run, place, all) => all.indexOf(run) === place);
  const ahead = first.slice(0, isTogether ? 1 : undefined).flatMap((mover) =>
    nearestFirst(series[mover].epochs.length, at[mover]).map((index) =>
      placesAfter(series, at, { active: mover, index, isTogether }),
    ),
  );
  const urls = ahead.flatMap((places) => {
    const files = filesAt(data, places, { active, threshold }).series;
    return first.flatMap((run) => [files[run].prediction, files[run].confidence]);
  });
  return [...new Set(urls.filter(Boolean))].slice(0, MAX_AHEAD);
}

/** "0.62", or a dash where the figure is not defined. */
export function scoreText(value) {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}

/** "12,345 px", with a narrow space. */
export function countText(count) {
  return `${count.toLocaleString("en-US")}\u202fpx`;
}

/** A share of the image in percent; small ones keep two digits so that they do not read as nothing. */
export function shareText(count, pixels) {
  if (!count || !pixels) return "0\u202f%";
  const percent = (100 * count) / pixels;
  if (percent < 0.01) return "<\u202f0.01\u202f%";
  return `${percent < 10 ? percent.toFixed(2) : percent.toFixed(1)}\u202f%`;
}

/** What goes with an epoch in words, "best, champion"; nothing for most. */
export function epochRole({ is_best: isBest, is_champion: isChampion }) {
  return [isBest && "best", isChampion && "champion"].filter(Boolean).join(", ");
}

/** An epoch as a pane's title names it: "epoch 9, best"; nothing where there is only one. */
export function epochCaption(epochs, index) {
  if (epochs.length < 2) return "";
  return [`epoch ${epochs[index].epoch}`, epochRole(epochs[index])].filter(Boolean).join(", ");
}

/** What the panes' titles add, by pane: the epoch and, of several runs, the name. */
export function captionsOf(series, at, active) {
  const epochs = series.map((run, index) => epochCaption(run.epochs, at[index]));
  const captions = { errors: epochs[active], confidence: epochs[active] };
  series.forEach(({ title }, run) => {
    captions[predictionPane(run)] = [epochs[run], series.length > 1 && title].filter(Boolean).join(" · ");
  });
  return captions;
}

/**
 * The points of a small curve of the image's IoU by epoch, as SVG lines in a box of 100 x 100.
 * An epoch without a figure interrupts the curve. No curve (empty list) without two figures.
 */
export function scoreCurve(epochs) {
  const known = epochs.map(({ miou }) => miou).filter((miou) => miou !== null && miou !== undefined);
  if (known.length < 2) return [];
  const highest = Math.max(...known, 0.01);
  const lines = [[]];
  epochs.forEach(({ miou }, index) => {
    if (miou === null || miou === undefined) return lines.push([]);
    const x = (100 * index) / (epochs.length - 1);
    return lines.at(-1).push(`${x.toFixed(2)},${(100 - (100 * miou) / highest).toFixed(2)}`);
  });
  return lines.filter((line) => line.length > 1).map((line) => line.join(" "));
}

/**
 * How thick an outline has to be, in pixels of the label map, to look about three CSS pixels wide.
 * `labelScale`: CSS pixels per pixel of the label map.
 */
export function outlineThickness(labelScale) {
  return Math.min(8, Math.max(1, Math.round(3 / labelScale)));
}

/** The pane of a run's prediction; the first run's has no number. */
export function predictionPane(run) {
  return run ? `prediction-${run}` : "prediction";
}

/** The run whose prediction a pane shows, null for any other pane. */
export function runOfPane(id) {
  const found = /^prediction(?:-(\d+))?$/.exec(id);
  return found && Number(found[1] ?? 0);
}

/** "A", "B" for the first and second run. */
export function letterOf(run) {
  return LETTERS[run];
}

/** A pane's name: "Errors", "Prediction", or "Prediction B" of several runs. */
export function paneName(id, runs) {
  const run = runOfPane(id);
  if (run === null) return PANE_NAMES[id];
  return runs > 1 ? `${PANE_NAMES.prediction} ${letterOf(run)}` : PANE_NAMES.prediction;
}

/** All panes that there is something for, in the order of their number keys. */
export function availablePanes({ truth_url: truth, series }) {
  const hasConfidence = series.some(({ epochs }) => epochs.some((entry) => entry.confidence_url));
  const predictions = series.map((_, run) => predictionPane(run));
  const withTruth = (id) => (truth ? [id] : []);
  const confidence = hasConfidence ? ["confidence"] : [];
  return ["photo", ...withTruth("truth"), ...predictions, ...withTruth("errors"), ...confidence];
}

/**
 * The panes of the grid: `choices` (a Map of pane to boolean) where the user chose, else all but the
 * confidence of a single run. Never none.
 */
export function shownPanes(available, choices, runs) {
  const shown = available.filter((id) => choices.get(id) ?? (id !== "confidence" || runs > 1));
  return shown.length ? shown : available.slice(0, 1);
}

/** The two panes beside the divider: those chosen, if they are still there. */
export function sidesOf(chosen, available) {
  const isThere = chosen?.every((id) => available.includes(id));
  if (isThere) return chosen;
  return available.includes("prediction-1") ? ["prediction", "prediction-1"] : ["photo", "prediction"];
}

/** The sides after one of them (0 left, 1 right) was chosen; both change places rather than be alike. */
export function sidesAfter(sides, side, id) {
  const next = [...sides];
  if (id === sides[1 - side]) next[1 - side] = sides[side];
  next[side] = id;
  return next;
}

/**
 * The panes of a layout: `{id, layers, title, key, isActive, pickers}`. Two `layers` are split by the
 * divider; a picker is `{role, label, options: [{value, label}], value}`.
 */
export function panesOf({ layout, available, shown, chosen, sides, series, active }) {
  const runs = series.length;
  const pane = (id) => ({
    id,
    layers: [id],
    title: paneName(id, runs),
    key: String(available.indexOf(id) + 1),
    isActive: runs > 1 && runOfPane(id) === active,
    pickers: runs > 1 && (id === "errors" || id === "confidence") ? [runPicker(id, series, active)] : [],
  });
  if (layout === "single") return [pane(chosen)];
  if (layout !== "swipe") return shown.map(pane);
  const title = sides.map((id) => paneName(id, runs)).join(" | ");
  return [{ id: "swipe", layers: sides, title, pickers: sidePickers(available, series, sides) }];
}

function runPicker(id, series, active) {
  const options = series.map(({ title }, run) => {
    return { value: String(run), label: `${letterOf(run)} · ${title}` };
  });
  return { role: "run", label: `${PANE_NAMES[id]} of run`, options, value: String(active) };
}

function sidePickers(available, series, sides) {
  const options = available
    .filter((id) => id !== "errors" && id !== "confidence")
    .map((id) => ({ value: id, label: paneName(id, series.length) }));
  return ["Left", "Right"].map((name, side) => {
    return { role: name.toLowerCase(), label: `${name} of the divider`, options, value: sides[side] };
  });
}

/** Lower than this a grid does not get, in CSS pixels: there has to be room for zooming in. */
const LEAST_HEIGHT = 240;

/**
 * The grid that shows the photo largest, `{columns, height}`; of two that are alike the one with fewer
 * empty places. `photo` and `room` are `{width, height}`, `gap` lies between panes; the height leaves
 * out what the photo does not need.
 */
export function gridOf(count, photo, room, gap = 6) {
  const grids = Array.from({ length: count }, (_, index) => {
    const columns = index + 1;
    const rows = Math.ceil(count / columns);
    const across = (room.width - gap * (columns - 1)) / columns / photo.width;
    const down = (room.height - gap * (rows - 1)) / rows / photo.height;
    const needed = rows * across * photo.height + gap * (rows - 1);
    const height = Math.min(room.height, Math.max(LEAST_HEIGHT, needed));
    return { columns, height, scale: Math.min(across, down), empty: columns * rows - count };
  });
  const largest = Math.max(...grids.map(({ scale }) => scale));
  const alike = grids.filter(({ scale }) => scale >= 0.97 * largest);
  const [{ columns, height }] = alike.sort((a, b) => a.empty - b.empty || b.scale - a.scale);
  return { columns, height };
}

/** What the list of keys says; the last column: only where there are several runs. */
export const SHORTCUTS = [
  ["← →", "An epoch back or on"],
  ["Home End", "First or last epoch"],
  [", .", "Previous or next image"],
  ["1 – 9", "One pane large"],
  ["Esc", "All panes"],
  ["S", "Two pictures with a divider"],
  ["O", "Fill or outline"],
  ["F", "Fit the photo"],
  ["+ -", "Zoom; the mouse wheel too"],
  ["A", "All runs follow the epoch", true],
  ["N", "Next run", true],
  ["?", "This list"],
];

const KEYS = {
  ArrowLeft: { kind: "step", by: -1 },
  ArrowRight: { kind: "step", by: 1 },
  Home: { kind: "step", by: -Infinity },
  End: { kind: "step", by: Infinity },
  ArrowUp: { kind: "navigate", to: "previous" },
  ArrowDown: { kind: "navigate", to: "next" },
  ",": { kind: "navigate", to: "previous" },
  ".": { kind: "navigate", to: "next" },
  f: { kind: "fit" },
  "+": { kind: "zoom", factor: 1.4 },
  "=": { kind: "zoom", factor: 1.4 },
  "-": { kind: "zoom", factor: 1 / 1.4 },
  o: { kind: "outline" },
  s: { kind: "swipe" },
  a: { kind: "together" },
  n: { kind: "nextRun" },
  "?": { kind: "help" },
  Escape: { kind: "grid" },
};

/**
 * What a key means, null for nothing.
 * `focus` is where it was pressed: "text" and "slider" (any but the epoch slider) keep their own keys.
 */
export function actionFor({ key, ctrlKey, metaKey, altKey }, focus) {
  if (ctrlKey || metaKey || altKey || focus === "text") return null;
  if (focus === "slider" && /^(Arrow|Home|End|Page)/.test(key)) return null;
  if (/^[1-9]$/.test(key)) return { kind: "enlarge", pane: Number(key) - 1 };
  return KEYS[key.length === 1 ? key.toLowerCase() : key] ?? null;
}
