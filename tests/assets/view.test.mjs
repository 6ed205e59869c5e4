import assert from "node:assert/strict";
import { test } from "node:test";

import {
  centredOn, clamp, fit, isZoomedIn, pinch, scaleLimits, toImage, toScreen, visibleBox, wheelFactor, zoomAt,
} from "../../assets/view.js";

const IMAGE = { width: 4000, height: 3000 };
const STAGE = { width: 800, height: 800 };

test("fit shows the whole image in the middle", () => {
  const view = fit(IMAGE, STAGE, { margin: 0 });

  assert.deepEqual(view, { scale: 0.2, x: 0, y: 100 });
});

test("a small image is not blown up without end", () => {
  assert.equal(fit({ width: 50, height: 50 }, STAGE).scale, 8);
  assert.equal(fit({ width: 10, height: 5 }, STAGE).scale, 24); // a tiny one until it can be drawn on
  assert.equal(fit({ width: 1, height: 1 }, STAGE).scale, 240);
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

test("an overview helps past twice the size of the whole photo", () => {
  const whole = fit(IMAGE, STAGE, { margin: 0 });

  assert.ok(!isZoomedIn(whole, IMAGE, STAGE));
  assert.ok(!isZoomedIn({ ...whole, scale: 2 * whole.scale }, IMAGE, STAGE));
  assert.ok(isZoomedIn({ ...whole, scale: 2.01 * whole.scale }, IMAGE, STAGE));
});

test("the part in sight ends where the image ends", () => {
  assert.deepEqual(visibleBox({ scale: 0.5, x: 100, y: -500 }, IMAGE, STAGE), [0, 1000, 1400, 2600]);
});

test("a point is brought into the middle at the same zoom", () => {
  const view = centredOn({ scale: 0.5, x: 0, y: 0 }, [1000, 2000], STAGE);

  assert.deepEqual([view.scale, ...toScreen(view, [1000, 2000])], [0.5, 400, 400]);
});

test("the wheel's way in and out cancel each other", () => {
  const near = wheelFactor({ deltaY: -100, deltaMode: 0, ctrlKey: false });
  const far = wheelFactor({ deltaY: 100, deltaMode: 0, ctrlKey: false });

  assert.ok(near > 1);
  assert.ok(Math.abs(near * far - 1) < 1e-9);
});
