import assert from "node:assert/strict";
import { test } from "node:test";

import { Saver } from "../../assets/autosave.js";

const shape = (id) => ({ id, category_id: 1, ops: [{ kind: "brush", points: [[1, 1]], radius: 2, subtract: false }] });
const content = (...ids) => ({ annotations: ids.map(shape), state: "in_progress" });

/** A server and a clock that a test moves by hand. */
function world({ rev = 3 } = {}) {
  const kept = new Map();
  const requests = [];
  const timers = [];
  const statuses = [];
  const saver = new Saver(
    { imageId: "photo", rev, url: "save" },
    {
      fetch: (url, request) =>
        new Promise((resolve, reject) => {
          const answer = (status, body) => resolve({ status, json: async () => body });
          requests.push({ url, ...request, body: JSON.parse(request.body), answer, fail: () => reject(new TypeError("offline")) });
        }),
      storage: {
        getItem: (key) => kept.get(key) ?? null,
        setItem: (key, value) => kept.set(key, value),
        removeItem: (key) => kept.delete(key),
      },
      setTimeout: (run, delay) => timers.push({ run, delay }),
      clearTimeout: () => {},
      now: () => "2026-01-01T12:00:00Z",
      onStatus: ({ status }) => statuses.push(status),
    },
  );
  return { saver, requests, timers, statuses, kept };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

test("a change is sent on its base revision and ends as saved", async () => {
  const { saver, requests, kept } = world();

  saver.change(content("a"));
  requests[0].answer(200, { rev: 4, saved_at: "2026-01-01T12:00:01Z" });
  await settle();

  assert.equal(requests[0].body.rev, 3);
  assert.equal(requests[0].method, "PUT");
  assert.deepEqual([saver.status, saver.rev, saver.isClean], ["saved", 4, true]);
  assert.equal(kept.size, 0);
});

test("what the server saved without is told once", async () => {
  const { saver, requests } = world();

  saver.change(content("a", "b"));
  requests[0].answer(200, { rev: 4, refused: [{ id: "b", reason: "It covers no pixel of the photo." }] });
  await settle();
  assert.deepEqual(saver.left.map(({ id }) => id), ["b"]);
  saver.change(content("a"));
  requests[1].answer(200, { rev: 5, refused: [] });
  await settle();

  assert.deepEqual(saver.left, []);
});

test("while one request is under way only the newest state waits", async () => {
  const { saver, requests } = world();

  saver.change(content("a"));
  saver.change(content("a", "b"));
  saver.change(content("a", "b", "c"));
  assert.equal(requests.length, 1);
  requests[0].answer(200, { rev: 4 });
  await settle();

  assert.equal(requests.length, 2);
  assert.equal(requests[1].body.rev, 4);
  assert.equal(requests[1].body.annotations.length, 3);
});

test("without a connection it tries again, ever more slowly, and keeps the work on the device", async () => {
  const { saver, requests, timers, kept } = world();

  saver.change(content("a"));
  requests[0].fail();
  await settle();
  timers[0].run();
  requests[1].answer(507, { message: "The disk is full." });
  await settle();

  assert.equal(saver.status, "retrying");
  assert.equal(saver.message, "The disk is full.");
  assert.deepEqual(timers.map(({ delay }) => delay), [1000, 2000]);
  assert.equal(saver.draft().annotations[0].id, "a");
  timers[1].run();
  requests[2].answer(200, { rev: 4 });
  await settle();
  assert.equal(saver.status, "saved");
  assert.equal(kept.size, 0);
});

test("flush waits for the server and says that it has everything", async () => {
  const { saver, requests } = world();
  saver.change(content("a"));
  let isSaved = null;

  saver.flush().then((answer) => (isSaved = answer));
  await settle();
  assert.equal(isSaved, null);
  requests[0].answer(200, { rev: 4 });
  await settle();

  assert.equal(isSaved, true);
});

test("somebody else first: nothing is sent until the user chose, mine goes on top of theirs", async () => {
  const { saver, requests } = world();
  saver.change(content("mine"));
  const flushed = saver.flush();
  requests[0].answer(409, { rev: 9, author: "Anna", state: "in_progress", annotations: [shape("hers")] });
  await settle();

  saver.change(content("mine", "more"));

  assert.equal(await flushed, false);
  assert.equal(saver.status, "conflict");
  assert.equal(requests.length, 1);
  saver.resolve("mine");
  assert.equal(requests[1].body.rev, 9);
  assert.equal(requests[1].body.annotations.length, 2);
});

test("a note is sent with the labels and waits on the device with them", async () => {
  const { saver, requests } = world();

  saver.change({ ...content("a"), note: "wet paint" });
  assert.equal(saver.draft().note, "wet paint");
  requests[0].answer(409, { rev: 4, ...content("a"), note: "" });
  await settle();

  assert.equal(requests[0].body.note, "wet paint");
  assert.equal(saver.status, "conflict"); // the same objects, but not what we wrote
});

test("both: the merged labels go on top of theirs, and both sides of the next conflict start there", async () => {
  const { saver, requests } = world();
  saver.change(content("mine"));
  const theirs = { rev: 9, state: "in_progress", annotations: [shape("hers")] };
  requests[0].answer(409, theirs);
  await settle();

  const shown = saver.resolve("both", content("hers", "mine"));

  assert.deepEqual(saver.base.annotations.map(({ id }) => id), ["hers"]);
  assert.deepEqual([requests[1].body.rev, shown.annotations.length], [9, 2]);
  requests[1].answer(200, { rev: 10 });
  await settle();
  assert.deepEqual(saver.base.annotations.map(({ id }) => id), ["hers", "mine"]);
});

test("what a revision holds is known from the first to the newest", async () => {
  const { saver, requests } = world();
  saver.adopt(5, content("theirs"));
  saver.adopt(4, content("older"));
  assert.deepEqual([saver.rev, saver.base.annotations[0].id], [5, "theirs"]);

  saver.change(content("theirs", "a"));
  requests[0].answer(200, { rev: 6 });
  await settle();

  assert.equal(saver.base.annotations.length, 2);
});

test("letters of several bytes count as such: what is too large is not asked to outlive the page", async () => {
  const { saver, requests } = world();
  const wide = { ...content("a"), note: "ü".repeat(1000) };
  const many = Array.from({ length: 35 }, (_, i) => ({ ...shape(`${i}`), note: "ü".repeat(1000) }));

  saver.change(wide);
  requests[0].answer(200, { rev: 4 });
  await settle();
  saver.change({ ...wide, annotations: many });

  assert.deepEqual(requests.map(({ keepalive }) => keepalive), [true, false]);
});

test("taking theirs drops ours", async () => {
  const { saver, requests, kept } = world();
  saver.change(content("mine"));
  requests[0].answer(409, { rev: 9, state: "in_progress", annotations: [shape("hers")] });
  await settle();

  const taken = saver.resolve("theirs");

  assert.equal(taken.annotations[0].id, "hers");
  assert.deepEqual([saver.rev, saver.isClean, saver.status, kept.size], [9, true, "saved", 0]);
});

test("a conflict with our own lost answer is no conflict", async () => {
  const { saver, requests } = world();
  saver.change(content("a"));
  requests[0].answer(409, { rev: 4, ...content("a") });
  await settle();

  assert.deepEqual([saver.status, saver.rev], ["saved", 4]);
});

test("a change on top of a save whose answer was lost goes out again without a question", async () => {
  const { saver, requests, statuses } = world();
  saver.change(content("a"));
  requests[0].fail(); // it arrived, its answer did not
  await settle();
  saver.change(content("a", "b"));
  requests[1].answer(409, { rev: 4, ...content("a") });
  await settle();

  assert.equal(requests.length, 3);
  assert.deepEqual([requests[2].body.rev, requests[2].body.annotations.length], [4, 2]);
  assert.equal(saver.draft().rev, 4);
  requests[2].answer(200, { rev: 5 });
  await settle();
  assert.deepEqual([saver.status, saver.rev, saver.isClean], ["saved", 5, true]);
  assert.ok(!statuses.includes("conflict"));
});

test("whichever of several lost answers the server holds, the newest state goes on top", async () => {
  const { saver, requests } = world();
  saver.change(content("a"));
  requests[0].fail();
  await settle();
  saver.change(content("a", "b"));
  saver.change(content("a", "b", "c")); // waits while the second is under way
  requests[1].fail();
  await settle();
  saver.retryNow();
  requests[2].answer(409, { rev: 4, ...content("a") });
  await settle();

  assert.deepEqual([requests[3].body.rev, requests[3].body.annotations.length], [4, 3]);
});

test("a lost answer hides no real conflict, then or later", async () => {
  const { saver, requests } = world();
  saver.change(content("a"));
  requests[0].fail();
  await settle();
  saver.change(content("a", "b"));
  requests[1].answer(409, { rev: 4, ...content("hers") });
  await settle();
  assert.equal(saver.status, "conflict");

  saver.resolve("mine");
  requests[2].answer(409, { rev: 5, ...content("a") });
  await settle();

  assert.equal(saver.status, "conflict");
});

test("an expired link keeps the work and goes on with a new link", async () => {
  const { saver, requests } = world();
  saver.change(content("a"));
  requests[0].answer(403, {});
  await settle();
  assert.equal(saver.status, "expired");
  assert.equal(await saver.flush(), false);

  saver.renew("renewed");

  assert.equal(requests[1].url, "renewed");
});

test("what the server refuses is not sent for ever", async () => {
  const { saver, requests, timers } = world();
  saver.change(content("a"));
  requests[0].answer(422, { message: "A stroke needs 3 points." });
  await settle();

  assert.deepEqual([saver.status, saver.message], ["refused", "A stroke needs 3 points."]);
  assert.equal(timers.length, 0);
  saver.change(content("b"));
  assert.equal(requests.length, 2);
});

test("a refused change can be given up, and is not offered again", async () => {
  const { saver, requests, kept } = world();
  saver.change(content("a"));
  requests[0].answer(413, { message: "Too large." });
  await settle();
  assert.equal(await saver.flush(), false);

  saver.giveUp();

  assert.equal(await saver.flush(), true);
  assert.deepEqual([saver.rev, requests.length, kept.size], [3, 1, 0]);
});

test("only what is refused can be given up; a photo that is gone keeps its draft", async () => {
  const { saver, requests, kept } = world();
  saver.change(content("a"));
  saver.giveUp();
  requests[0].answer(404, { message: "This photo was deleted." });
  await settle();

  assert.deepEqual([saver.status, saver.isGone, saver.isClean, kept.size], ["refused", true, false, 1]);
  saver.close();
  assert.equal(requests.length, 1);
});

test("a page that goes away sends what waits, small enough to outlive it", async () => {
  const { saver, requests } = world();
  saver.change(content("a"));
  requests[0].fail();
  await settle();

  saver.sendBeforeLeaving();

  assert.equal(requests.length, 2);
  assert.equal(requests[1].keepalive, true);
});

test("a foreign entry in the device's storage is no draft", () => {
  const { saver, kept } = world();
  kept.set("maskwright.unsent.photo", "{half");

  assert.equal(saver.draft(), null);
});

test("what an earlier visit left stays in the browser until the user has decided about it", async () => {
  const { saver, requests, kept } = world();
  saver.change(content("old"));
  const [[name, left]] = kept;
  requests[0].fail();
  await settle();
  const visit = world();
  visit.kept.set(name, left);

  visit.saver.holdDraft();
  visit.saver.change(content("new"));
  assert.equal(visit.saver.draft().annotations[0].id, "old");
  visit.requests[0].answer(200, { rev: 4 });
  await settle();
  assert.equal(visit.saver.draft().annotations[0].id, "old");

  visit.saver.releaseDraft();
  visit.saver.change(content("old", "new"));
  assert.equal(visit.saver.draft().annotations.length, 2);
  visit.requests[1].answer(200, { rev: 5 });
  await settle();
  assert.equal(visit.kept.size, 0);
});
