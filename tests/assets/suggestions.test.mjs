import assert from "node:assert/strict";
import { test } from "node:test";

import {
  accepted, askFor, isSuggestion, nextWaiting, withEditsAccepted, withSuggestions,
} from "../../assets/suggestions.js";

const op = { kind: "polygon", points: [[0, 0], [9, 0], [9, 9]], subtract: false };
const label = (id, source = "drawn", note = "") => ({ id, category_id: 1, ops: [op], source, author: "model", note });
const [mine, first, second] = [label("mine"), label("first", "suggested", "87 % sure"), label("second", "suggested")];

test("an accepted suggestion is its acceptor's label and carries no figure of the model's", () => {
  const label_ = accepted(first, "Ada");

  assert.deepEqual([label_.source, label_.author, label_.note, label_.id], ["drawn", "Ada", "", "first"]);
  assert.equal(accepted({ ...first, note: "is it rust?" }, "Ada").note, "is it rust?");
  assert.equal(isSuggestion(label_), false);
});

test("whoever edits a suggestion accepts it, and only it", () => {
  const before = [mine, first, second];
  const moved = { ...first, category_id: 2 };

  const after = withEditsAccepted(before, [mine, moved, second], "Ada");

  assert.deepEqual(after.map(({ source }) => source), ["drawn", "drawn", "suggested"]);
  assert.deepEqual([after[1].category_id, after[1].author], [2, "Ada"]);
  assert.equal(after[2], second);
  assert.equal(after[0], mine);
});

test("an editor that made it a label already still leaves its author", () => {
  const [, edited] = withEditsAccepted([mine, first], [mine, { ...first, source: "drawn" }], "Ada");

  assert.deepEqual([edited.author, edited.note], ["Ada", ""]);
});

test("a copy of a suggestion is a label; deleting and reordering accept nothing", () => {
  const copy = { ...first, id: "copy" };

  assert.equal(withEditsAccepted([first], [first, copy], "Ada")[1].source, "drawn");
  const reordered = [second, mine, first];
  assert.equal(withEditsAccepted([mine, first, second], reordered, "Ada"), reordered);
  const fewer = [mine, second];
  assert.equal(withEditsAccepted([mine, first, second], fewer, "Ada"), fewer);
});

test("parts and sums of suggestions carry no figure of the model's either", () => {
  const parts = [{ ...first, source: "drawn" }, { ...first, id: "part", source: "drawn" }];
  const sum = { ...first, source: "drawn", note: "87 % sure; 60 % sure" };

  assert.deepEqual(withEditsAccepted([first], parts, "Ada").map(({ note }) => note), ["", ""]);
  assert.equal(withEditsAccepted([first, second], [sum], "Ada")[0].note, "");
  assert.equal(withEditsAccepted([mine], parts, "Ada"), parts, "what nobody suggested is left as it is");
});

test("new suggestions replace old ones and never what people drew", () => {
  const fresh = label("fresh", "suggested");

  assert.deepEqual(withSuggestions([first, mine, second], [fresh]), [mine, fresh]);
  assert.deepEqual(withSuggestions([mine, first], []), [mine]);
});

test("after a decision the next suggestion comes, round to the first", () => {
  const third = label("third", "suggested");
  const all = [first, mine, second, third];

  assert.equal(nextWaiting(all, new Set(["first"])), second);
  assert.equal(nextWaiting(all, new Set(["third"])), first);
  assert.equal(nextWaiting(all, new Set(["first", "second", "third"])), null);
  assert.equal(nextWaiting([mine], new Set()), null);
});

/** A server that answers one after the other, and what was asked and said meanwhile. */
function serverOf(...answers) {
  const seen = { urls: [], said: [], waited: 0 };
  const env = {
    fetch: async (url, { method }) => {
      seen.urls.push(`${method} ${url}`);
      const next = answers.length > 1 ? answers.shift() : answers[0];
      if (next === null) throw new TypeError("no connection");
      const [status, body] = next;
      return { status, json: async () => body ?? JSON.parse("") };
    },
    wait: async (milliseconds) => {
      seen.waited += milliseconds;
    },
    isOver: () => false,
    onWait: (sentence) => seen.said.push(sentence),
  };
  return { env, seen };
}

test("an answer is taken; a worker is waited for", async () => {
  const answer = { annotations: [first], said: [] };
  const { env, seen } = serverOf([202, { message: "A worker looks." }], [202, { message: "Still." }], [200, answer]);

  assert.deepEqual(await askFor("suggest/1?sig=x", env), answer);
  assert.deepEqual(seen.urls, [
    "POST suggest/1?sig=x", "POST suggest/1?sig=x&again=1", "POST suggest/1?sig=x&again=1",
  ]);
  assert.deepEqual(seen.said, ["A worker looks.", "Still."]);
});

test("a refusal is the server's sentence; without one, or without a server, it is ours", async () => {
  const refused = serverOf([404, { message: "This project has no champion yet." }]);
  const broken = serverOf([500, null]);
  const away = serverOf(null);

  assert.equal((await askFor("u", refused.env)).trouble, "This project has no champion yet.");
  assert.match((await askFor("u", broken.env)).trouble, /could not be asked/);
  assert.match((await askFor("u", away.env)).trouble, /could not be asked/);
});

test("nobody waits for ever, nor for another photo's answer", async () => {
  const endless = serverOf([202, {}]);
  const over = serverOf([202, {}]);
  over.env.isOver = () => over.seen.urls.length >= 2;

  assert.match((await askFor("u", endless.env)).trouble, /three minutes/);
  assert.equal(endless.seen.waited, 180_000);
  await askFor("u", over.env);
  assert.equal(over.seen.urls.length, 2);
});
