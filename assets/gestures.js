/**
 * Turn pointer events of the stage into tool strokes, panning and pinching.
 *
 * One pointer draws; two fingers pan and zoom and cancel what the first one began; the middle button
 * or a held space bar pans. Once a pen was seen, a single finger pans, so a resting hand draws nothing.
 */

import { distance } from "./geometry.js";
import * as views from "./view.js";

const CLICK_REACH = { mouse: 4, pen: 6, touch: 10 };

export class Gestures {
  #element;
  #host;
  #fingers = new Map();
  #mode = null;
  #last = null;
  #start = null;
  #penSeen = false;
  isSpaceHeld = false;

  /**
   * @param host `{view, setView(view), limits(), tool(), hover(point | null), isBlocked(), isOnlyLooking()}`;
   *   while it is only looking, every pointer pans
   */
  constructor(element, host, signal) {
    this.#element = element;
    this.#host = host;
    const listen = (type, handle, options = {}) =>
      element.addEventListener(type, (event) => handle(event), { signal, ...options });
    listen("pointerdown", (event) => this.#down(event));
    listen("pointermove", (event) => this.#move(event));
    listen("pointerup", (event) => this.#up(event));
    listen("pointercancel", (event) => this.#cancel(event));
    listen("pointerleave", () => this.#mode === null && host.hover(null));
    listen("wheel", (event) => this.#wheel(event), { passive: false });
    listen("contextmenu", (event) => event.preventDefault());
    listen("auxclick", (event) => event.preventDefault());
  }

  /** Whether a tool's stroke is under way. */
  get isDrawing() {
    return this.#mode === "tool";
  }

  /** Drop whatever is under way: the image changes. */
  reset() {
    if (this.#mode === "tool") this.#host.tool().cancelStroke();
    this.#mode = null;
    this.#fingers.clear();
  }

  #point(event) {
    const box = this.#element.getBoundingClientRect();
    const screen = [event.clientX - box.left, event.clientY - box.top];
    return {
      screen,
      image: views.toImage(this.#host.view, screen),
      type: event.pointerType,
      alt: event.altKey || event.button === 2 || (event.buttons & 2) !== 0,
      shift: event.shiftKey,
      reach: CLICK_REACH[event.pointerType] ?? CLICK_REACH.mouse,
      time: event.timeStamp,
    };
  }

  #down(event) {
    this.#element.focus({ preventScroll: true });
    event.preventDefault();
    const point = this.#point(event);
    this.#penSeen ||= event.pointerType === "pen";
    if (event.pointerType === "touch") this.#fingers.set(event.pointerId, point.screen);
    if (this.#fingers.size === 2) return this.#beginPinch();
    if (this.#mode !== null || this.#host.isBlocked()) return;
    this.#element.setPointerCapture(event.pointerId);
    [this.#start, this.#last] = [point, point];
    const isPalm = event.pointerType === "touch" && this.#penSeen;
    if (event.button === 1 || this.isSpaceHeld || isPalm || this.#host.isOnlyLooking()) {
      this.#mode = "pan";
    } else if (event.button === 0 || event.button === 5 || (event.button === 2 && this.#host.tool().takesRight)) {
      this.#mode = this.#host.tool().down(point) === "pan" ? "pan" : "tool";
    }
    this.#element.classList.toggle("panning", this.#mode === "pan");
  }

  #beginPinch() {
    if (this.#mode === "tool") this.#host.tool().cancelStroke();
    this.#mode = "pinch";
    this.#last = [...this.#fingers.values()];
  }

  #move(event) {
    const point = this.#point(event);
    if (this.#fingers.has(event.pointerId)) this.#fingers.set(event.pointerId, point.screen);
    if (this.#mode === "pinch") {
      const now = [...this.#fingers.values()];
      if (now.length < 2) return;
      this.#host.setView(views.pinch(this.#host.view, this.#last, now, this.#host.limits()));
      this.#last = now;
    } else if (this.#mode === "pan") {
      const [from, to] = [this.#last.screen, point.screen];
      this.#host.setView(views.pan(this.#host.view, to[0] - from[0], to[1] - from[1]));
      this.#last = point;
    } else if (this.#mode === "tool") {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length > 0 ? events : [event]) this.#host.tool().move(this.#point(each));
      this.#host.hover(point);
    } else {
      this.#host.hover(point);
    }
  }

  #up(event) {
    const point = this.#point(event);
    this.#fingers.delete(event.pointerId);
    const mode = this.#mode;
    if (mode === "pinch" && this.#fingers.size > 0) return;
    this.#mode = null;
    this.#element.classList.remove("panning");
    if (mode === "tool") this.#host.tool().up(point);
    const isClick = this.#start && distance(this.#start.screen, point.screen) <= point.reach;
    const isOnNothing = mode === "pan" && isClick && event.button === 0 && !this.#host.isOnlyLooking();
    if (isOnNothing) this.#host.tool().clickedNothing?.();
    if (event.pointerType === "touch") this.#host.hover(null);
  }

  #cancel(event) {
    this.#fingers.delete(event.pointerId);
    if (this.#mode === "tool") this.#host.tool().cancelStroke();
    if (this.#fingers.size === 0) this.#mode = null;
    this.#element.classList.remove("panning");
  }

  #wheel(event) {
    event.preventDefault();
    if (!this.#host.isOnlyLooking() && this.#host.tool().wheel?.(event)) return;
    const point = this.#point(event);
    const factor = views.wheelFactor(event);
    this.#host.setView(views.zoomAt(this.#host.view, factor, point.screen, this.#host.limits()));
    this.#host.hover(this.#point(event));
  }
}
