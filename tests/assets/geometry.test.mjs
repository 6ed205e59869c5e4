import assert from "node:assert/strict";
import { test } from "node:test";

import {
  decodeCounts, distanceToLine, forEachColumnRun, isInsideMask, isInsidePolygon, joinBoxes, meetBoxes,
  nearestEdge, polygonArea, rleMask, rounded, simplify, withAlpha, withPoint, withoutPoint,
} from "../../assets/geometry.js";

const SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]];

test("points are rounded to a tenth of a pixel", () => {
  assert.deepEqual(rounded([[1.04, 2.06], [-0.31, 3]]), [[1, 2.1], [-0.3, 3]]);
});

test("inside follows the even-odd rule, so a crossing loop leaves its middle out", () => {
  const crossed = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0], [8, 2], [8, 8], [2, 8], [2, 2], [8, 2]];

  assert.equal(isInsidePolygon([5, 5], SQUARE), true);
  assert.equal(isInsidePolygon([11, 5], SQUARE), false);
  assert.equal(isInsidePolygon([5, 6], crossed), false);
});

test("the nearest edge may be the closing one", () => {
  const edge = nearestEdge([-2, 4], SQUARE);

  assert.equal(edge.index, 3);
  assert.deepEqual(edge.point, [0, 4]);
  assert.equal(edge.distance, 2);
});

test("a point goes in after its edge's first corner and comes out again", () => {
  const more = withPoint(SQUARE, 3, [0, 4]);

  assert.deepEqual(more.at(-1), [0, 4]);
  assert.deepEqual(withoutPoint(more, 4), SQUARE);
});

test("area has no sign", () => {
  assert.equal(polygonArea(SQUARE), 100);
  assert.equal(polygonArea([...SQUARE].reverse()), 100);
});

test("a single point counts as a line", () => {
  assert.equal(distanceToLine([3, 4], [[0, 0]]), 5);
});

test("simplifying keeps corners and ends and drops what lies on the way", () => {
  const line = [[0, 0], [1, 0.1], [2, -0.1], [3, 0], [3, 1], [3, 2]];

  assert.deepEqual(simplify(line, 0.5), [[0, 0], [3, 0], [3, 2]]);
  assert.deepEqual(simplify(line, 0.01).length, 5);
});

test("boxes join and meet", () => {
  assert.deepEqual(joinBoxes([0, 0, 2, 2], [1, -1, 3, 1]), [0, -1, 3, 2]);
  assert.deepEqual(meetBoxes([0, 0, 2, 2], [1, -1, 3, 1]), [1, 0, 2, 1]);
  assert.equal(meetBoxes([0, 0, 1, 1], [1, 1, 2, 2]), null);
});

// pycocotools: encode(np.asfortranarray(mask)) of a 4x5 mask with rows 1..2, columns 1..3, and of
// 400x300 with rows 50..249, columns 20..119.
const SMALL = { kind: "rle", size: [4, 5], counts: "5220003" };
const LARGE = { kind: "rle", size: [400, 300], counts: "bk7X6X600000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000^XV2" };

test("compressed counts decode to what pycocotools encoded", () => {
  assert.deepEqual(decodeCounts(SMALL.counts), [5, 2, 2, 2, 2, 2, 5]);
  assert.equal(decodeCounts(LARGE.counts).reduce((sum, count) => sum + count, 0), 400 * 300);
});

test("a mask knows its box and which pixels it holds", () => {
  const mask = rleMask(LARGE);

  assert.deepEqual(mask.box, [20, 50, 120, 250]);
  assert.equal(isInsideMask([20.5, 50.5], mask), true);
  assert.equal(isInsideMask([19.9, 50.5], mask), false);
  assert.equal(isInsideMask([119.5, 249.9], mask), true);
  assert.equal(isInsideMask([119.5, 250.1], mask), false);
  assert.equal(isInsideMask([-1, 60], mask), false);
});

test("column runs cover the mask exactly, also where a run goes round the edge", () => {
  const full = rleMask({ kind: "rle", size: [3, 2], counts: "06" });
  const seen = [];

  forEachColumnRun(full, (column, start, end) => seen.push([column, start, end]));

  assert.deepEqual(seen, [[0, 0, 3], [1, 0, 3]]);
  assert.deepEqual(full.box, [0, 0, 2, 3]);
});

test("counts that end in the middle of a number are refused", () => {
  assert.throws(() => decodeCounts("P"), /end in the middle/);
});

test("a colour gets an alpha", () => {
  assert.equal(withAlpha("#E69F00", 0.5), "rgba(230, 159, 0, 0.5)");
});
