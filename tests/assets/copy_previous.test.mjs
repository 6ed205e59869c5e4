import assert from "node:assert/strict";
import { test } from "node:test";

import { copiesFor, copyPrevious } from "../../assets/copy_previous.js";

const SIZE = { width: 40, height: 30 };

function object(id, more = {}) {
  const ops = [{ kind: "polygon", points: [[1, 1], [9, 1], [9, 9]], subtract: false }];
  return { id, category_id: 1, ops, source: "imported", author: "ann", note: "deep", ...more };
}

function labelerOn(annotations, more = {}) {
  const labeler = {
    data: { image: { id: "this", ...SIZE }, previous_url: "labels/before?sig=1", categories: [{ category_id: 1 }] },
    annotations, author: "bob", preview: null, activeTool: {}, said: [], commits: [],
    hint(text) { this.said.push(text); },
    commit(changed) { this.annotations = changed; this.commits.push(changed); },
    ...more,
  };
  return labeler;
}

function answering(said, { ok = true } = {}) {
  return async (url) => {
    assert.ok(url.endsWith("/labels/before?sig=1"));
    return { ok, json: async () => said };
  };
}

test("copies are new objects of the one who copies", () => {
  const theirs = { annotations: [object("a"), object("b", { category_id: 2 })], size: [40, 30] };

  const { copies, trouble } = copiesFor(theirs, SIZE, [], "bob");

  assert.equal(trouble, "");
  assert.deepEqual(copies.map(({ category_id, source, author, note }) => [category_id, source, author, note]), [
    [1, "drawn", "bob", ""], [2, "drawn", "bob", ""],
  ]);
  assert.deepEqual(copies[0].ops, theirs.annotations[0].ops);
  assert.equal(new Set(["a", "b", ...copies.map(({ id }) => id)]).size, 4);
});

test("suggestions and what is here already stay behind", () => {
  const moved = object("c", { ops: [{ kind: "brush", points: [[5, 5]], radius: 2, subtract: false }] });
  const theirs = { annotations: [object("a"), object("b", { source: "suggested" }), moved], size: [40, 30] };

  const { copies } = copiesFor(theirs, SIZE, [object("mine")], "bob");

  assert.deepEqual(copies.map(({ ops }) => ops), [moved.ops]);
  assert.match(copiesFor({ ...theirs, annotations: [object("a")] }, SIZE, [object("x")], "").trouble, /all here already/);
  assert.match(copiesFor({ ...theirs, annotations: [] }, SIZE, [], "").trouble, /has no objects/);
});

test("objects of a photo of another size are refused with both sizes", () => {
  const { copies, trouble } = copiesFor({ annotations: [object("a")], size: [30, 40] }, SIZE, [], "bob");

  assert.deepEqual(copies, []);
  assert.equal(trouble, "The photo before has 30 × 40 pixels, this one 40 × 30: its objects would not fit.");
});

test("copying is one step on top of what is drawn", async () => {
  const mine = object("mine", { category_id: 1, ops: [{ kind: "polygon", points: [[2, 2], [3, 2], [3, 3]] }] });
  const labeler = labelerOn([mine]);

  await copyPrevious(labeler, answering({ annotations: [object("a"), object("b", { category_id: 7 })], size: [40, 30] }));

  assert.equal(labeler.commits.length, 1);
  assert.equal(labeler.annotations[0], mine);
  assert.equal(labeler.annotations.length, 2); // the class 7 does not exist any more
  assert.deepEqual(labeler.said, ["1 object copied from the photo before."]);
});

test("nothing is copied where there is no photo before, or it cannot be read", async () => {
  const first = labelerOn([]);
  first.data.previous_url = "";
  const gone = labelerOn([]);
  const offline = labelerOn([]);

  await copyPrevious(first, () => assert.fail("nothing is to be asked"));
  await copyPrevious(gone, answering({ message: "This photo does not exist any more." }, { ok: false }));
  await copyPrevious(offline, async () => { throw new TypeError("Failed to fetch"); });

  assert.deepEqual([first, gone, offline].flatMap(({ commits }) => commits), []);
  assert.deepEqual([first, gone, offline].map(({ said }) => said[0]), [
    "There is no photo before this one in the list.",
    "This photo does not exist any more.",
    "The photo before could not be read. Try again in a moment.",
  ]);
});

test("a person who has gone on meanwhile gets nothing onto the next photo", async () => {
  const labeler = labelerOn([]);
  const slow = async () => {
    labeler.data = { ...labeler.data, image: { id: "next", ...SIZE } };
    return { ok: true, json: async () => ({ annotations: [object("a")], size: [40, 30] }) };
  };

  await copyPrevious(labeler, slow);

  assert.deepEqual([labeler.commits, labeler.said], [[], []]);
});
