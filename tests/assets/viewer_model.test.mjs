import assert from "node:assert/strict";
import { test } from "node:test";

import {
  MAX_AHEAD,
  actionFor,
  availablePanes,
  captionsOf,
  countText,
  epochCaption,
  epochRole,
  filesAhead,
  filesAt,
  gridOf,
  indexOfEpoch,
  indexUpTo,
  nearestFirst,
  outlineThickness,
  paneName,
  panesOf,
  placesAfter,
  placesIn,
  predictionPane,
  runOfPane,
  scoreCurve,
  scoreText,
  shareText,
  shownPanes,
  sidesAfter,
  sidesOf,
} from "../../assets/viewer_model.js";

const EPOCHS = [{ epoch: 3 }, { epoch: 5, is_best: true }, { epoch: 9, is_best: true, is_champion: true }];

test("an epoch is found by its number, an unknown one is the last", () => {
  assert.equal(indexOfEpoch(EPOCHS, 5), 1);
  assert.equal(indexOfEpoch(EPOCHS, 4), 2);
});

test("the nearest epochs are loaded first, the later one before the earlier one", () => {
  assert.deepEqual(nearestFirst(5, 1), [2, 0, 3, 4]);
  assert.deepEqual(nearestFirst(1, 0), []);
});

test("figures read well", () => {
  assert.equal(scoreText(0.625), "0.63");
  assert.equal(scoreText(null), "–");
  assert.equal(countText(12345), "12,345\u202fpx");
});

test("a share of the image never reads as nothing when there is something", () => {
  assert.equal(shareText(0, 100), "0\u202f%");
  assert.equal(shareText(1, 1_000_000), "<\u202f0.01\u202f%");
  assert.equal(shareText(25, 1000), "2.50\u202f%");
  assert.equal(shareText(250, 1000), "25.0\u202f%");
});

test("best and champion are said in words", () => {
  assert.equal(epochRole(EPOCHS[0]), "");
  assert.equal(epochCaption(EPOCHS, 2), "epoch 9, best, champion");
  assert.equal(epochCaption([{ epoch: 3 }], 0), "");
});

test("the curve is interrupted where an epoch has no figure", () => {
  const curve = scoreCurve([0.2, 0.4, null, 0.4, 0.2].map((miou) => ({ miou })));

  assert.deepEqual(curve, ["0.00,50.00 25.00,0.00", "75.00,0.00 100.00,50.00"]);
});

test("there is no curve of one figure", () => {
  assert.deepEqual(scoreCurve([{ miou: 0.4 }, { miou: null }]), []);
});

test("an outline gets thicker the smaller the picture is shown", () => {
  assert.deepEqual([10, 1, 0.5, 0.01].map(outlineThickness), [1, 3, 6, 8]);
});

test("keys step, navigate and fit", () => {
  assert.deepEqual(actionFor({ key: "ArrowRight" }, "viewer"), { kind: "step", by: 1 });
  assert.deepEqual(actionFor({ key: "." }, "epochs"), { kind: "navigate", to: "next" });
  assert.deepEqual(actionFor({ key: "F" }, "viewer"), { kind: "fit" });
  assert.deepEqual(actionFor({ key: "4" }, "viewer"), { kind: "enlarge", pane: 3 });
});

test("sliders keep their arrows, the number box all keys, the browser its shortcuts", () => {
  assert.equal(actionFor({ key: "ArrowRight" }, "slider"), null);
  assert.equal(actionFor({ key: "4" }, "text"), null);
  assert.equal(actionFor({ key: "f", ctrlKey: true }, "viewer"), null);
  assert.equal(actionFor({ key: "r" }, "viewer"), null);
});

test("number keys reach every pane, the new ones do what they say", () => {
  assert.deepEqual(actionFor({ key: "9" }, "viewer"), { kind: "enlarge", pane: 8 });
  assert.deepEqual(actionFor({ key: "A" }, "viewer"), { kind: "together" });
  assert.deepEqual(actionFor({ key: "n" }, "epochs"), { kind: "nextRun" });
  assert.deepEqual(actionFor({ key: "?" }, "viewer"), { kind: "help" });
  assert.equal(actionFor({ key: "?" }, "text"), null);
});

/** A run with these epochs; files are named after both. */
function run(id, epochs, hasConfidence = true) {
  const entry = (epoch) => ({
    epoch,
    url: `${id}${epoch}`,
    confidence_url: hasConfidence ? `${id}${epoch}c` : null,
  });
  return { id, title: `Run ${id}`, epochs: epochs.map(entry) };
}

const LONG = run("a", [1, 2, 3, 4]);
const SHORT = run("b", [1, 2]);
const GAPS = run("c", [2, 4], false);
const SERIES = [LONG, SHORT, GAPS];

test("a run follows to the same epoch, or to its last one before it", () => {
  assert.equal(indexUpTo(SHORT.epochs, 2), 1);
  assert.equal(indexUpTo(SHORT.epochs, 4), 1);
  assert.equal(indexUpTo(GAPS.epochs, 3), 0);
  assert.equal(indexUpTo(GAPS.epochs, 1), 0);
});

test("together all runs move, else only the active one", () => {
  const at = [0, 0, 0];

  assert.deepEqual(placesAfter(SERIES, at, { active: 0, index: 3, isTogether: true }), [3, 1, 1]);
  assert.deepEqual(placesAfter(SERIES, at, { active: 1, index: 1, isTogether: true }), [1, 1, 0]);
  assert.deepEqual(placesAfter(SERIES, at, { active: 1, index: 1, isTogether: false }), [0, 1, 0]);
});

test("a run that stays in the list keeps its epoch, a new one follows the first", () => {
  assert.deepEqual(placesIn(SERIES, 3, { b: 1 }, false), [2, 0, 0]);
  assert.deepEqual(placesIn(SERIES, 3, { b: 1 }, true), [2, 1, 0]);
  assert.deepEqual(placesIn([LONG], 2, {}, true), [1]);
});

test("confidence maps are asked for only where something depends on them", () => {
  const data = { truth_url: "t", series: SERIES };

  assert.deepEqual(filesAt(data, [0, 1, 0], { active: 1, threshold: 0 }), {
    truth: "t",
    series: [
      { prediction: "a1", confidence: null },
      { prediction: "b2", confidence: "b2c" },
      { prediction: "c2", confidence: null },
    ],
  });
  const confidences = filesAt(data, [0, 1, 0], { active: 1, threshold: 0.1 }).series.map((f) => f.confidence);
  assert.deepEqual(confidences, ["a1c", "b2c", null]);
});

test("the active run's nearest epochs come first, each with the runs that go along", () => {
  const data = { truth_url: null, series: [LONG, SHORT] };

  const ahead = filesAhead(data, [1, 1], { active: 0, threshold: 0, isTogether: true });

  assert.deepEqual(ahead, ["a3", "a3c", "b2", "a1", "a1c", "b1", "a4", "a4c"]);
});

test("runs that stand still are fetched after the active one", () => {
  const data = { truth_url: null, series: [LONG, SHORT] };

  const ahead = filesAhead(data, [1, 1], { active: 1, threshold: 0, isTogether: false });

  assert.deepEqual(ahead.slice(0, 3), ["b1", "b1c", "a2"]);
  assert.deepEqual(ahead.filter((url) => /^a[134]$/.test(url)), ["a3", "a1", "a4"]);
});

test("what is fetched ahead has a bound", () => {
  const numbers = Array.from({ length: 500 }, (_, index) => index + 1);
  const data = { truth_url: null, series: [run("a", numbers), run("b", numbers)] };

  const ahead = filesAhead(data, [250, 250], { active: 0, threshold: 0, isTogether: true });

  assert.equal(ahead.length, MAX_AHEAD);
  assert.equal(ahead[0], "a252");
});

test("captions name the epoch and, of several runs, the run; a single run's stay short", () => {
  assert.deepEqual(captionsOf([LONG, SHORT], [3, 1], 1), {
    prediction: "epoch 4 · Run a",
    "prediction-1": "epoch 2 · Run b",
    errors: "epoch 2",
    confidence: "epoch 2",
  });
  assert.equal(captionsOf([LONG], [0], 0).prediction, "epoch 1");
});

test("there is a pane for everything that there is, in a fixed order", () => {
  const two = availablePanes({ truth_url: "t", series: [LONG, SHORT] });

  assert.deepEqual(two, ["photo", "truth", "prediction", "prediction-1", "errors", "confidence"]);
  assert.deepEqual(availablePanes({ truth_url: null, series: [GAPS] }), ["photo", "prediction"]);
});

test("a pane's run and its name are found from its id", () => {
  assert.deepEqual([0, 2].map(predictionPane).map(runOfPane), [0, 2]);
  assert.equal(runOfPane("errors"), null);
  assert.equal(paneName("prediction", 1), "Prediction");
  assert.equal(paneName("prediction-1", 2), "Prediction B");
});

test("confidence is shown at first beside several runs only, and never no pane at all", () => {
  const available = ["photo", "prediction", "confidence"];

  assert.deepEqual(shownPanes(available, new Map(), 1), ["photo", "prediction"]);
  assert.deepEqual(shownPanes(available, new Map(), 2), available);
  assert.deepEqual(shownPanes(available, new Map([["photo", false], ["confidence", true]]), 1), [
    "prediction",
    "confidence",
  ]);
  assert.deepEqual(shownPanes(["photo"], new Map([["photo", false]]), 1), ["photo"]);
});

test("the divider stands between two runs, or between photo and prediction, until one chooses", () => {
  const two = ["photo", "truth", "prediction", "prediction-1"];

  assert.deepEqual(sidesOf(null, two), ["prediction", "prediction-1"]);
  assert.deepEqual(sidesOf(null, ["photo", "prediction"]), ["photo", "prediction"]);
  assert.deepEqual(sidesOf(["truth", "prediction-1"], two), ["truth", "prediction-1"]);
  assert.deepEqual(sidesOf(["truth", "prediction-3"], two), ["prediction", "prediction-1"]);
});

test("to choose what the other side shows changes the sides", () => {
  assert.deepEqual(sidesAfter(["photo", "prediction"], 0, "truth"), ["truth", "prediction"]);
  assert.deepEqual(sidesAfter(["photo", "prediction"], 0, "prediction"), ["prediction", "photo"]);
});

test("of several runs errors and confidence have a picker, and the active prediction is marked", () => {
  const series = [LONG, SHORT];
  const available = availablePanes({ truth_url: "t", series });
  const state = { layout: "grid", available, shown: available, chosen: "prediction", series, active: 1 };

  const panes = panesOf({ ...state, sides: ["photo", "prediction"] });

  assert.deepEqual(panes.filter((pane) => pane.isActive).map((pane) => pane.id), ["prediction-1"]);
  const withPicker = panes.filter((pane) => pane.pickers.length);
  assert.deepEqual(withPicker.map((pane) => pane.id), ["errors", "confidence"]);
  assert.equal(withPicker[0].pickers[0].value, "1");
  assert.deepEqual(panes.map((pane) => pane.key), ["1", "2", "3", "4", "5", "6"]);
  const alone = panesOf({ ...state, series: [LONG], active: 0, sides: [] });
  assert.ok(alone.every((pane) => !pane.pickers.length && !pane.isActive));
});

test("the divider's pane offers photo, truth and every prediction on both sides", () => {
  const series = [LONG, SHORT];
  const available = availablePanes({ truth_url: "t", series });
  const sides = ["truth", "prediction-1"];

  const state = { layout: "swipe", available, shown: [], chosen: "photo", series, active: 0 };

  const [pane] = panesOf({ ...state, sides });

  assert.deepEqual(pane.layers, sides);
  assert.deepEqual(pane.pickers.map((picker) => picker.value), sides);
  const offered = pane.pickers[0].options.map((option) => option.label);
  assert.deepEqual(offered, ["Photo", "Ground truth", "Prediction A", "Prediction B"]);
});

test("the grid shows the photo as large as it can", () => {
  const room = { width: 1248, height: 620 };
  const columns = (count, photo) => gridOf(count, photo, room).columns;

  const wide = [1, 2, 3, 4, 5, 6, 7, 8].map((count) => columns(count, { width: 4, height: 3 }));
  assert.deepEqual(wide, [1, 2, 3, 2, 3, 3, 4, 4]);
  assert.equal(columns(4, { width: 3, height: 4 }), 4);
  assert.equal(columns(4, { width: 30, height: 4 }), 1);
  const full = gridOf(3, { width: 4, height: 3 }, { width: 1248, height: 640 });
  assert.equal(full.columns, 3, "two columns would be 2 % larger and leave a hole");
});

test("a grid is no higher than its photos, and never too low to zoom", () => {
  const room = { width: 1242, height: 620 };

  // Eight photos in four columns of 306 pixels: two rows of 229.5 and a gap.
  assert.equal(gridOf(8, { width: 4, height: 3 }, room).height, 465);
  assert.equal(gridOf(4, { width: 4, height: 3 }, room).height, 620);
  assert.equal(gridOf(1, { width: 4000, height: 10 }, room).height, 240);
});
