import assert from "node:assert/strict";
import { test } from "node:test";

import { sentencesOf } from "../../assets/comparison.js";

const STROKE = { kind: "brush", points: [[1, 1]], radius: 2 };
const shape = (id, category) => ({ id, category_id: category, source: "drawn", ops: [STROKE] });
const names = ["", "Dent", "Scratch"];
const sentences = (before, after) =>
  sentencesOf(before, after, ({ category_id }) => names[category_id], (kind, what) => `${kind}: ${what}`);

test("objects, the state and the note that changed are named, nothing else", () => {
  const before = { annotations: [shape("a", 1), shape("b", 1), shape("c", 2)], state: "in_progress", note: "" };
  const after = { annotations: [shape("a", 1), shape("b", 2), shape("d", 1)], state: "done", note: "wet" };

  const told = sentences(before, after);

  const texts = ["added: Dent", "changed: Scratch", "removed: Scratch", "state: Done", "note: “wet”"];
  assert.deepEqual(told.map(({ text }) => text), texts);
  assert.deepEqual(told.map(({ id, isGone }) => [id, isGone]).slice(0, 3), [["d", false], ["b", false], ["c", true]]);
});

test("an emptied photo that is done was said to have no damage", () => {
  const told = sentences({ annotations: [], state: "unlabelled" }, { annotations: [], state: "done", note: "" });

  assert.deepEqual(told.map(({ text }) => text), ["state: No damage"]);
});

test("that somebody began is no news", () => {
  assert.deepEqual(sentences({ annotations: [], state: "unlabelled" }, { annotations: [], state: "in_progress" }), []);
});
