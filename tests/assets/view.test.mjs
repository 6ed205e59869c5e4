import assert from "node:assert/strict";
import { test } from "node:test";

import { clamp, fit, pinch, scaleLimits, toImage, toScreen, wheelFactor, zoomAt } from "../../assets/view.js";

const IMAGE = { width: 4000, height: 3000 };
const STAGE = { width: 800, height: 800 };

test("fit shows the whole image in the middle", () => {
  const view = fit(IMAGE, STAGE, { margin: 0 });

  assert.deepEqual(view, { scale: 0.2, x: 0, y: 100 });
});

test("a small image is not blown up without end", () => {
  assert.equal(fit({ width: 10, height: 10 }, STAGE).scale, 8);
});

test("zooming keeps the image point under the cursor", () => {
  const before = fit(IMAGE, STAGE);
  const at = [333, 210];

  const after = zoomAt(before, 3.7, at, scaleLimits(IMAGE, STAGE));

  const [x, y] = toScreen(after, toImage(before, at));
  assert.ok(Math.hypot(x - at[0], y - at[1]) < 1e-9);
  assert.ok(Math.abs(after.scale / before.scale - 3.7) < 1e-9);
});

test("zooming stops at its limits", () => {
  assert.equal(zoomAt(fit(IMAGE, STAGE), 1e6, [0, 0], { largest: 40 }).scale, 40);
});

test("a pinch keeps the image point between the fingers", () => {
  const before = fit(IMAGE, STAGE);

  const after = pinch(before, [[100, 100], [200, 100]], [[150, 300], [350, 300]]);

  const [x, y] = toScreen(after, toImage(before, [150, 100]));
  assert.ok(Math.hypot(x - 250, y - 300) < 1e-9);
  assert.ok(Math.abs(after.scale / before.scale - 2) < 1e-9);
});

test("an image cannot be pushed out of sight", () => {
  const lost = clamp({ scale: 0.2, x: 5000, y: -5000 }, IMAGE, STAGE);

  assert.deepEqual(lost, { scale: 0.2, x: 752, y: -552 });
});

test("the wheel's way in and out cancel each other", () => {
  const near = wheelFactor({ deltaY: -100, deltaMode: 0, ctrlKey: false });
  const far = wheelFactor({ deltaY: 100, deltaMode: 0, ctrlKey: false });

  assert.ok(near > 1);
  assert.ok(Math.abs(near * far - 1) < 1e-9);
});
