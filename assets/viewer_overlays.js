/** From label maps to pictures that lie over the photo: recomputed only where an input changed. */

import { classPalette, compare, confidentOnly, errorPalette, fill, outline } from "./pixels.js";
import { NOT_LOADED, SIZES_DIFFER } from "./viewer_model.js";

/** Under "any damage" the ground truth's classes are not the model's: one colour that no class has. */
export const ANY_DAMAGE_COLOR = "#FFFFFF";

export class Overlays {
  #memory = new Map();

  /**
   * Bring all three up to date.
   *
   * `maps` holds `truth`, `prediction`, `confidence` (each a map or null), `look` holds `classes`,
   * `hidden`, `anyDamage`, `isOutline`, `threshold` (0 to 1) and `thicknessOf(map)`.
   * Returns `{truth, prediction, errors, counts, notes}`: canvases or null, the error counts or
   * null, and a sentence per pane whose picture is missing.
   */
  update({ truth, prediction, confidence }, look) {
    const found = prediction && this.#certain(prediction, confidence, look.threshold);
    const errors = this.#errors(truth, found, look);
    return {
      truth: truth && this.#painted("truth", truth, this.#truthPalette(look), look),
      prediction: found && this.#painted("prediction", found, this.#classPalette(look), look),
      errors: errors && this.#painted("errors", errors.map, this.#errorPalette(), { isOutline: false }),
      counts: errors && errors.counts,
      notes: notesFor(truth, prediction, errors),
    };
  }

  #certain(prediction, confidence, threshold) {
    if (!confidence || confidence.pixels.length !== prediction.pixels.length) return prediction;
    return this.#once("certain", [prediction, confidence, threshold], () => ({
      ...prediction,
      pixels: confidentOnly(prediction.pixels, confidence.pixels, threshold),
    }));
  }

  #errors(truth, found, { anyDamage, hidden }) {
    if (!truth || !found || !isSameSize(truth, found)) return null;
    return this.#once("errors", [truth, found, anyDamage, hidden], () => {
      // Class toggles name the model's classes, which mean nothing to a truth with other classes.
      const options = anyDamage ? { anyDamage } : { hidden };
      const { codes, counts } = compare(truth.pixels, found.pixels, options);
      return { map: { ...truth, pixels: codes }, counts };
    });
  }

  #truthPalette(look) {
    if (!look.anyDamage) return this.#classPalette(look);
    return this.#once("any damage", [], () => {
      const everyClass = Array.from({ length: 254 }, (_, i) => ({ index: i + 1, color: ANY_DAMAGE_COLOR }));
      return classPalette(everyClass);
    });
  }

  #classPalette({ classes, hidden }) {
    return this.#once("classes", [classes, hidden], () => classPalette(classes, hidden));
  }

  #errorPalette() {
    return this.#once("error colours", [], errorPalette);
  }

  #painted(kind, map, palette, { isOutline, thicknessOf }) {
    const thickness = isOutline ? thicknessOf(map) : 0;
    return this.#once(`${kind} picture`, [map, palette, thickness], (old) => {
      const { width, height, pixels } = map;
      const colors = isOutline ? outline(pixels, palette, width, thickness) : fill(pixels, palette);
      const canvas = old && isSameSize(old, map) ? old : new OffscreenCanvas(width, height);
      const bytes = new Uint8ClampedArray(colors.buffer);
      canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
      return canvas;
    });
  }

  /** The last value of `make`, until one of `inputs` is another one. */
  #once(name, inputs, make) {
    const last = this.#memory.get(name);
    if (last && last.inputs.every((input, index) => input === inputs[index])) return last.value;
    const value = make(last?.value);
    this.#memory.set(name, { inputs, value });
    return value;
  }
}

function notesFor(truth, prediction, errors) {
  const sizesDiffer = truth && prediction && !isSameSize(truth, prediction);
  return {
    truth: truth ? "" : NOT_LOADED.truth,
    prediction: prediction ? "" : NOT_LOADED.prediction,
    errors: errors ? "" : sizesDiffer ? SIZES_DIFFER : NOT_LOADED.errors,
  };
}

function isSameSize(a, b) {
  return a.width === b.width && a.height === b.height;
}
