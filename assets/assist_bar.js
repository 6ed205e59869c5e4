/** The assistance on the canvas: its tools, the answer on show, and the bar that steers it. */

import { Asker, ASSIST_TOOLS, clampTolerance, cornersIn, detailed, DETAIL, TOLERANCE } from "./assist.js";
import { iconButton, make } from "./dom.js";
import { address } from "./surroundings.js";
import { AssistTool } from "./tool_assist.js";

const HOW = {
  smart: "Drag a box around the object, or click a rough outline.",
  scribble: "Drag over the object; with Alt over what is not part of it.",
  wand: "Click a colour.",
  click: "Click the object; with Alt what is not part of it.",
};
const HOW_BY_TOUCH = {
  smart: "Drag a box around the object, or tap a rough outline.",
  scribble: "Drag over the object, or choose Outside first.",
  wand: "Tap a colour.",
  click: "Tap the object, or choose Outside first.",
};
const FOUND = "Enter takes it, Esc drops it.";
const FOUND_BY_TOUCH = "Finish takes it.";
const NOTHING = "Nothing was found there. Mark more, or draw by hand.";

export class Assist {
  ops = null;
  error = "";
  detail = DETAIL;
  tolerance = TOLERANCE;
  mark = null;
  #shown = null;
  #known = [];

  constructor(app) {
    this.app = app;
    this.asker = new Asker((...request) => fetch(...request), (answer) => this.#take(answer));
    this.tools = Object.fromEntries(
      ASSIST_TOOLS.map(({ name, kind }) => [name, new AssistTool(app, this, kind)]),
    );
    this.buttons = ASSIST_TOOLS.map(({ name, icon, title, key }) =>
      iconButton(icon, {
        title, key, testid: `tool-${name}`, "aria-pressed": "false", hidden: "", onclick: () => this.choose(name),
      }),
    );
    this.element = this.#bar();
  }

  get isBusy() {
    return this.asker.isBusy;
  }

  /** The answer as it would be taken: with the corners that the slider leaves. */
  get shown() {
    if (!this.ops) return [];
    const { ops, detail } = this.#shown ?? {};
    if (ops !== this.ops || detail !== this.detail) {
      this.#shown = { ops: this.ops, detail: this.detail, result: detailed(this.ops, this.detail) };
    }
    return this.#shown.result;
  }

  offers(name) {
    const { kind } = ASSIST_TOOLS.find((tool) => tool.name === name);
    const { assist_kinds: kinds, assist_url: url } = this.app.data ?? {};
    return Boolean(url) && (kinds ?? []).includes(kind);
  }

  choose(name) {
    if (!this.offers(name)) return;
    if (this.app.setTool(name)) this.tools[name].enter();
  }

  ask(request) {
    [this.error, this.isLooking] = ["", true];
    this.asker.ask(address(this.app.data.assist_url), request);
    this.app.redraw();
  }

  /** Let the server look at the photo before the first click. */
  prepare() {
    if (!this.isBusy) this.asker.ask(address(this.app.data.assist_url), { kind: "click", strokes: [] });
  }

  drop() {
    this.asker.drop();
    [this.ops, this.error, this.isLooking, this.app.live] = [null, "", false, null];
  }

  #take({ ops, error }) {
    if (!this.app.activeTool.isDrawing || !this.isLooking) {
      if (error) this.app.hint(error); // of the first look at the photo
      return this.app.redraw();
    }
    this.error = error ?? (ops.length === 0 ? NOTHING : "");
    if (!error) this.ops = ops;
    this.#show();
  }

  #show() {
    const ops = this.shown;
    const annotation = { id: "", category_id: this.app.category.category_id, ops };
    this.app.live = ops.length > 0 ? { annotation, isCached: false } : null;
    this.app.draftChanged();
  }

  setDetail(detail) {
    this.detail = Math.max(0, Math.min(100, Math.round(detail)));
    this.#show();
  }

  setTolerance(tolerance) {
    this.tolerance = clampTolerance(tolerance);
    this.app.activeTool.askAgain?.();
    this.app.redraw();
  }

  /** Mark by plain presses, for those who have no Alt key: touch and pen. */
  setMark(mark) {
    this.mark = this.mark === mark ? null : mark;
    this.app.redraw();
  }

  #bar() {
    this.text = make("span", { class: "assist-text", role: "status", "data-testid": "assist-text" });
    const slider = (label, testid, oninput, title) => {
      const input = make("input", {
        type: "range", min: "0", max: "100", step: "1", "aria-label": label, "data-testid": testid,
        oninput: (event) => oninput(Number(event.target.value)),
      });
      const output = make("output", {});
      return { input, output, box: make("label", { class: "slider", title }, make("span", {}, label), input, output) };
    };
    this.detailSlider = slider("Detail", "assist-detail", (value) => this.setDetail(value), "How many corners are kept");
    this.toleranceSlider = slider(
      "Tolerance", "assist-tolerance", (value) => this.setTolerance(value), "How unlike a colour may be ([ and ], Alt-wheel)",
    );
    const mark = (name, label) =>
      make("button", {
        type: "button", "aria-pressed": "false", "data-testid": `assist-${name}`, onclick: () => this.setMark(name),
      }, label);
    this.marks = { inside: mark("inside", "Inside"), outside: mark("outside", "Outside") };
    const sliders = [this.toleranceSlider.box, this.detailSlider.box];
    return make(
      "div", { class: "assist", role: "toolbar", "aria-label": "Assistance", hidden: "", "data-testid": "assist-bar" },
      this.text, this.marks.inside, this.marks.outside, ...sliders,
    );
  }

  /** Bring buttons and bar up to date; what did not change stays untouched. */
  update() {
    const { tool, data } = this.app;
    const isActive = tool in this.tools;
    const values = [
      tool, data.assist_kinds?.join(), Boolean(data.assist_url), this.ops, this.error, this.isBusy && this.isLooking,
      this.detail, this.tolerance, this.mark, isActive && this.tools[tool].isDrawing,
    ];
    if (values.every((value, i) => value === this.#known[i])) return;
    this.#known = values;
    ASSIST_TOOLS.forEach(({ name }, i) => {
      this.buttons[i].hidden = !this.offers(name);
      this.buttons[i].setAttribute("aria-pressed", String(name === tool));
    });
    this.element.hidden = !isActive;
    if (isActive) this.#showBar(tool);
  }

  #showBar(tool) {
    const { detailSlider, toleranceSlider, marks } = this;
    const isLooking = this.isBusy && this.isLooking;
    const [found, how] = isByTouch() ? [FOUND_BY_TOUCH, HOW_BY_TOUCH] : [FOUND, HOW];
    this.text.textContent = isLooking ? "Looking…" : this.error || (this.ops ? found : how[tool]);
    this.element.dataset.state = isLooking ? "busy" : this.error ? "error" : this.ops ? "found" : "idle";
    this.element.setAttribute("aria-busy", String(isLooking));
    detailSlider.box.hidden = !this.ops;
    detailSlider.input.value = String(this.detail);
    detailSlider.output.textContent = `${cornersIn(this.shown)} corners`;
    toleranceSlider.box.hidden = tool !== "wand";
    toleranceSlider.input.value = String(this.tolerance);
    toleranceSlider.output.textContent = String(this.tolerance);
    for (const [name, button] of Object.entries(marks)) {
      button.hidden = tool === "wand" || (tool === "smart" && !this.tools.smart.isDrawing);
      button.setAttribute("aria-pressed", String(this.mark === name));
    }
  }
}

/** Whether a finger or a pen is what points, and there may be no keys. */
function isByTouch() {
  return globalThis.matchMedia?.("(pointer: coarse)").matches ?? false;
}
