import assert from "node:assert/strict";
import { test } from "node:test";

import { cutUnder, mergedOps } from "../../assets/combine.js";
import { areaOf, maskOf } from "../../assets/raster.js";
import { splitOps } from "../../assets/split.js";

const SIZE = { width: 100, height: 80 };
const WHOLE = [0, 0, SIZE.width, SIZE.height];
const rectangle = (x0, y0, x1, y1, subtract = false) =>
  ({ kind: "polygon", points: [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], subtract });
const stroke = (points, radius, subtract = false) => ({ kind: "brush", points, radius, subtract });
const pixels = (ops) => maskOf(ops, SIZE, WHOLE).data;
const union = (...lists) => lists.map(pixels).reduce((a, b) => a.map((pixel, i) => pixel | b[i]));
const areas = (parts) => parts.map((ops) => areaOf(maskOf(ops, SIZE)));

test("merging keeps the ops of all objects where an order of them does", () => {
  const ring = [rectangle(10, 10, 50, 50), rectangle(20, 20, 40, 40, true)];
  const bar = [rectangle(25, 0, 35, 70)];

  for (const parts of [[ring, bar], [bar, ring]]) {
    const merged = mergedOps(parts.map((ops) => ({ ops })), SIZE);
    assert.deepEqual(pixels(merged), union(ring, bar));
    assert.deepEqual(new Set(merged), new Set([...ring, ...bar]));
  }
});

test("an object painted again over its hole stays so", () => {
  const repaired = [rectangle(10, 10, 50, 50), rectangle(20, 20, 40, 40, true), rectangle(25, 25, 30, 30)];
  const holed = [rectangle(60, 10, 90, 50), rectangle(70, 20, 80, 40, true)];

  const merged = mergedOps([{ ops: repaired }, { ops: holed }], SIZE);

  assert.deepEqual(pixels(merged), union(repaired, holed));
  assert.equal(merged.length, 5);
});

test("two rings through each other keep both their holes: no order does, so one becomes a mask", () => {
  const left = [rectangle(10, 10, 50, 50), rectangle(20, 20, 40, 40, true)];
  const right = [rectangle(30, 10, 70, 50), rectangle(40, 20, 60, 40, true)];

  const merged = mergedOps([{ ops: left }, { ops: right }], SIZE);

  assert.deepEqual(pixels(merged), union(left, right));
  assert.deepEqual(merged.map(({ kind }) => kind).sort(), ["polygon", "polygon", "rle"]);
});

test("a line through a ring gives two halves that keep their half of the hole", () => {
  const ring = [rectangle(10, 10, 50, 50), rectangle(20, 20, 40, 40, true)];

  const parts = splitOps(ring, [[30, 0], [30, 70]], SIZE);

  assert.deepEqual(areas(parts), [600, 600]);
  assert.deepEqual(union(...parts), pixels(ring));
  assert.ok(parts.every((ops) => ops.every(({ kind }) => kind === "polygon")));
});

test("a line across one leg leaves the other leg on its body", () => {
  const legs = [rectangle(10, 10, 20, 60), rectangle(60, 10, 70, 60), rectangle(10, 50, 70, 60)];

  const parts = splitOps(legs, [[5, 29.5], [30, 29.5]], SIZE);

  assert.deepEqual(areas(parts), [areaOf(maskOf(legs, SIZE)) - 200, 200]);
  assert.deepEqual(union(...parts), pixels(legs));
});

test("a line across three fingers makes three tips and a body", () => {
  const hand = [10, 30, 50].map((x) => rectangle(x, 10, x + 10, 60)).concat(rectangle(10, 50, 60, 60));

  assert.deepEqual(areas(splitOps(hand, [[0, 29.5], [80, 29.5]], SIZE)), [3 * 10 * 30 + 200, 200, 200, 200]);
});

test("parts that the line leaves whole stay with the largest piece", () => {
  const parts = [rectangle(10, 10, 50, 50), rectangle(70, 10, 80, 20)];

  assert.deepEqual(areas(splitOps(parts, [[0, 40], [55, 40]], SIZE)), [1300, 400]);
});

test("a line between two parts sorts them by side; one beside them or into one does nothing", () => {
  const parts = [rectangle(10, 10, 50, 50), rectangle(70, 10, 80, 20)];

  assert.deepEqual(areas(splitOps(parts, [[60, 5], [60, 60]], SIZE)), [1600, 100]);
  assert.deepEqual(splitOps(parts, [[90, 5], [90, 60]], SIZE), []);
  assert.deepEqual(splitOps(parts.slice(0, 1), [[30, 5], [30, 30]], SIZE), []);
});

test("a brush stroke is split without becoming a mask, an eraser's gap counts as outside", () => {
  const scratch = [stroke([[10, 40], [90, 40]], 4), stroke([[50, 20], [50, 60]], 3, true)];

  const across = splitOps(scratch, [[30, 20], [31, 60]], SIZE);
  const within = splitOps(scratch, [[50, 10], [50, 70]], SIZE);

  assert.deepEqual(union(...across), pixels(scratch));
  assert.deepEqual(union(...within), pixels(scratch));
  assert.equal(across.length, 2);
  assert.ok(within.flat().every(({ kind }) => kind !== "rle"));
});

test("a new object takes its pixels from others, not from those that may not be cut", () => {
  const others = [["free", 10], ["locked", 10], ["far", 60]].map(([id, x]) => ({ id, ops: [rectangle(x, 10, x + 20, 30)] }));

  const { annotations, gone } = cutUnder(others, [rectangle(20, 0, 40, 40)], SIZE, ({ id }) => id !== "locked");

  assert.deepEqual(areas(annotations.map(({ ops }) => ops)), [200, 400, 400]);
  assert.deepEqual([annotations[1], annotations[2], gone], [others[1], others[2], 0]);
});

test("what is covered altogether goes, what shows through a hole stays", () => {
  const under = { id: "a", ops: [rectangle(20, 20, 30, 30)] };
  const ring = [rectangle(10, 10, 50, 50), rectangle(25, 25, 28, 28, true)];

  assert.deepEqual(cutUnder([under], ring.slice(0, 1), SIZE, () => true), { annotations: [], gone: 1 });
  const { annotations } = cutUnder([under], ring, SIZE, () => true);
  assert.deepEqual(areas(annotations.map(({ ops }) => ops)), [9]);
});
