import assert from "node:assert/strict";
import { test } from "node:test";

import {
  areSame, boxOf, brushOp, covers, edgeAt, isTooSmall, moved, newAnnotation, polygonOp, topmostAt, vertexAt,
  withOp, withPoints,
} from "../../assets/annotations.js";

const square = (x, y, side, subtract = false) =>
  polygonOp([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], subtract);
const dent = newAnnotation(1, square(0, 0, 100), "me");

test("a new annotation has an id of its own", () => {
  assert.match(dent.id, /^[0-9a-f-]{36}$/);
  assert.notEqual(dent.id, newAnnotation(1, square(0, 0, 9), "me").id);
});

test("a hole is outside, and what is painted into it later is inside again", () => {
  const holed = withOp(dent, square(40, 40, 20, true));
  const filled = withOp(holed, brushOp([[50, 50]], 5));

  assert.equal(covers(dent, [50, 50]), true);
  assert.equal(covers(holed, [50, 50]), false);
  assert.equal(covers(filled, [50, 50]), true);
  assert.equal(covers(filled, [42, 42]), false);
});

test("the topmost object wins; an outline nearby counts only where nothing is covered", () => {
  const over = newAnnotation(2, square(50, 50, 100), "me");

  assert.equal(topmostAt([dent, over], [60, 60]), over);
  assert.equal(topmostAt([dent, over], [-3, 20], 5), dent);
  assert.equal(topmostAt([dent, over], [-3, 20], 2), null);
});

test("corners and edges are found within reach", () => {
  assert.deepEqual(vertexAt(dent, [102, 1], 5), { opIndex: 0, index: 1, gap: Math.hypot(2, 1) });
  assert.equal(vertexAt(dent, [50, 1], 5), null);
  assert.equal(edgeAt(dent, [50, 1], 5).index, 0);
});

test("a polygon with two corners left is gone", () => {
  assert.deepEqual(withPoints(dent, 0, [[0, 0], [1, 1]]).ops, []);
});

test("moving keeps the shape and refuses imported masks", () => {
  assert.deepEqual(moved(dent, 5, -1).ops[0].points[0], [5, -1]);
  assert.equal(moved({ ops: [{ kind: "rle", size: [1, 1], counts: "01" }] }, 1, 1), null);
});

test("the box is that of what is added", () => {
  const painted = withOp(dent, brushOp([[100, 50]], 10));

  assert.deepEqual(boxOf(withOp(painted, square(-50, -50, 10, true))), [0, 0, 110, 100]);
});

test("a dot is too small, a speck of nine pixels is not", () => {
  assert.equal(isTooSmall(square(0, 0, 2.9)), true);
  assert.equal(isTooSmall(square(0, 0, 3)), false);
});

test("author and source do not make labels different, a point does", () => {
  const theirs = { ...dent, author: "Anna", source: "imported" };

  assert.equal(areSame([dent], [theirs]), true);
  assert.equal(areSame([dent], [moved(dent, 1, 0)]), false);
  assert.equal(areSame([dent], []), false);
});
