import assert from "node:assert/strict";
import { test } from "node:test";

import { Asker, clampTolerance, cornersIn, detailed, requestOf, simplifyRing, toleranceOf } from "../../assets/assist.js";
import { polygonArea } from "../../assets/geometry.js";

const circle = (x, y, radius, count = 360) =>
  Array.from({ length: count }, (_, i) => {
    const angle = (2 * Math.PI * i) / count;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });
const RING = [
  { kind: "polygon", points: circle(500, 500, 300), subtract: false },
  { kind: "polygon", points: circle(500, 500, 100), subtract: true },
];

/** A server whose answers come when the test says so. */
function server() {
  const asked = [];
  const fetch = (url, { body }) =>
    new Promise((resolve, reject) => asked.push({ url, body: JSON.parse(body), resolve, reject }));
  return { asked, fetch };
}

const reply = (value, ok = true) => ({ ok, json: async () => value });
const settled = () => new Promise((resolve) => setTimeout(resolve));

test("detail is the number of corners, and full detail leaves the answer as it came", () => {
  const counts = [0, 25, 50, 75, 99].map((detail) => cornersIn(detailed(RING, detail)));

  assert.deepEqual(counts, [...counts].sort((a, b) => a - b));
  assert.ok(counts[0] < 20 && counts[4] > 100);
  assert.deepEqual(detailed(RING, 100), RING);
  assert.equal(toleranceOf([], 50), 0);
});

test("a simpler outline stays within the tolerance and keeps its area and its hole", () => {
  const simpler = detailed(RING, 50);

  assert.deepEqual(simpler.map(({ subtract }) => subtract), [false, true]);
  assert.ok(Math.abs(polygonArea(simpler[0].points) / (Math.PI * 300 ** 2) - 1) < 0.02);
  for (const [x, y] of simpler[0].points) assert.ok(Math.abs(Math.hypot(x - 500, y - 500) - 300) < 1e-6);
});

test("a hole too small for the detail goes, the object never does", () => {
  const pin = { kind: "polygon", points: circle(500, 500, 2, 12), subtract: true };
  const thin = [{ kind: "polygon", points: [[0, 0], [1000, 0.5], [1000, 1], [0, 1]], subtract: false }];

  assert.equal(detailed([RING[0], pin], 0).length, 1);
  assert.ok(detailed(thin, 0)[0].points.length >= 3);
});

test("a closed outline is simplified wherever it starts", () => {
  const square = [[5, 0], [10, 0], [10, 5], [10, 10], [5, 10], [0, 10], [0, 5], [0, 0]];

  assert.equal(polygonArea(simplifyRing(square, 0.5)), 100);
  assert.ok(simplifyRing(square, 0.5).length <= 5);
  assert.deepEqual(simplifyRing(square.slice(0, 3), 5), square.slice(0, 3));
});

test("a prompt is asked about as soon as it says something", () => {
  const inside = { points: [[1, 1]], inside: true, radius: 2 };
  const outside = { ...inside, inside: false };

  assert.equal(requestOf("box", { points: [[0, 0]], strokes: [] }, 12), null);
  assert.equal(requestOf("box", { points: [[0, 0], [9, 9]], strokes: [inside] }, 12).kind, "box");
  assert.equal(requestOf("box", { points: [[0, 0], [9, 9], [0, 9]], strokes: [] }, 12).kind, "polygon");
  assert.deepEqual(requestOf("wand", { points: [[3, 4]], strokes: [] }, 7), { kind: "wand", points: [[3, 4]], tolerance: 7 });
  assert.equal(requestOf("scribble", { points: [], strokes: [outside] }, 12), null);
  assert.deepEqual(requestOf("click", { points: [], strokes: [inside, outside] }, 12).strokes, [inside, outside]);
  assert.deepEqual([clampTolerance(-3), clampTolerance(300)], [0, 100]);
});

test("one question at a time, then only the newest, and its answer alone is heard", async () => {
  const { asked, fetch } = server();
  const heard = [];
  const asker = new Asker(fetch, (answer) => heard.push(answer));

  for (const body of [1, 2, 3]) asker.ask("assist/x", body);
  assert.deepEqual(asked.map(({ body }) => body), [1]);
  asked[0].resolve(reply({ ops: ["old"] }));
  await settled();
  assert.deepEqual(asked.map(({ body }) => body), [1, 3]);
  assert.equal(asker.isBusy, true);
  asked[1].resolve(reply({ ops: ["new"] }));
  await settled();

  assert.deepEqual(heard, [{ ops: ["new"] }]);
  assert.equal(asker.isBusy, false);
});

test("what was dropped is not heard of again, and the next question still goes out", async () => {
  const { asked, fetch } = server();
  const heard = [];
  const asker = new Asker(fetch, (answer) => heard.push(answer));

  asker.ask("assist/x", "dropped");
  asker.drop();
  assert.equal(asker.isBusy, false);
  asker.ask("assist/x", "wanted");
  asked[0].resolve(reply({ ops: [1] }));
  await settled();
  asked[1].resolve(reply({ ops: [2] }));
  await settled();

  assert.deepEqual(heard, [{ ops: [2] }]);
});

test("a refusal is its sentence; a lost connection and a page that is no answer are one too", async () => {
  const { asked, fetch } = server();
  const heard = [];
  const asker = new Asker(fetch, (answer) => heard.push(answer));

  for (const settle of [
    (question) => question.resolve(reply({ message: "The box lies outside the photo." }, false)),
    (question) => question.reject(new TypeError("offline")),
    (question) => question.resolve({ ok: true, json: async () => JSON.parse("<html>") }),
  ]) {
    asker.ask("assist/x", {});
    settle(asked.at(-1));
    await settled();
  }

  assert.equal(heard[0].error, "The box lies outside the photo.");
  assert.ok(heard.slice(1).every(({ error }) => error.includes("did not answer")));
});
