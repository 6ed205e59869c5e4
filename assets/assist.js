/** What the assistance tools ask the server and what they make of its answers; no screen in here. */

import { boxOfPoints, distance, simplify } from "./geometry.js";

/** The tools; each is there where the server offers its `kind`. */
export const ASSIST_TOOLS = [
  { name: "smart", kind: "box", icon: "smartBox", title: "Smart box", key: "G" },
  { name: "scribble", kind: "scribble", icon: "scribble", title: "Scribble", key: "Q" },
  { name: "wand", kind: "wand", icon: "wand", title: "Wand", key: "W" },
  { name: "click", kind: "click", icon: "clickObject", title: "Click an object", key: "Z" },
];

export const DETAIL = 50;
export const TOLERANCE = 12;
const MOST_TOLERANCE = 100;
/** At detail 0 an outline may leave the answer's by this share of its box's diagonal. */
const COARSEST = 0.04;
/** From detail 0 to 99 the tolerance shrinks by this factor; at 100 every corner stays. */
const SPAN = 100;

const NO_ANSWER = "The server did not answer. Try again.";

/** How far a simpler outline may leave the answer's, in image pixels. */
export function toleranceOf(ops, detail) {
  if (detail >= 100 || ops.length === 0) return 0;
  const [x0, y0, x1, y1] = boxOfPoints(ops.flatMap((op) => op.points));
  return Math.hypot(x1 - x0, y1 - y0) * COARSEST * SPAN ** (-detail / 100);
}

/** The answer with as many corners as a detail of 0 to 100 leaves; a hole too small for it goes. */
export function detailed(ops, detail) {
  const tolerance = toleranceOf(ops, detail);
  const simpler = ops.map((op) => ({ ...op, points: simplifyRing(op.points, tolerance) }));
  return simpler
    .map((op, i) => (op.points.length < 3 && !op.subtract ? ops[i] : op))
    .filter((op) => op.points.length >= 3);
}

/** `simplify` for a closed outline: cut at two corners that are far apart, and both halves simplified. */
export function simplifyRing(points, tolerance) {
  if (tolerance <= 0 || points.length < 4) return points;
  const first = farthestFrom(points, 0);
  const second = farthestFrom(points, first);
  const [from, to] = first < second ? [first, second] : [second, first];
  const there = simplify(points.slice(from, to + 1), tolerance);
  const back = simplify([...points.slice(to), ...points.slice(0, from + 1)], tolerance);
  return [...there.slice(0, -1), ...back.slice(0, -1)];
}

function farthestFrom(points, index) {
  let best = index === 0 ? 1 : 0;
  points.forEach((point, i) => {
    if (distance(point, points[index]) > distance(points[best], points[index])) best = i;
  });
  return best;
}

export function cornersIn(ops) {
  return ops.reduce((sum, op) => sum + op.points.length, 0);
}

export function clampTolerance(value) {
  return Math.max(0, Math.min(MOST_TOLERANCE, Math.round(value)));
}

/** What is sent for a prompt; null while it says nothing yet. */
export function requestOf(kind, { points, strokes }, tolerance) {
  if (kind === "box") {
    if (points.length < 2) return null;
    return { kind: points.length === 2 ? "box" : "polygon", points, strokes };
  }
  if (kind === "wand") return points.length === 1 ? { kind, points, tolerance } : null;
  return strokes.some(({ inside }) => inside) ? { kind, strokes } : null;
}

/**
 * Ask one thing at a time: while an answer is awaited only the newest further question is kept, and what
 * was dropped is never heard of again.
 */
export class Asker {
  #fetch;
  #onAnswer;
  #underWay = null;
  #next = null;

  /** @param onAnswer called with `{ops}` or `{error}` */
  constructor(fetch, onAnswer) {
    this.#fetch = fetch;
    this.#onAnswer = onAnswer;
  }

  /** Whether something asked and not dropped is still to be answered. */
  get isBusy() {
    return this.#next !== null || (this.#underWay !== null && !this.#underWay.isDropped);
  }

  ask(url, body) {
    const question = { url, body, isDropped: false };
    if (this.#underWay) this.#next = question;
    else this.#send(question);
  }

  drop() {
    this.#next = null;
    if (this.#underWay) this.#underWay.isDropped = true;
  }

  async #send(question) {
    this.#underWay = question;
    const answer = await this.#answerTo(question);
    const next = this.#next;
    [this.#underWay, this.#next] = [null, null];
    if (next) this.#send(next); // the answer that came is to an older question
    else if (!question.isDropped) this.#onAnswer(answer);
  }

  async #answerTo({ url, body }) {
    try {
      const headers = { "content-type": "application/json" };
      const response = await this.#fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
      const said = await response.json();
      return response.ok ? { ops: said.ops } : { error: said.message ?? NO_ANSWER };
    } catch {
      return { error: NO_ANSWER }; // no connection, or a proxy's page instead of JSON
    }
  }
}
