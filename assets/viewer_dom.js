/** Small building blocks of the viewer's page parts. */

import { icon } from "./icons.js";

const SHAPES = {
  grid: "M3.5 3.5h5.4v5.4H3.5z M11.1 3.5h5.4v5.4h-5.4z M3.5 11.1h5.4v5.4H3.5z M11.1 11.1h5.4v5.4h-5.4z",
  row: "M2.6 5.2h3.9v9.6H2.6z M8.05 5.2h3.9v9.6h-3.9z M13.5 5.2h3.9v9.6h-3.9z",
  single: "M3.2 4.4h13.6v11.2H3.2z",
  swipe: "M3.2 4.4h13.6v11.2H3.2z M10 2.6v14.8 M7.6 8.4L6 10l1.6 1.6 M12.4 8.4L14 10l-1.6 1.6",
  best: "M10 3.2l2.1 4.3 4.7.7-3.4 3.3.8 4.7-4.2-2.2-4.2 2.2.8-4.7-3.4-3.3 4.7-.7z",
  champion: "M6.2 3.4h7.6v4.4a3.8 3.8 0 01-7.6 0z M6.2 4.8H3.6v1a2.6 2.6 0 002.6 2.6 M13.8 4.8h2.6v1a2.6 2.6 0 01-2.6 2.6 M10 11.6v3 M6.8 16.6h6.4 M8 14.6h4",
  plus: "M10 4.6v10.8 M4.6 10h10.8",
  minus: "M4.6 10h10.8",
  fill: "M5.6 3.8h8.8a1.8 1.8 0 011.8 1.8v8.8a1.8 1.8 0 01-1.8 1.8H5.6a1.8 1.8 0 01-1.8-1.8V5.6a1.8 1.8 0 011.8-1.8z M4.4 10.8l6.6-6.8 M4.6 15.4L15.4 4.6 M9 16l7-7",
  outline: "M5.6 3.8h8.8a1.8 1.8 0 011.8 1.8v8.8a1.8 1.8 0 01-1.8 1.8H5.6a1.8 1.8 0 01-1.8-1.8V5.6a1.8 1.8 0 011.8-1.8z",
};

/**
 * An element with its attributes and children. `on` holds listeners, `text` the text; an attribute
 * that is false, null or undefined is left out, true is an empty one.
 */
export function el(tag, { on = {}, text, ...attributes } = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}

/** An icon by name, of the viewer's own or of those all components share. */
export function picture(name) {
  const holder = el("span", { class: "icon" });
  const markup = icon(SHAPES[name] ? "fit" : name);
  holder.innerHTML = SHAPES[name] ? markup.replace(/ d="[^"]*"/, ` d="${SHAPES[name]}"`) : markup;
  return holder;
}

/** A button that shows an icon; `label` is its name for screen readers and its tooltip. */
export function iconButton(name, label, onClick, attributes = {}) {
  const options = { type: "button", class: "button", "aria-label": label, title: label, ...attributes };
  return el("button", { ...options, on: { click: onClick } }, [picture(name)]);
}

/** A row of buttons, one or (a Set) several of them pressed. `choices`: `[{value, label, icon?, name?}]`. */
export class Segments {
  constructor(label, onChoose) {
    this.element = el("div", { class: "segments", role: "group", "aria-label": label });
    this.onChoose = onChoose;
    this.choices = "";
  }

  update(choices, chosen) {
    const signature = JSON.stringify(choices);
    if (signature !== this.choices) {
      this.choices = signature;
      this.element.replaceChildren(...choices.map((choice) => this.#button(choice)));
    }
    const pressed = chosen instanceof Set ? chosen : new Set([chosen]);
    for (const button of this.element.children) {
      button.setAttribute("aria-pressed", String(pressed.has(button.dataset.value)));
    }
  }

  /** `name` is what a short `label` stands for. */
  #button({ value, label, icon: shape, name = shape && label }) {
    const attributes = { type: "button", class: "segment", "data-value": value };
    const named = { "aria-label": name, title: name, text: shape ? undefined : label };
    const on = { click: () => this.onChoose(value) };
    return el("button", { ...attributes, ...named, on }, shape ? [picture(shape)] : []);
  }
}

/** A labelled slider in percent. */
export class PercentSlider {
  constructor(label, onInput, testId) {
    const on = { input: () => onInput(Number(this.input.value) / 100) };
    const range = { type: "range", min: 0, max: 100, "aria-label": label, "data-testid": testId };
    this.input = el("input", { ...range, class: "range", on });
    this.output = el("output", { class: "amount" });
    this.element = el("label", { class: "setting" }, [
      el("span", { class: "caption", text: label }),
      this.input,
      this.output,
    ]);
  }

  update(share) {
    const percent = Math.round(share * 100);
    if (Number(this.input.value) !== percent) this.input.value = percent;
    this.input.style.setProperty("--filled", `${percent}%`);
    this.output.textContent = `${percent}\u202f%`;
  }
}
