import assert from "node:assert/strict";
import { test } from "node:test";

import { sizeFor } from "../../assets/minimap.js";

test("the overview keeps the photo's shape within its room", () => {
  assert.deepEqual(sizeFor({ width: 4000, height: 3000 }, { width: 900 }), { width: 176, height: 132 });
  assert.deepEqual(sizeFor({ width: 3000, height: 4000 }, { width: 900 }), { width: 99, height: 132 });
});

test("on a phone it is smaller, and never too thin to see", () => {
  assert.deepEqual(sizeFor({ width: 4000, height: 3000 }, { width: 390 }), { width: 97, height: 73 });
  assert.deepEqual(sizeFor({ width: 20000, height: 1000 }, { width: 900 }), { width: 176, height: 9 });
  assert.deepEqual(sizeFor({ width: 1, height: 1000 }, { width: 900 }), { width: 8, height: 132 });
});
