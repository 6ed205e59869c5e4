import assert from "node:assert/strict";
import { test } from "node:test";

import { record, startHistory, undo } from "../../assets/history.js";
import { amended } from "../../assets/notes.js";

test("typing on is one step, and what was undone before does not come back over it", () => {
  const typed = amended(record(startHistory("plain"), "d"), "de");

  assert.equal(typed.present, "de");
  assert.equal(undo(typed).present, "plain");
  assert.deepEqual(amended(undo(record(typed, "more")), "deep").future, []);
});
