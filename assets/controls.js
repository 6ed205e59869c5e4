/** The controls around the stage: built once, then brought up to date from plain state. */

import { clockTime, iconButton, make } from "./dom.js";
import { ClassList } from "./class_list.js";
import { copyPrevious } from "./copy_previous.js";
import { icon } from "./icons.js";
import { LookPanel } from "./look.js";
import { Notes } from "./notes.js";
import { ObjectList } from "./object_list.js";
import { labelsAmong, Review } from "./review.js";
import { SelectionBar } from "./selection_bar.js";

export { clockTime, make };

export const TOOLS = [
  { name: "select", icon: "select", title: "Select and reshape", key: "V" },
  { name: "polygon", icon: "polygon", title: "Polygon", key: "P" },
  { name: "rectangle", icon: "rectangle", title: "Rectangle", key: "R" },
  { name: "brush", icon: "brush", title: "Brush", key: "B" },
  { name: "eraser", icon: "eraser", title: "Eraser", key: "E" },
  { name: "subtract", icon: "hole", title: "Cut a hole", key: "S" },
  { name: "split", icon: "split", title: "Split by a line", key: "X" },
];

const SHORTCUTS = [
  ["V", "Select, move, reshape"], ["P", "Polygon: click, or drag to trace"],
  ["R", "Rectangle: drag, or click two corners"], ["B / E", "Brush / eraser"],
  ["S", "Cut a hole"], ["X", "Split an object by a line"], ["C", "New objects cut others, or not"],
  ["G", "Smart box, or rough outline"], ["Q", "Scribble inside, with Alt outside"],
  ["W", "Wand; [ ] for its tolerance"], ["Z", "Click an object, where it is set up"],
  ["[ ]", "Brush size; detail of a found outline"], ["Alt-wheel", "Brush size"], ["Shift-click", "Choose one more, or one less"],
  ["Shift-drag", "Choose all inside a box; a square"], ["Ctrl A", "Choose all objects"],
  ["↑ ↓", "Choose the object above, below"], ["M", "Merge the chosen objects"], ["Ctrl D", "Duplicate them"],
  ["Shift ← ↑", "Move them by a pixel"], ["Shift Alt ←", "Move them by ten pixels"],
  ["Ctrl ↑", "Up in painting order"], ["Ctrl ↓", "Down in painting order"], ["L", "Lock them"], ["1–9", "Category"], ["Enter", "Finish the object"],
  ["Esc", "Cancel, deselect"], ["Backspace", "Take back the last corner"], ["Delete", "Delete corner or object"],
  ["Alt-click", "Delete a corner"], ["Right-drag", "Outside, for the assistance"], ["Ctrl Z", "Undo"], ["Ctrl Shift Z", "Redo"], ["Wheel", "Zoom to the cursor"],
  ["Space-drag", "Move the photo"], ["Space ← ↑", "Move the photo"], ["+ / -", "Zoom"],
  ["Shift S", "Suggest what the champion sees"], ["Enter / Backspace", "Accept / reject a suggestion"],
  ["Shift A", "Accept all suggestions"], ["Shift R", "Reject all suggestions"],
  ["F / 0", "Whole photo / 1:1"], ["H", "Hide all objects"], ["T", "Outlines only"], ["I", "Light and contrast"],
  ["← →", "Previous, next photo"], ["D", "Done, next photo"], ["O", "No damage, next photo"],
  ["Y / N", "Approve / reject with a note"], ["U", "Back to in progress"],
  ["J", "Copy the objects of the photo before"], ["K", "Write a note"], ["?", "This list"],
];

const SAVE_WORDS = {
  idle: "No changes",
  saving: "Saving…",
  retrying: "Not saved – retrying",
  conflict: "Not saved: changed elsewhere",
  expired: "Not saved: link expired",
  refused: "Not saved",
};

export class Controls {
  #refs = {};
  #parts = new Map();
  #asked = []; // the last one shows
  #shownAsked = null;

  /** @param act the labeler's actions, called by the buttons */
  constructor(act, stage) {
    this.act = act;
    this.notes = new Notes(act);
    this.review = new Review(act);
    const refs = this.#refs;
    refs.hint = make("div", { class: "hint", role: "status", "aria-live": "polite", "data-testid": "hint" });
    refs.banner = make("div", { class: "banner", role: "alert", hidden: "", "data-testid": "banner" });
    refs.draft = this.#draftBar();
    refs.help = this.#helpPanel();
    refs.loading = make("div", { class: "loading" });
    this.selection = new SelectionBar(act);
    stage.append(refs.loading, refs.hint, this.selection.element, refs.draft, refs.banner, refs.help);
    this.root = make("section", { class: "labeler", "aria-label": "Label canvas", "data-testid": "labeler" });
    this.frame = make("div", { class: "frame" }, this.#head(), this.#toolbar(), stage, this.#dock(), this.#side());
    stage.append(act.suggestions.bar, this.lookPanel.element, this.review.menu, this.review.form);
    stage.append(act.assist.element);
    this.root.append(this.frame);
  }

  #head() {
    const { act } = this;
    const refs = this.#refs;
    refs.previous = iconButton("previous", {
      title: "Previous photo", key: "←", testid: "previous", onclick: () => act.leaving.navigate("previous"),
    });
    refs.next = iconButton("next", { title: "Next photo", key: "→", testid: "next", onclick: () => act.leaving.navigate("next") });
    refs.position = make("span", { class: "position", "data-testid": "position" });
    refs.name = make("span", { class: "name" });
    refs.save = make("span", { class: "save", role: "status", "data-testid": "save-state" });
    refs.noDamage = make("button", {
      type: "button", class: "quiet", "data-testid": "no-damage", title: "Nothing to mark on this photo",
      html: `${icon("none")}<span>No damage</span>`, onclick: () => act.leaving.noDamage(),
    });
    refs.done = make("button", {
      type: "button", class: "primary", "data-testid": "done-next", title: "Done, next photo (D)",
      html: `${icon("check")}<span>Done, next</span>`, onclick: () => act.leaving.navigate("done_next"),
    });
    const where = make("div", { class: "where" }, refs.previous, refs.position, refs.next);
    const what = make("div", { class: "what" }, refs.name);
    return make("header", {}, where, what, this.review.button, refs.save, make("div", { class: "finish" }, refs.noDamage, refs.done));
  }

  #toolbar() {
    const { act } = this;
    const refs = this.#refs;
    refs.tools = TOOLS.map((tool) =>
      iconButton(tool.icon, {
        title: tool.title, key: tool.key, testid: `tool-${tool.name}`, "aria-pressed": "false",
        onclick: () => act.setTool(tool.name),
      }),
    );
    refs.cutting = iconButton("cutUnder", {
      title: "New objects cut others", key: "C", testid: "cut-under", "aria-pressed": "false",
      onclick: () => act.objects.toggleCutting(),
    });
    refs.undo = iconButton("undo", { title: "Undo", key: "Ctrl Z", testid: "undo", onclick: () => act.undo() });
    refs.redo = iconButton("redo", { title: "Redo", key: "Ctrl Shift Z", testid: "redo", onclick: () => act.redo() });
    refs.list = iconButton("list", {
      title: "Objects", testid: "toggle-objects", class: "icon narrow", "aria-expanded": "false",
      onclick: () => this.#toggleList(),
    });
    const help = iconButton("help", {
      title: "Keyboard shortcuts", key: "?", testid: "help", onclick: () => this.toggleHelp(),
    });
    const rule = () => make("span", { class: "rule" });
    return make(
      "div",
      { class: "tools", role: "toolbar", "aria-label": "Tools", "aria-orientation": "vertical" },
      ...refs.tools, ...act.assist.buttons, act.suggestions.button, rule(), refs.cutting, rule(), refs.undo, refs.redo, rule(), refs.list, help,
    );
  }

  #dock() {
    const { act } = this;
    const refs = this.#refs;
    refs.size = make("input", {
      type: "range", min: "0", max: "100", step: "1", "aria-label": "Brush size",
      "data-testid": "brush-size", oninput: (event) => act.setBrushSlider(Number(event.target.value)),
    });
    refs.sizeText = make("output", {});
    refs.sizeBox = make("label", {
      class: "slider size", title: "Brush size ([ and ])",
    }, make("span", {}, "Size"), refs.size, refs.sizeText);
    refs.opacity = make("input", {
      type: "range", min: "0", max: "100", step: "5", "aria-label": "Fill opacity",
      "data-testid": "opacity", oninput: (event) => act.setOpacity(Number(event.target.value) / 100),
    });
    const opacity = make("label", {
      class: "slider fill", title: "How strongly objects are filled",
    }, make("span", {}, "Fill"), refs.opacity);
    refs.hide = iconButton("eye", {
      title: "Hide all objects", key: "H", testid: "hide-all", "aria-pressed": "false",
      onclick: () => act.toggleHidden(),
    });
    refs.look = iconButton("opacity", {
      title: "Light and contrast", key: "I", testid: "look", "aria-expanded": "false", "data-keeps-focus": "",
      onclick: () => this.lookPanel.toggle(),
    });
    this.lookPanel = new LookPanel(act, refs.look);
    refs.zoom = make("output", { class: "zoom", "data-testid": "zoom", "aria-label": "Zoom" });
    const fit = iconButton("fit", { title: "Whole photo", key: "F", testid: "fit", onclick: () => act.stage.fit() });
    const actual = make("button", {
      type: "button", class: "text", title: "One photo pixel per screen pixel (0)",
      "data-testid": "actual-size", "aria-label": "Actual size", onclick: () => act.stage.actualSize(),
    }, "1:1");
    const gap = make("span", { class: "gap" });
    return make("div", { class: "dock" }, refs.sizeBox, gap, opacity, refs.hide, refs.look, refs.zoom, fit, actual);
  }

  #side() {
    const refs = this.#refs;
    this.classes = new ClassList(this.act);
    this.list = new ObjectList(this.act);
    refs.count = make("span", { class: "count" });
    refs.grouped = iconButton("grouped", {
      title: "Group by class", testid: "group-objects", "aria-pressed": "false",
      onclick: () => this.act.objects.toggleGrouped(),
    });
    refs.copy = iconButton("copyPrevious", {
      title: "Copy the objects of the photo before", key: "J", testid: "copy-previous",
      onclick: () => copyPrevious(this.act),
    });
    refs.side = make(
      "aside", {},
      make("h2", {}, "Category"), this.classes.element,
      make("h2", { class: "objects-title" }, "Objects", refs.count, refs.copy, refs.grouped), this.list.element,
      this.notes.element,
    );
    return refs.side;
  }

  #draftBar() {
    const { act } = this;
    const button = (label, key, onclick, testid) =>
      make("button", { type: "button", title: `${label} (${key})`, "data-testid": testid, onclick }, label);
    return make(
      "div", { class: "draft", hidden: "", role: "toolbar", "data-testid": "draft" },
      button("Finish", "Enter", () => act.activeTool.finish?.(), "draft-finish"),
      button("Step back", "Backspace", () => act.activeTool.stepBack?.(), "draft-back"),
      button("Cancel", "Esc", () => act.activeTool.discard?.(), "draft-cancel"),
    );
  }

  #helpPanel() {
    const close = iconButton("close", { title: "Close", testid: "help-close", onclick: () => this.toggleHelp(false) });
    const rows = SHORTCUTS.flatMap(([keys, what]) => [
      make("dt", {}, ...keys.split(" ").map((key) => (key === "/" ? "/" : make("kbd", {}, key)))),
      make("dd", {}, what),
    ]);
    const head = make("div", { class: "help-head" }, make("h2", {}, "Keyboard and mouse"), close);
    return make("div", {
      class: "help", role: "dialog", "aria-label": "Keyboard shortcuts", hidden: "",
      "data-testid": "help-panel",
    }, head, make("dl", {}, ...rows));
  }

  toggleHelp(isOpen = this.#refs.help.hidden) {
    this.#refs.help.hidden = !isOpen;
    if (isOpen) this.#refs.help.querySelector("button").focus();
    else this.act.focus();
  }

  get isHelpOpen() {
    return !this.#refs.help.hidden;
  }

  /** Close what lies over the canvas; false when nothing does. */
  closeTopmost() {
    if (this.isHelpOpen) this.toggleHelp(false);
    else if (this.review.isOpen) this.review.close();
    else if (this.lookPanel.isOpen) this.lookPanel.toggle(false);
    else return false;
    this.act.focus();
    return true;
  }

  #toggleList() {
    const isOpen = this.frame.classList.toggle("list-open");
    this.#refs.list.setAttribute("aria-expanded", String(isOpen));
  }

  /** Show a sentence for a few seconds; an empty one hides it. */
  hint(text) {
    const { hint } = this.#refs;
    if (text) hint.textContent = text; // what goes away keeps its words while it fades
    hint.classList.toggle("shown", text !== "");
    clearTimeout(this.hintTimer);
    this.hintTimer = text ? setTimeout(() => this.hint(""), 4000) : setTimeout(() => hint.replaceChildren(), 300);
  }

  /**
   * Ask something: `choices` are `[label, action, testid]`. It lies over what was asked on other topics,
   * which is asked again once this one is withdrawn. Null closes them all.
   */
  ask(text, choices = [], topic = "", details = null) {
    const others = this.#asked.filter((each) => each.topic !== topic);
    this.#asked = text === null ? [] : [...others, { text, choices, topic, details }];
    this.#showAsked();
  }

  /** Take back what was asked on a topic that is settled. */
  withdraw(topic) {
    this.#asked = this.#asked.filter((each) => each.topic !== topic);
    this.#showAsked();
  }

  #showAsked() {
    const { banner } = this.#refs;
    const asked = this.#asked.at(-1) ?? null;
    if (asked === this.#shownAsked) return;
    this.#shownAsked = asked;
    banner.hidden = asked === null;
    if (asked === null) return;
    const { text, choices, details } = asked;
    const buttons = choices.map(([label, action, testid], i) =>
      make("button", {
        type: "button", class: i === 0 ? "primary" : "quiet", "data-testid": testid, onclick: action,
      }, label),
    );
    const more = details ? [details] : [];
    banner.replaceChildren(make("p", {}, text), ...more, make("div", {}, ...buttons));
    banner.classList.toggle("detailed", details !== null);
  }

  loading(text) {
    this.#refs.loading.textContent = text ?? "";
    this.#refs.loading.hidden = !text;
  }

  /** Bring everything up to date; parts whose `state` did not change stay untouched. */
  update(state) {
    const { image, annotations, categories } = state;
    const where = [image, state.position, state.hasPrevious, state.hasNext];
    const saving = [state.saveStatus, state.saveMessage, state.savedAt];
    this.#part("image", where, () => this.#showImage(state));
    this.#part("tool", [state.tool, state.isDrawing], () => this.#showTool(state));
    this.#part("history", [state.canUndo, state.canRedo], () => {
      this.#refs.undo.disabled = !state.canUndo;
      this.#refs.redo.disabled = !state.canRedo;
    });
    this.#part("dock", [state.size, state.sizeSlider, state.opacity, state.isHidden], () => this.#showDock(state));
    this.#part("zoom", [state.zoom], () => (this.#refs.zoom.textContent = `${state.zoom} %`));
    this.#part("save", saving, () => this.#showSave(state));
    this.#part("state", [state.imageState, annotations], () => this.review.update(state.imageState, annotations));
    this.#part("look", [state.look, state.opacity], () => this.lookPanel.update(state.look, state.opacity));
    this.#part("notes", [state.note, state.selected, state.isOnlyLooking], () => this.notes.update(state));
    const { access, selectedIds, isGrouped } = state;
    this.#part("palette", [categories, state.categoryId, annotations, access], () => this.classes.update(state));
    const listed = [annotations, selectedIds, access, categories, isGrouped];
    this.#part("objects", listed, () => this.#showObjects(state));
    this.#part("cutting", [state.isCutting], () => {
      this.#refs.cutting.setAttribute("aria-pressed", String(state.isCutting));
    });
    const chosen = [selectedIds.size, state.isPickingSeveral, state.hasVertex, state.tool, state.isDrawing, state.isOnlyLooking];
    this.#part("selection", chosen, () => this.#showSelection(state));
    this.#part("suggestions", this.act.suggestions.shown, () => this.act.suggestions.update());
  }

  #part(name, values, show) {
    const known = this.#parts.get(name);
    if (known && known.every((value, i) => value === values[i])) return;
    this.#parts.set(name, values);
    show();
  }

  #showImage({ image, position, hasPrevious, hasNext }) {
    const { name, position: where, previous, next } = this.#refs;
    name.textContent = name.title = image.name;
    where.textContent = position;
    previous.disabled = !hasPrevious;
    next.disabled = !hasNext;
    this.#refs.copy.disabled = !hasPrevious;
  }

  #showTool({ tool, isDrawing, underWay }) {
    TOOLS.forEach(({ name }, i) => {
      this.#refs.tools[i].setAttribute("aria-pressed", String(name === tool));
    });
    this.#refs.draft.hidden = !isDrawing;
    if (isDrawing) this.#refs.draft.setAttribute("aria-label", `${underWay[0].toUpperCase()}${underWay.slice(1)} under way`);
    this.#refs.sizeBox.hidden = tool !== "brush" && tool !== "eraser";
  }

  #showDock({ size, sizeSlider, opacity, isHidden }) {
    const refs = this.#refs;
    refs.size.value = String(sizeSlider);
    refs.sizeText.textContent = `${size} px`;
    refs.opacity.value = String(Math.round(opacity * 100));
    refs.hide.setAttribute("aria-pressed", String(isHidden));
    refs.hide.innerHTML = icon(isHidden ? "eyeOff" : "eye");
  }

  #showSave({ saveStatus, saveMessage, savedAt }) {
    const { save } = this.#refs;
    const words = saveStatus === "saved" ? `Saved ${clockTime(savedAt)}` : SAVE_WORDS[saveStatus];
    save.textContent = words;
    save.title = saveMessage || words;
    save.dataset.status = saveStatus;
  }

  #showSelection({ selectedIds, isPickingSeveral, hasVertex, tool, isDrawing, isOnlyLooking }) {
    const isShown = tool === "select" && !isDrawing && !isOnlyLooking && (selectedIds.size > 0 || isPickingSeveral);
    this.selection.update({ count: selectedIds.size, isPickingSeveral, hasVertex, isShown });
  }

  #showObjects(state) {
    const { count, grouped, noDamage } = this.#refs;
    count.textContent = String(state.annotations.length);
    noDamage.hidden = labelsAmong(state.annotations).length > 0;
    grouped.setAttribute("aria-pressed", String(state.isGrouped));
    this.list.update(state);
  }
}
