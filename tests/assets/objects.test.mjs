import assert from "node:assert/strict";
import { test } from "node:test";

import * as accesses from "../../assets/access.js";
import { clipPolygon, isBoxInside, polygonArea } from "../../assets/geometry.js";
import { shortcutOf } from "../../assets/keys.js";
import { noteOf } from "../../assets/notes.js";
import { rowsOf, shareText } from "../../assets/object_list.js";

const dent = { id: "a", category_id: 1 };
const scratch = { id: "b", category_id: 2 };

test("an object is hidden or locked by itself or with its class", () => {
  const byClass = accesses.toggled(accesses.OPEN, "hiddenCategories", 1);
  const byId = accesses.toggled(byClass, "locked", "b");

  assert.deepEqual([accesses.isHidden(byId, dent), accesses.isLocked(byId, dent)], [true, false]);
  assert.deepEqual([accesses.isHidden(byId, scratch), accesses.isLocked(byId, scratch)], [false, true]);
  assert.equal(accesses.isHidden(accesses.revealed(byId, dent), dent), false);
  assert.equal(accesses.isLocked(accesses.toggled(byId, "locked", "b"), scratch), false);
  assert.equal(accesses.isHidden(accesses.OPEN, dent), false);
});

test("the next photo keeps what was said about classes only", () => {
  const access = accesses.toggled(accesses.toggled(accesses.OPEN, "lockedCategories", 2), "hidden", "a");

  const next = accesses.forNextImage(access);

  assert.equal(accesses.isHidden(next, dent), false);
  assert.equal(accesses.isLocked(next, scratch), true);
});

test("the list runs from the topmost down, or class by class in the palette's order", () => {
  const categories = [{ category_id: 1, name: "Dent" }, { category_id: 2, name: "Scratch" }];
  const annotations = [{ id: "a", category_id: 2 }, { id: "b", category_id: 1 }, { id: "c", category_id: 2 }];
  const told = (isGrouped) =>
    rowsOf({ annotations, categories, isGrouped }).map((row) => row.annotation?.id ?? `${row.name} ${row.count}`);

  assert.deepEqual(told(false), ["c", "b", "a"]);
  assert.deepEqual(told(true), ["Dent 1", "b", "Scratch 2", "c", "a"]);
});

test("a share of the photo is told in two digits", () => {
  assert.deepEqual([0.5, 0.0312, 0.00123, 0.00001].map(shareText), ["50 %", "3.1 %", "0.12 %", "< 0.01 %"]);
});

test("a polygon is clipped to the image: the area inside is left", () => {
  const image = { width: 10, height: 10 };
  const diamond = [[0, 5], [5, 0], [15, 5], [5, 10]];

  assert.equal(polygonArea(clipPolygon([[-5, -5], [5, -5], [5, 5], [-5, 5]], image)), 25);
  assert.equal(polygonArea(clipPolygon(diamond, image)), 25 + 50 - 12.5);
  assert.deepEqual(clipPolygon([[20, 20], [30, 20], [30, 30]], image), []);
  assert.equal(polygonArea(clipPolygon([[-5, -5], [50, -5], [50, 50], [-5, 50]], image)), 100);
});

test("a box lies in another one when none of it sticks out", () => {
  assert.equal(isBoxInside([1, 1, 5, 5], [1, 0, 5, 9]), true);
  assert.equal(isBoxInside([1, 1, 5.1, 5], [1, 0, 5, 9]), false);
});

test("arrows are named with Shift and Alt, other keys are not", () => {
  assert.equal(shortcutOf({ key: "ArrowUp", shiftKey: true, altKey: true }), "shift+alt+ArrowUp");
  assert.equal(shortcutOf({ key: "ArrowUp", ctrlKey: true }), "ctrl+ArrowUp");
  assert.equal(shortcutOf({ key: "ArrowLeft" }), "ArrowLeft");
  assert.equal(shortcutOf({ key: "?", shiftKey: true }), "?");
  assert.equal(shortcutOf({ key: "d", altKey: true }), "alt+d"); // the browser's: no photo is finished by it
});

test("a person's note marks an object, what the model wrote beside its suggestion does not", () => {
  assert.equal(noteOf({ source: "drawn", note: "deep " }), "deep ");
  assert.equal(noteOf({ source: "drawn" }), "");
  assert.equal(noteOf({ source: "suggested", note: "87 % sure" }), "");
  assert.equal(noteOf({ source: "suggested", note: "look again" }), "look again");
});
