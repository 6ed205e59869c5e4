import assert from "node:assert/strict";
import { test } from "node:test";

import { choicesFor, stateAfterEdit, stateWords } from "../../assets/review.js";

const STROKE = { kind: "brush", points: [[1, 1]], radius: 2 };
const shape = (id, source = "drawn") => ({ id, category_id: 1, source, ops: [STROKE] });

test("finished without an object says no damage; a suggestion counts as nothing", () => {
  assert.equal(stateWords("done", []), "No damage");
  assert.equal(stateWords("done", [shape("a", "suggested")]), "No damage");
  assert.equal(stateWords("approved", []), "No damage, approved");
  assert.equal(stateWords("done", [shape("a")]), "Done");
  assert.equal(stateWords("rejected", []), "Rejected");
});

test("the first object begins the work, the last one taken away ends what was finished", () => {
  assert.equal(stateAfterEdit("unlabelled", [], [shape("a")]), "in_progress");
  assert.equal(stateAfterEdit("done", [shape("a")], []), "in_progress");
  assert.equal(stateAfterEdit("done", [shape("a")], [shape("a"), shape("b")]), "done");
});

test("what was approved and then changed has to be approved again", () => {
  assert.equal(stateAfterEdit("approved", [shape("a")], [shape("a"), shape("b")]), "done");
  assert.equal(stateAfterEdit("approved", [shape("a")], []), "in_progress");
});

test("a note on an object or a suggestion that came or went changes no state", () => {
  const noted = { ...shape("a"), note: "look again" };

  assert.equal(stateAfterEdit("approved", [shape("a")], [noted]), "approved");
  assert.equal(stateAfterEdit("unlabelled", [], [shape("s", "suggested")]), "unlabelled");
  assert.equal(stateAfterEdit("unlabelled", [shape("s", "suggested")], [shape("s")]), "in_progress");
});

test("a rejected photo stays so while somebody mends it", () => {
  assert.equal(stateAfterEdit("rejected", [shape("a")], []), "rejected");
});

test("the menu offers what makes sense now", () => {
  const offered = (state, annotations) =>
    choicesFor(state, annotations).filter(({ isAllowed }) => isAllowed).map(({ id }) => id);

  assert.deepEqual(offered("unlabelled", []), ["no_damage", "approve", "reject", "reopen"]);
  assert.deepEqual(offered("in_progress", [shape("a")]), ["done", "approve", "reject"]);
  assert.deepEqual(offered("approved", [shape("a")]), ["done", "reject", "reopen"]);
});
