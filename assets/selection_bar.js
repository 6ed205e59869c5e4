/** What can be done with the chosen objects: a bar over the photo, for mouse, touch and keyboard alike. */

import { iconButton, make } from "./dom.js";

export class SelectionBar {
  #buttons = {};

  /** @param act the labeler */
  constructor(act) {
    const { objects } = act;
    const button = (name, icon, title, key, onclick) => {
      const made = iconButton(icon, { title, key, testid: `selection-${name}`, onclick });
      this.#buttons[name] = made;
      return made;
    };
    this.count = make("output", { class: "chosen", "data-testid": "selection-count" });
    this.element = make(
      "div",
      {
        class: "draft selection", hidden: "", role: "toolbar", "aria-label": "Chosen objects",
        "data-testid": "selection",
      },
      this.count,
      button("several", "several", "Choose several", "Shift-click", () => objects.toggleSeveral()),
      button("merge", "merge", "Merge", "M", () => objects.merge()),
      button("duplicate", "duplicate", "Duplicate", "Ctrl D", () => objects.duplicate()),
      button("up", "up", "One step up in painting order", "Ctrl ↑", () => objects.reorder(1)),
      button("down", "down", "One step down in painting order", "Ctrl ↓", () => objects.reorder(-1)),
      button("lock", "locked", "Lock", "L", () => objects.lockChosen()),
      button("corner", "corner", "Delete the corner", "Delete", () => act.tools.select.remove()),
      button("remove", "trash", "Delete", "Delete", () => objects.remove()),
    );
  }

  update({ count, isPickingSeveral, hasVertex, isShown }) {
    this.element.hidden = !isShown;
    this.count.textContent = count === 1 ? "1 object" : `${count} objects`;
    this.#buttons.merge.hidden = count < 2;
    this.#buttons.corner.hidden = !hasVertex;
    this.#buttons.several.setAttribute("aria-pressed", String(isPickingSeveral));
  }
}
