/** The controls around the stage: built once, then brought up to date from plain state. */

import { icon } from "./icons.js";

export const TOOLS = [
  { name: "select", icon: "select", title: "Select and reshape", key: "V" },
  { name: "polygon", icon: "polygon", title: "Polygon", key: "P" },
  { name: "brush", icon: "brush", title: "Brush", key: "B" },
  { name: "eraser", icon: "eraser", title: "Eraser", key: "E" },
  { name: "subtract", icon: "hole", title: "Cut a hole", key: "S" },
];

const SHORTCUTS = [
  ["V", "Select, move, reshape"], ["P", "Polygon: click, or drag to trace"], ["B / E", "Brush / eraser"],
  ["S", "Cut a hole"], ["[ ]", "Brush size"], ["1–9", "Category"], ["Enter", "Finish the object"],
  ["Esc", "Cancel, deselect"], ["Backspace", "Take back the last corner"], ["Delete", "Delete corner or object"],
  ["Alt-click", "Delete a corner"], ["Ctrl Z", "Undo"], ["Ctrl Shift Z", "Redo"], ["Wheel", "Zoom to the cursor"],
  ["Space-drag", "Move the photo"], ["F / 0", "Whole photo / 1:1"], ["H", "Hide all objects"],
  ["← →", "Previous, next photo"], ["D", "Done, next photo"], ["?", "This list"],
];

const SAVE_WORDS = {
  idle: "No changes",
  saving: "Saving…",
  retrying: "Not saved, retrying…",
  conflict: "Not saved: changed elsewhere",
  expired: "Not saved: link expired",
  refused: "Not saved",
};

const STATE_WORDS = { unlabelled: "Unlabelled", in_progress: "In progress", done: "Done" };

/** Make an element: `on…` props are listeners, `html` is trusted markup, the rest are attributes. */
export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "html") element.innerHTML = value;
    else if (name === "class") element.className = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function iconButton(name, { title, key, testid, onclick, ...rest }) {
  const label = key ? `${title} (${key})` : title;
  const props = { type: "button", class: "icon", title: label, "aria-label": title, "data-testid": testid };
  return make("button", { ...props, html: icon(name), onclick, ...rest });
}

export class Controls {
  #refs = {};
  #parts = new Map();

  /** @param act the labeler's actions, called by the buttons */
  constructor(act, stage) {
    this.act = act;
    const refs = this.#refs;
    refs.hint = make("div", { class: "hint", role: "status", "aria-live": "polite", "data-testid": "hint" });
    refs.banner = make("div", { class: "banner", role: "alert", hidden: "", "data-testid": "banner" });
    refs.draft = this.#draftBar();
    refs.help = this.#helpPanel();
    refs.loading = make("div", { class: "loading" });
    stage.append(refs.loading, refs.hint, refs.draft, refs.banner, refs.help);
    this.root = make("section", { class: "labeler", "aria-label": "Label canvas", "data-testid": "labeler" });
    this.frame = make("div", { class: "frame" }, this.#head(), this.#toolbar(), stage, this.#dock(), this.#side());
    this.root.append(this.frame);
  }

  #head() {
    const { act } = this;
    const refs = this.#refs;
    refs.previous = iconButton("previous", {
      title: "Previous photo", key: "←", testid: "previous", onclick: () => act.navigate("previous"),
    });
    refs.next = iconButton("next", { title: "Next photo", key: "→", testid: "next", onclick: () => act.navigate("next") });
    refs.position = make("span", { class: "position", "data-testid": "position" });
    refs.name = make("span", { class: "name" });
    refs.state = make("span", { class: "state", "data-testid": "image-state" });
    refs.save = make("span", { class: "save", role: "status", "data-testid": "save-state" });
    refs.noDamage = make("button", {
      type: "button", class: "quiet", "data-testid": "no-damage", title: "Nothing to mark on this photo",
      html: `${icon("none")}<span>No damage</span>`, onclick: () => act.noDamage(),
    });
    refs.done = make("button", {
      type: "button", class: "primary", "data-testid": "done-next", title: "Done, next photo (D)",
      html: `${icon("check")}<span>Done, next</span>`, onclick: () => act.navigate("done_next"),
    });
    const where = make("div", { class: "where" }, refs.previous, refs.position, refs.next);
    const what = make("div", { class: "what" }, refs.name, refs.state);
    return make("header", {}, where, what, refs.save, make("div", { class: "finish" }, refs.noDamage, refs.done));
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
      ...refs.tools, rule(), refs.undo, refs.redo, rule(), refs.list, help,
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
      class: "slider", title: "How strongly objects are filled",
    }, make("span", {}, "Fill"), refs.opacity);
    refs.hide = iconButton("eye", {
      title: "Hide all objects", key: "H", testid: "hide-all", "aria-pressed": "false",
      onclick: () => act.toggleHidden(),
    });
    refs.zoom = make("output", { class: "zoom", "data-testid": "zoom", "aria-label": "Zoom" });
    const fit = iconButton("fit", { title: "Whole photo", key: "F", testid: "fit", onclick: () => act.fit() });
    const actual = make("button", {
      type: "button", class: "text", title: "One photo pixel per screen pixel (0)",
      "data-testid": "actual-size", "aria-label": "Actual size", onclick: () => act.actualSize(),
    }, "1:1");
    const gap = make("span", { class: "gap" });
    return make("div", { class: "dock" }, refs.sizeBox, gap, opacity, refs.hide, refs.zoom, fit, actual);
  }

  #side() {
    const refs = this.#refs;
    refs.palette = make("div", { class: "palette", role: "radiogroup", "aria-label": "Category", "data-testid": "palette" });
    refs.count = make("span", { class: "count" });
    refs.objects = make("ul", { class: "objects", "data-testid": "objects" });
    refs.side = make(
      "aside", {},
      make("h2", {}, "Category"), refs.palette,
      make("h2", { class: "objects-title" }, "Objects", refs.count), refs.objects,
    );
    return refs.side;
  }

  #draftBar() {
    const { act } = this;
    const button = (label, key, onclick, testid) =>
      make("button", { type: "button", title: `${label} (${key})`, "data-testid": testid, onclick }, label);
    return make(
      "div", { class: "draft", hidden: "", role: "toolbar", "aria-label": "Polygon under way" },
      button("Finish", "Enter", () => act.finishDraft(), "draft-finish"),
      button("Step back", "Backspace", () => act.stepBackDraft(), "draft-back"),
      button("Cancel", "Esc", () => act.discardDraft(), "draft-cancel"),
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

  #toggleList() {
    const isOpen = this.frame.classList.toggle("list-open");
    this.#refs.list.setAttribute("aria-expanded", String(isOpen));
  }

  /** Show a sentence for a few seconds; an empty one hides it. */
  hint(text) {
    const { hint } = this.#refs;
    hint.textContent = text;
    hint.classList.toggle("shown", text !== "");
    clearTimeout(this.hintTimer);
    if (text) this.hintTimer = setTimeout(() => this.hint(""), 4000);
  }

  /** Ask something that blocks saving: `choices` are `[label, action, testid]`; null closes. */
  ask(text, choices = [], topic = "") {
    const { banner } = this.#refs;
    banner.hidden = text === null;
    banner.dataset.topic = topic;
    if (text === null) return;
    const buttons = choices.map(([label, action, testid], i) =>
      make("button", {
        type: "button", class: i === 0 ? "primary" : "quiet", "data-testid": testid, onclick: action,
      }, label),
    );
    banner.replaceChildren(make("p", {}, text), make("div", {}, ...buttons));
  }

  /** Take back what was asked on a topic that is settled. */
  withdraw(topic) {
    if (this.#refs.banner.dataset.topic === topic) this.ask(null);
  }

  loading(text) {
    this.#refs.loading.textContent = text ?? "";
    this.#refs.loading.hidden = !text;
  }

  /** Bring everything up to date; parts whose `state` did not change stay untouched. */
  update(state) {
    const { image, annotations, categories } = state;
    const where = [image, state.position, state.hasPrevious, state.hasNext];
    const saving = [state.saveStatus, state.saveMessage, state.savedAt, state.imageState];
    this.#part("image", where, () => this.#showImage(state));
    this.#part("tool", [state.tool, state.isDrawing], () => this.#showTool(state));
    this.#part("history", [state.canUndo, state.canRedo], () => {
      this.#refs.undo.disabled = !state.canUndo;
      this.#refs.redo.disabled = !state.canRedo;
    });
    this.#part("dock", [state.size, state.sizeSlider, state.opacity, state.isHidden], () => this.#showDock(state));
    this.#part("zoom", [state.zoom], () => (this.#refs.zoom.textContent = `${state.zoom} %`));
    this.#part("save", saving, () => this.#showSave(state));
    this.#part("palette", [categories, state.categoryId], () => this.#showPalette(state));
    const listed = [annotations, state.selectedId, state.hidden, categories];
    this.#part("objects", listed, () => this.#showObjects(state));
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
  }

  #showTool({ tool, isDrawing }) {
    TOOLS.forEach(({ name }, i) => {
      this.#refs.tools[i].setAttribute("aria-pressed", String(name === tool));
    });
    this.#refs.draft.hidden = !isDrawing;
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

  #showSave({ saveStatus, saveMessage, savedAt, imageState }) {
    const { save, state } = this.#refs;
    const words = saveStatus === "saved" ? `Saved ${clockTime(savedAt)}` : SAVE_WORDS[saveStatus];
    save.textContent = words;
    save.title = saveMessage || words;
    save.dataset.status = saveStatus;
    state.textContent = STATE_WORDS[imageState] ?? imageState;
    state.dataset.state = imageState;
  }

  #showPalette({ categories, categoryId }) {
    const rows = categories.map((category, i) => {
      const isActive = category.category_id === categoryId;
      const key = i < 9 ? make("kbd", {}, String(i + 1)) : "";
      return make(
        "button",
        {
          type: "button", class: "category", role: "radio", "aria-checked": String(isActive), title: category.name,
          "data-testid": `category-${category.category_id}`, onclick: () => this.act.chooseCategory(category.category_id),
        },
        chip(category.color), make("span", { class: "label" }, category.name), key,
      );
    });
    const empty = make("p", { class: "empty" }, "The project has no category yet. Add one in its settings.");
    this.#refs.palette.replaceChildren(...(rows.length > 0 ? rows : [empty]));
  }

  #showObjects({ annotations, selectedId, hidden, categories, areaOf }) {
    const refs = this.#refs;
    const names = new Map(categories.map((category) => [category.category_id, category]));
    refs.count.textContent = String(annotations.length);
    refs.noDamage.hidden = annotations.length > 0;
    const rows = annotations.map((annotation) => {
      const category = names.get(annotation.category_id);
      const isHidden = hidden.has(annotation.id);
      const select = make(
        "button",
        {
          type: "button", class: "object", "aria-pressed": String(annotation.id === selectedId),
          onclick: () => this.act.reveal(annotation.id),
        },
        chip(category?.color ?? "#808080"), make("span", { class: "label" }, category?.name ?? "Unknown"),
        make("span", { class: "area" }, areaOf(annotation)),
      );
      const eye = iconButton(isHidden ? "eyeOff" : "eye", {
        title: isHidden ? "Show" : "Hide", testid: "object-visibility", "aria-pressed": String(isHidden),
        onclick: () => this.act.toggleObject(annotation.id),
      });
      const trash = iconButton("trash", {
        title: "Delete", testid: "object-delete", onclick: () => this.act.remove(annotation.id),
      });
      return make("li", { class: isHidden ? "off" : "", "data-testid": "object" }, select, eye, trash);
    });
    const empty = make("li", { class: "empty" }, "Nothing is marked yet. Draw with the polygon or the brush.");
    refs.objects.replaceChildren(...(rows.length > 0 ? rows.reverse() : [empty]));
  }
}

function chip(color) {
  return make("span", { class: "chip", style: `background:${color}` });
}

/** The local time of day of an ISO time, or of now when the server gave none. */
export function clockTime(iso) {
  const time = iso ? new Date(iso) : new Date();
  return Number.isNaN(time.valueOf()) ? "" : time.toLocaleTimeString([], { hour12: false });
}
