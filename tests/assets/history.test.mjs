import assert from "node:assert/strict";
import { test } from "node:test";

import { canRedo, canUndo, record, redo, startHistory, undo } from "../../assets/history.js";

test("steps are undone and redone in order", () => {
  const history = record(record(startHistory("a"), "b"), "c");

  const back = undo(undo(history));

  assert.equal(back.present, "a");
  assert.equal(canUndo(back), false);
  assert.equal(redo(redo(back)).present, "c");
});

test("a new step forgets what could be redone", () => {
  const history = record(undo(record(startHistory("a"), "b")), "c");

  assert.equal(canRedo(history), false);
  assert.equal(undo(history).present, "a");
});

test("at either end nothing happens", () => {
  const history = startHistory("a");

  assert.equal(undo(history), history);
  assert.equal(redo(history), history);
});

test("a thousand steps can be taken back", () => {
  let history = startHistory(0);
  for (let step = 1; step <= 1000; step++) history = record(history, step);

  for (let step = 0; step < 1000; step++) history = undo(history);

  assert.equal(history.present, 0);
});
