import assert from "node:assert/strict";
import { test } from "node:test";

import { filterOf, keepLook, lookFrom, PLAIN, readLook } from "../../assets/look.js";

function storage() {
  const kept = new Map();
  return { kept, getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
}

test("a photo as it is needs no filter", () => {
  assert.equal(filterOf(PLAIN), "");
  assert.equal(filterOf({ ...PLAIN, brightness: 1.5, contrast: 0.8 }), "brightness(1.5) contrast(0.8)");
});

test("each person's look is remembered for itself", () => {
  const here = storage();

  keepLook(here, "Anna", { ...PLAIN, brightness: 2, isOutline: true });

  assert.deepEqual(readLook(here, "Anna"), { brightness: 2, contrast: 1, local: 0, isOutline: true });
  assert.deepEqual(readLook(here, "Ben"), { ...PLAIN });
});

test("what lies in the storage is not trusted", () => {
  const here = storage();
  here.kept.set("maskwright.look.Anna", "{half");

  assert.deepEqual(readLook(here, "Anna"), { ...PLAIN });
  assert.deepEqual(lookFrom({ brightness: 99, contrast: "2", local: 0.5, isOutline: 1 }), { ...PLAIN, local: 0.5 });
});

test("storage that may not be used breaks nothing", () => {
  const forbid = () => {
    throw new Error("forbidden");
  };

  keepLook({ setItem: forbid }, "Anna", PLAIN);
  assert.deepEqual(readLook({ getItem: forbid }, "Anna"), { ...PLAIN });
});
