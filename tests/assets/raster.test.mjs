import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeCounts } from "../../assets/geometry.js";
import { areaOf, encodeCounts, haveCommonPixels, maskOf, movedRle, rleOp } from "../../assets/raster.js";

const polygon = (points, subtract = false) => ({ kind: "polygon", points, subtract });
const rectangle = (x0, y0, x1, y1, subtract) => polygon([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], subtract);
const brush = (points, radius, subtract = false) => ({ kind: "brush", points, radius, subtract });
const BIG = { width: 100, height: 80 };

test("a polygon covers the pixels that pycocotools gives for it", () => {
  const concave = [[1.2, 0.7], [8.9, 2.1], [4.4, 4], [7.5, 9.3], [0.4, 6.6]];
  const leaving = [[-3, -2], [12.5, 4.3], [2.2, 13]];
  const [ten, oblong] = [{ width: 10, height: 10 }, { width: 8, height: 9 }];

  // Both texts: pycocotools.mask.frPyObjects, version 2.0.
  assert.equal(rleOp(maskOf([polygon(concave)], ten), ten).counts, "61450001O01KN11N11OOh0");
  assert.equal(rleOp(maskOf([polygon(leaving)], oblong), oblong).counts, "081:0F001O0000");
});

test("a rectangle on whole pixels covers its area, a hole takes its own away again", () => {
  assert.equal(areaOf(maskOf([rectangle(3, 4, 13, 9)], BIG)), 50);
  assert.equal(areaOf(maskOf([rectangle(3, 4, 13, 9), rectangle(5, 5, 7, 7, true)], BIG)), 46);
  assert.equal(areaOf(maskOf([rectangle(-5, -5, 5, 5)], BIG)), 25);
  assert.equal(areaOf(maskOf([rectangle(200, 200, 300, 300)], BIG)), 0);
});

test("a brush covers the pixels whose centre lies within its radius", () => {
  assert.equal(areaOf(maskOf([brush([[5, 5]], 1)], BIG)), 4);
  assert.equal(areaOf(maskOf([brush([[10, 10], [20, 10]], 2)], BIG)), 10 * 4 + 12);
  assert.equal(areaOf(maskOf([brush([[10, 10], [10, 20]], 2)], BIG)), 10 * 4 + 12);
  assert.equal(areaOf(maskOf([brush([[0, 10]], 2)], BIG)), 6);
});

test("run-length codes survive the way there and back", () => {
  for (const counts of [[12], [0, 12], [3, 1, 5, 2, 1], [0, 1, 700, 33_000, 2, 5_000_000, 1]]) {
    assert.deepEqual(decodeCounts(encodeCounts(counts)), counts);
  }
  const drawn = [rectangle(3, 0, 30, 80), brush([[60, 20], [70, 66]], 9.5), rectangle(10, 10, 20, 20, true)];
  const mask = maskOf(drawn, BIG);
  assert.deepEqual(maskOf([rleOp(mask, BIG)], BIG, [mask.x, mask.y, mask.x + mask.width, mask.y + mask.height]).data, mask.data);
});

test("an imported mask moves by whole pixels and loses what leaves the image", () => {
  const op = rleOp(maskOf([rectangle(0, 0, 10, 10)], BIG), BIG);

  assert.equal(areaOf(maskOf([movedRle(op, 20, 30)], BIG)), 100);
  assert.equal(areaOf(maskOf([movedRle(op, -4, 0)], BIG)), 60);
  assert.equal(movedRle(op, -10, 0), null);
});

test("neighbours on whole pixels have no pixel in common, a hole counts as outside", () => {
  assert.equal(haveCommonPixels([rectangle(0, 0, 10, 10)], [rectangle(10, 0, 20, 10)], BIG), false);
  assert.equal(haveCommonPixels([rectangle(0, 0, 10, 10)], [rectangle(9, 0, 20, 10)], BIG), true);
  const holed = [rectangle(0, 0, 30, 30), rectangle(5, 5, 25, 25, true)];
  assert.equal(haveCommonPixels(holed, [rectangle(6, 6, 24, 24)], BIG), false);
});
