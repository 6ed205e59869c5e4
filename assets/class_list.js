/** The classes at the side: choose one, hide it, lock it. */

import { iconButton, make } from "./dom.js";

/** What the buttons of an object and of a class say about it. */
export function accessButtons({ isHidden, isLocked, name, kind, onHide, onLock }) {
  const eye = iconButton(isHidden ? "eyeOff" : "eye", {
    title: `${isHidden ? "Show" : "Hide"} ${name}`, testid: `${kind}-visibility`, "aria-pressed": String(isHidden),
    onclick: onHide,
  });
  const lock = iconButton(isLocked ? "locked" : "unlocked", {
    title: `${isLocked ? "Unlock" : "Lock"} ${name}`, testid: `${kind}-lock`, "aria-pressed": String(isLocked),
    onclick: onLock,
  });
  return [eye, lock];
}

export function chip(color) {
  return make("span", { class: "chip", style: `background:${color}` });
}

export class ClassList {
  /** @param act the labeler */
  constructor(act) {
    this.act = act;
    this.element = make("div", {
      class: "palette", role: "radiogroup", "aria-label": "Category", "data-testid": "palette",
    });
  }

  /** Show the categories with how many objects each has on this photo. */
  update({ categories, categoryId, annotations, access }) {
    const counts = new Map();
    for (const { category_id: id } of annotations) counts.set(id, (counts.get(id) ?? 0) + 1);
    const rows = categories.map((category, i) => this.#row(category, {
      key: i < 9 ? String(i + 1) : "",
      isActive: category.category_id === categoryId,
      count: counts.get(category.category_id) ?? 0,
      isHidden: access.hiddenCategories.has(category.category_id),
      isLocked: access.lockedCategories.has(category.category_id),
    }));
    const empty = make("p", { class: "empty" }, "The project has no category yet. Add one in its settings.");
    const active = this.element.getRootNode().activeElement;
    const row = active && this.element.contains(active) ? active.closest(".category-row") : null;
    this.element.replaceChildren(...(rows.length > 0 ? rows : [empty]));
    if (!row) return; // else the control that had the focus was made anew
    this.element.querySelector(`[data-id="${row.dataset.id}"] [data-testid="${active.dataset.testid}"]`)?.focus();
  }

  #row({ category_id: id, name, color }, { key, isActive, count, isHidden, isLocked }) {
    const { objects } = this.act;
    const choose = make(
      "button",
      {
        type: "button", class: "category", role: "radio", "aria-checked": String(isActive), title: name,
        "data-testid": `category-${id}`, onclick: () => this.act.chooseCategory(id),
      },
      chip(color), make("span", { class: "label" }, name),
      count > 0 ? make("span", { class: "count" }, String(count)) : "", key ? make("kbd", {}, key) : "",
    );
    const buttons = accessButtons({
      isHidden, isLocked, name: `all of class ${name}`, kind: "category",
      onHide: () => objects.toggle("hiddenCategories", id), onLock: () => objects.toggle("lockedCategories", id),
    });
    const state = `${isHidden ? " off" : ""}${isHidden || isLocked ? " marked" : ""}`;
    return make("div", { class: `category-row${state}`, role: "none", "data-id": String(id) }, choose, ...buttons);
  }
}
