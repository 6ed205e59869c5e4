/**
 * How the photo looks on the canvas: brightness, contrast, local contrast, outlines instead of fills.
 * For the eye only: no pixel that is stored, trained on or exported changes. Remembered per person.
 */

import { make } from "./dom.js";

export const PLAIN = Object.freeze({ brightness: 1, contrast: 1, local: 0, isOutline: false });

const RANGES = { brightness: [0.4, 3], contrast: [0.4, 2.5], local: [0, 1] };
const SLIDERS = [
  { name: "brightness", words: "Brightness" },
  { name: "contrast", words: "Contrast" },
  { name: "local", words: "Local contrast" },
];

/** The css filter of a look; "" for a photo as it is. */
export function filterOf({ brightness, contrast }) {
  const parts = [brightness === 1 ? "" : `brightness(${brightness})`, contrast === 1 ? "" : `contrast(${contrast})`];
  return parts.filter(Boolean).join(" ");
}

/** A look from outside: what is missing or out of its range is plain. */
export function lookFrom(value) {
  const look = { ...PLAIN, isOutline: value?.isOutline === true };
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const number = value?.[name];
    if (typeof number === "number" && number >= least && number <= most) look[name] = number;
  }
  return look;
}

export function readLook(storage, author) {
  try {
    return lookFrom(JSON.parse(storage.getItem(keyOf(author)) ?? "null"));
  } catch {
    return { ...PLAIN }; // half-written, or storage that may not be read
  }
}

export function keepLook(storage, author, look) {
  try {
    storage.setItem(keyOf(author), JSON.stringify(look));
  } catch {
    // full or forbidden: the look lasts as long as the page
  }
}

function keyOf(author) {
  return `maskwright.look.${author}`;
}

/** The panel with the sliders, and the button that opens it. */
export class LookPanel {
  #labeler;
  #inputs = {};
  #texts = {};

  constructor(labeler, button) {
    this.#labeler = labeler;
    this.button = button;
    this.outline = make("input", {
      type: "checkbox", "data-testid": "outline-only", "aria-label": "Outlines only",
      onchange: (event) => labeler.setLook({ isOutline: event.target.checked }),
    });
    const reset = make("button", {
      type: "button", class: "quiet", "data-testid": "look-reset", "data-keeps-focus": "",
      onclick: () => labeler.setLook({ brightness: 1, contrast: 1, local: 0 }),
    }, "As the photo is");
    this.element = make(
      "div",
      { class: "look-panel", role: "group", "aria-label": "Light and contrast", hidden: "", "data-testid": "look-panel" },
      ...SLIDERS.map((slider) => this.#slider(slider)),
      this.#fill(),
      make("label", { class: "check" }, this.outline, make("span", {}, "Outlines only"), make("kbd", {}, "T")),
      reset,
    );
  }

  #slider({ name, words }) {
    const [least, most] = RANGES[name];
    this.#texts[name] = make("output", {});
    this.#inputs[name] = make("input", {
      type: "range", min: String(100 * least), max: String(100 * most), step: "5", "aria-label": words,
      "data-testid": `look-${name}`,
      oninput: (event) => this.#labeler.setLook({ [name]: Number(event.target.value) / 100 }),
    });
    return make("label", { class: "slider" }, make("span", {}, words), this.#inputs[name], this.#texts[name]);
  }

  /** The dock has no room for it on a phone. */
  #fill() {
    this.fill = make("input", {
      type: "range", min: "0", max: "100", step: "5", "aria-label": "Fill of the objects", "data-testid": "look-fill",
      oninput: (event) => this.#labeler.setOpacity(Number(event.target.value) / 100),
    });
    this.fillText = make("output", {});
    return make("label", { class: "slider narrow-only" }, make("span", {}, "Fill"), this.fill, this.fillText);
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle(isOpen = this.element.hidden) {
    this.element.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.#inputs.brightness.focus();
    else this.#labeler.focus();
  }

  update(look, opacity) {
    for (const { name } of SLIDERS) {
      const percent = Math.round(100 * look[name]);
      this.#inputs[name].value = String(percent);
      this.#texts[name].textContent = `${percent} %`;
    }
    this.outline.checked = look.isOutline;
    this.fill.value = String(Math.round(100 * opacity));
    this.fillText.textContent = `${Math.round(100 * opacity)} %`;
    const isPlain = filterOf(look) === "" && look.local === 0;
    this.button.classList.toggle("changed", !isPlain); // says why a photo looks as it does
  }
}
