import assert from "node:assert/strict";
import { test } from "node:test";

import {
  areSame, boxOf, brushOp, clipped, covers, duplicateOf, edgeAt, isTooSmall, moved, newAnnotation, polygonOp,
  reordered, topmostAt, vertexAt, withOp, withPoints,
} from "../../assets/annotations.js";
import { rleMask } from "../../assets/geometry.js";
import { rleOp } from "../../assets/raster.js";

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

test("moving keeps the shape; with an imported mask it goes by whole pixels", () => {
  const mask = rleOp({ x: 1, y: 1, width: 2, height: 1, data: new Uint8Array([1, 1]) }, { width: 4, height: 3 });
  const mixed = { ops: [mask, square(0, 0, 2)] };

  const there = moved(mixed, 1.4, 0.6);

  assert.deepEqual(moved(dent, 5.5, -1).ops[0].points[0], [5.5, -1]);
  assert.deepEqual(rleMask(there.ops[0]).box, [2, 2, 4, 3]);
  assert.deepEqual(there.ops[1].points[0], [1, 1]);
  assert.deepEqual(moved({ ops: [mask] }, 0, 5).ops, []);
});

test("what lies outside the image is clipped away, and nothing is left of what lies there wholly", () => {
  const image = { width: 100, height: 50 };

  assert.deepEqual(clipped(dent, image).ops[0].points, [[0, 50], [0, 0], [100, 0], [100, 50]]);
  assert.equal(clipped(moved(dent, 10, 20), { width: 500, height: 500 }).ops[0].points[0][0], 10);
  assert.equal(clipped(moved(dent, 200, 0), image), null);
  const inside = newAnnotation(1, square(5, 5, 20), "me");
  assert.equal(clipped(inside, image), inside);
});

test("chosen objects go up and down together and keep their own order", () => {
  const list = ["a", "b", "c", "d"].map((id) => ({ id }));
  const after = (ids, step) => reordered(list, new Set(ids), step).map(({ id }) => id).join("");

  assert.equal(after(["a", "b"], 1), "cabd");
  assert.equal(after(["c", "d"], 1), "abcd");
  assert.equal(after(["b", "d"], -1), "badc");
  assert.equal(after(["a"], -1), "abcd");
});

test("a copy is an object of its own, and drawn by whoever made it", () => {
  const copy = duplicateOf({ ...dent, source: "suggested" }, "Anna");

  assert.notEqual(copy.id, dent.id);
  assert.deepEqual([copy.source, copy.author, copy.ops], ["drawn", "Anna", dent.ops]);
});

test("on a tiny image little is not too little", () => {
  assert.equal(isTooSmall(square(0, 0, 0.9), { width: 1, height: 1 }), false);
  assert.equal(isTooSmall(square(0, 0, 0.5), { width: 1, height: 1 }), true);
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
