/**
 * Save one image's labels: at most one request under way, the newest state next, nothing lost.
 * A content is `{annotations, state, note}`.
 *
 * Statuses: `idle` (nothing changed), `saving`, `saved`, `retrying` (network, server or disk),
 * `conflict` (somebody else saved first), `expired` (the signed link), `refused` (the server will
 * never take this; `isGone` when it has the photo no more). Unsent work is kept in `storage` until the
 * server has it.
 */

import { isSameContent } from "./changes.js";

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30000;
/** Browsers refuse bigger keepalive bodies. Source: https://fetch.spec.whatwg.org/ (64 KiB). */
const KEEPALIVE_BYTES = 60000;

export class Saver {
  #env;
  #sending = null;
  #next = null;
  #failed = null;
  #unanswered = []; // sent on this `rev`, answer lost: the server may hold any one of them
  #timer = null;
  #delay = FIRST_DELAY_MS;
  #waiting = [];
  #isClosed = false;
  #isDraftHeld = false;

  /**
   * @param {{imageId: string, rev: number, url: string, content: object?}} target the content of `rev`
   * @param {{fetch, storage, setTimeout, clearTimeout, now, onStatus, onConflict}} env
   *   the outside world, so that tests need no browser.
   */
  constructor(target, env) {
    this.imageId = target.imageId;
    this.rev = target.rev;
    this.base = target.content ?? null; // what `rev` holds: both sides of a conflict started from it
    this.url = target.url;
    this.status = "idle";
    this.message = "";
    this.savedAt = null;
    this.conflict = null;
    this.isGone = false;
    this.left = []; // `{id, reason}` of what the server saved without
    this.#env = env;
  }

  get isClean() {
    return !this.#sending && !this.#next && !this.#failed;
  }

  /** Take a new state to save; it replaces any older one still waiting. */
  change(content) {
    this.#failed = null;
    this.#next = content;
    this.#keepDraft(content);
    if (this.status === "conflict" || this.status === "expired") return;
    this.#sendNext();
  }

  /** Wait until everything is on the server: true; or false when the user has to decide first. */
  flush() {
    if (this.isClean) return Promise.resolve(true);
    if (this.#isStuck()) return Promise.resolve(false);
    this.retryNow();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Try again at once: the network came back, or the user asked. */
  retryNow() {
    if (this.#isStuck()) return;
    this.#next ??= this.#failed;
    this.#failed = null;
    this.#sendNext();
  }

  /** Last words of a page that goes away: fire, and leave the draft for the next visit. */
  sendBeforeLeaving() {
    const content = this.#next ?? this.#failed;
    if (!content || this.#sending || this.#isStuck()) return;
    this.#next = this.#failed = null;
    this.#request(content);
  }

  /**
   * Answer a conflict: "mine" goes on top of theirs, so does "both", the merged content; "theirs" drops
   * ours. Gives what to show.
   */
  resolve(choice, merged = null) {
    const theirs = this.conflict;
    const ours = choice === "both" ? merged : (this.#next ?? this.#failed);
    this.conflict = null;
    [this.rev, this.base] = [theirs.rev, contentOf(theirs)];
    this.#next = this.#failed = null;
    if (choice !== "theirs") {
      this.#set("saving");
      this.change(ours);
      return ours;
    }
    this.#forgetDraft();
    this.savedAt = theirs.saved_at ?? null;
    this.#set("saved");
    return theirs;
  }

  /** What an earlier visit could not send: `{rev, annotations, state, note, at}`, or null. */
  draft() {
    try {
      return JSON.parse(this.#env.storage.getItem(this.#draftKey()) ?? "null");
    } catch {
      return null; // a half-written or foreign entry is as good as none
    }
  }

  dropDraft() {
    this.releaseDraft();
    this.#forgetDraft();
  }

  /** Leave the draft where it is until the user has decided about it: what is drawn meanwhile is only sent. */
  holdDraft() {
    this.#isDraftHeld = true;
  }

  releaseDraft() {
    this.#isDraftHeld = false;
  }

  /** Let go of what the server refused. */
  giveUp() {
    if (this.status !== "refused") return;
    this.#failed = null;
    this.#forgetDraft();
  }

  /** Build on a newer revision with its content; only while there is nothing of ours to lose. */
  adopt(rev, content = null) {
    if (this.isClean && rev > this.rev) [this.rev, this.base] = [rev, content];
  }

  /** Use a freshly signed link; what the old one could not send goes out at once. */
  renew(url) {
    if (url === this.url) return;
    this.url = url;
    if (this.status !== "expired") return;
    this.#set("retrying");
    this.retryNow();
  }

  close() {
    this.sendBeforeLeaving();
    this.#isClosed = true;
    this.#env.clearTimeout(this.#timer);
  }

  #isStuck() {
    return ["conflict", "expired", "refused"].includes(this.status) && !this.#sending;
  }

  #sendNext() {
    if (this.#sending || !this.#next) return;
    this.#env.clearTimeout(this.#timer);
    const content = this.#next;
    this.#next = null;
    this.#set(this.status === "retrying" ? "retrying" : "saving", this.message);
    this.#request(content);
  }

  #body(content) {
    const { annotations, state, note } = content;
    return JSON.stringify({ rev: this.rev, annotations, state, note: note ?? "" });
  }

  async #request(content) {
    this.#sending = content;
    const body = this.#body(content);
    const request = {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body,
      keepalive: isSmall(body), // outlives the page when the tab is closed
    };
    let response = null;
    let answer = {};
    try {
      response = await this.#env.fetch(this.url, request);
      answer = await response.json().catch(() => ({}));
    } catch {
      response = null; // no connection: handled like a server that is down
    }
    this.#sending = null;
    this.#read(content, response?.status ?? 0, answer);
  }

  #read(content, status, answer) {
    this.isGone = status === 404;
    if (status === 200) return this.#saved(answer, content);
    this.#failed = this.#next ? null : content;
    if (status === 409) return this.#collided(content, answer);
    if (status === 403) return this.#stop("expired", "This page's link has expired. Reload the page.");
    if (status === 413 || status === 422 || status === 404) {
      this.#stop("refused", answer.message ?? "The server refused these labels.");
      return this.#sendNext();
    }
    if (this.#unanswered.at(-1) !== content) this.#unanswered.push(content);
    this.#retryLater(answer.message);
  }

  #saved(answer, content) {
    [this.rev, this.base] = [answer.rev, content];
    this.savedAt = answer.saved_at ?? null;
    this.left = answer.refused ?? [];
    this.#unanswered = [];
    this.#delay = FIRST_DELAY_MS;
    if (this.#next) {
      this.#keepDraft(this.#next);
      this.#set("saving");
      return this.#sendNext();
    }
    this.#forgetDraft();
    this.#set("saved");
    this.#answerWaiting(true);
  }

  #collided(content, theirs) {
    const isOnServer = (sent) => isSameContent(theirs, sent);
    if (isOnServer(content)) {
      this.#failed = null; // our own request arrived, only its answer was lost
      return this.#saved(theirs, content);
    }
    if (this.#unanswered.some(isOnServer)) {
      this.#next ??= content; // an earlier one of ours arrived: this one goes on top of it
      this.#failed = null;
      return this.#saved(theirs, contentOf(theirs));
    }
    this.#unanswered = [];
    this.conflict = theirs;
    this.#stop("conflict", theirs.message ?? "");
    this.#env.onConflict?.(theirs, this);
  }

  #stop(status, message) {
    this.#set(status, message);
    this.#answerWaiting(false);
  }

  #retryLater(message = "") {
    this.#set("retrying", message);
    if (this.#isClosed) return;
    this.#timer = this.#env.setTimeout(() => this.retryNow(), this.#delay);
    this.#delay = Math.min(LONGEST_DELAY_MS, this.#delay * 2);
  }

  #answerWaiting(isSaved) {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve(isSaved);
  }

  #set(status, message = "") {
    this.status = status;
    this.message = message;
    this.#env.onStatus?.(this);
  }

  #draftKey() {
    return `maskwright.unsent.${this.imageId}`;
  }

  #keepDraft(content) {
    if (this.#isDraftHeld) return;
    const draft = { rev: this.rev, ...content, at: this.#env.now() };
    try {
      this.#env.storage.setItem(this.#draftKey(), JSON.stringify(draft));
    } catch {
      // full or forbidden storage: the request itself still goes out
    }
  }

  #forgetDraft() {
    if (this.#isDraftHeld) return;
    try {
      this.#env.storage.removeItem(this.#draftKey());
    } catch {
      // forbidden storage holds nothing to forget
    }
  }
}

function contentOf({ annotations, state, note }) {
  return { annotations: annotations ?? [], state, note: note ?? "" };
}

/** Counted in bytes only where it is close: letters of notes may take several. */
function isSmall(body) {
  if (3 * body.length < KEEPALIVE_BYTES) return true;
  return body.length < KEEPALIVE_BYTES && new TextEncoder().encode(body).length < KEEPALIVE_BYTES;
}
