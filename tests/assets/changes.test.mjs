import assert from "node:assert/strict";
import { test } from "node:test";

import { changesBetween, isSameContent, merged } from "../../assets/changes.js";

const stroke = (x) => ({ kind: "brush", points: [[x, 1]], radius: 2, subtract: false });
const shape = (id, x = 1, more = {}) => ({
  id, category_id: 1, source: "drawn", author: "", ops: [stroke(x)], ...more,
});
const content = (annotations, state = "in_progress", note = "") => ({ annotations, state, note });
const places = (result) => result.annotations.map(({ id, ops }) => [id, ops[0].points[0][0]]);

test("changes are told apart by id", () => {
  const [before, after] = [[shape("a"), shape("b"), shape("c")], [shape("b", 5), shape("c"), shape("d")]];

  const { added, changed, removed } = changesBetween(before, after);

  assert.deepEqual([added, changed, removed].map((list) => list.map(({ id }) => id)), [["d"], ["b"], ["a"]]);
});

test("a note, a source, a state or the order make a difference, an author none", () => {
  const [one, two] = [shape("a"), shape("b")];

  assert.ok(isSameContent(content([one, two]), content([{ ...one, author: "Anna" }, two])));
  assert.ok(!isSameContent(content([one]), content([{ ...one, note: "deep" }])));
  assert.ok(!isSameContent(content([one]), content([{ ...one, source: "suggested" }])));
  assert.ok(!isSameContent(content([one, two]), content([two, one])));
  assert.ok(!isSameContent(content([one]), content([one], "done")));
  assert.ok(!isSameContent(content([one]), content([one], "in_progress", "dark photo")));
});

test("what one of the two changed, added or removed is as that one left it", () => {
  const base = content([shape("kept"), shape("mine"), shape("hers"), shape("gone"), shape("lost")]);
  const mine = content([shape("kept"), shape("mine", 7), shape("hers"), shape("gone"), shape("new")]);
  const hers = content([shape("kept"), shape("mine"), shape("hers", 8), shape("lost"), shape("more")]);

  const both = merged(base, mine, hers);

  assert.deepEqual(places(both), [["kept", 1], ["mine", 7], ["hers", 8], ["more", 1], ["new", 1]]);
});

test("changed by both: mine stays and theirs is there too, as another object", () => {
  const both = merged(content([shape("a")]), content([shape("a", 7)]), content([shape("a", 8, { author: "Anna" })]));

  assert.deepEqual(both.annotations.map(({ ops }) => ops[0].points[0][0]), [7, 8]);
  assert.equal(both.annotations[0].id, "a");
  assert.notEqual(both.annotations[1].id, "a");
  assert.equal(both.annotations[1].author, "Anna");
});

test("changed by both in the same way is one object", () => {
  const both = merged(content([shape("a")]), content([shape("a", 7)]), content([shape("a", 7)]));

  assert.deepEqual(places(both), [["a", 7]]);
});

test("removed by one and changed by the other stays", () => {
  const base = content([shape("a"), shape("b")]);

  assert.deepEqual(places(merged(base, content([shape("b", 7)]), content([shape("a", 8)]))), [["a", 8], ["b", 7]]);
});

test("where nobody knows what both started from, everything stays", () => {
  const both = merged(null, content([shape("a", 7), shape("mine")]), content([shape("a", 8), shape("hers")]));

  assert.deepEqual(places(both).map(([, x]) => x), [7, 8, 1, 1]);
});

test("the sum is as far as the less finished of the two, and never approved", () => {
  const state = (mine, theirs) => merged(content([]), content([shape("a")], mine), content([shape("b")], theirs)).state;

  assert.equal(state("in_progress", "done"), "in_progress");
  assert.equal(state("rejected", "done"), "rejected");
  assert.equal(state("approved", "approved"), "done");
  assert.equal(state("unlabelled", "done"), "in_progress");
});

test("notes are merged like objects", () => {
  const noted = (note) => content([], "done", note);
  const note = (old, mine, theirs) => merged(noted(old), noted(mine), noted(theirs)).note;

  assert.equal(note("old", "old", "new"), "new");
  assert.equal(note("old", "", "old"), "");
  assert.equal(note("old", "mine", "hers"), "mine\nhers");
});
