/** What the viewer decides and says, without a document: the order of things, words, keys. */

export const PANE_NAMES = {
  photo: "Photo",
  truth: "Ground truth",
  prediction: "Prediction",
  errors: "Errors",
};

export const NOT_LOADED = {
  photo: "The photo could not be loaded. Reload the page.",
  truth: "Ground truth could not be loaded. Reload the page.",
  prediction: "Prediction could not be loaded. Reload the page.",
  errors: "Errors need ground truth and prediction. Reload the page.",
};

export const SIZES_DIFFER = "Ground truth and prediction differ in size, so they cannot be compared.";

/** Where an epoch stands in the list; the last one when it is not there. */
export function indexOfEpoch(epochs, epoch) {
  const index = epochs.findIndex((entry) => entry.epoch === epoch);
  return index < 0 ? epochs.length - 1 : index;
}

/** All other indices, the nearest first and the later one of two before the earlier one. */
export function nearestFirst(length, from) {
  return Array.from({ length }, (_, index) => index)
    .filter((index) => index !== from)
    .sort((a, b) => Math.abs(a - from) - Math.abs(b - from) || b - a);
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
  Escape: { kind: "grid" },
};

/**
 * What a key means, null for nothing.
 * `focus` is where it was pressed: "text" and "slider" (any but the epoch slider) keep their own keys.
 */
export function actionFor({ key, ctrlKey, metaKey, altKey }, focus) {
  if (ctrlKey || metaKey || altKey || focus === "text") return null;
  if (focus === "slider" && /^(Arrow|Home|End|Page)/.test(key)) return null;
  if (/^[1-4]$/.test(key)) return { kind: "enlarge", pane: Number(key) - 1 };
  return KEYS[key.length === 1 ? key.toLowerCase() : key] ?? null;
}
