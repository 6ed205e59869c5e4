import assert from "node:assert/strict";
import { test } from "node:test";

import {
  actionFor,
  countText,
  epochCaption,
  epochRole,
  indexOfEpoch,
  nearestFirst,
  outlineThickness,
  scoreCurve,
  scoreText,
  shareText,
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
