/** From label maps to pictures that lie over the photo: recomputed only where an input changed. */

import {
  classPalette,
  compare,
  confidentOnly,
  errorPalette,
  fill,
  heat,
  heatPalette,
  outline,
} from "./pixels.js";
import { NOT_LOADED, NO_CONFIDENCE, SIZES_DIFFER, predictionPane } from "./viewer_model.js";

/** Under "any damage" the ground truth's classes are not the model's: one colour that no class has. */
export const ANY_DAMAGE_COLOR = "#FFFFFF";

export class Overlays {
  #memory = new Map();

  /**
   * Bring all of them up to date.
   *
   * `maps` holds `truth` and, per run, `series: [{prediction, confidence, hasConfidence}]` (each map
   * or null). `look` holds `classes`, `hidden`, `anyDamage`, `isOutline`, `threshold` (0 to 1),
   * `thicknessOf(map)`, the `active` run and `wanted`, the Set of panes to paint.
   * Returns `{pictures, counts, notes}`: canvases by pane, the active run's error counts or null, and
   * a sentence per pane whose picture is missing.
   */
  update({ truth, series }, look) {
    const found = series.map((maps, run) => maps.prediction && this.#certain(run, maps, look.threshold));
    const errors = this.#errors(truth, found[look.active], look);
    const paints = {
      truth: () => truth && this.#painted("truth", truth, this.#truthPalette(look), look),
      errors: () => errors && this.#painted("errors", errors.map, this.#errorPalette(), { isOutline: false }),
      confidence: () => this.#heat(series[look.active], look),
    };
    found.forEach((map, run) => {
      const id = predictionPane(run);
      paints[id] = () => map && this.#painted(id, map, this.#classPalette(look), look);
    });
    const painted = Object.keys(paints).filter((id) => look.wanted.has(id)).map((id) => [id, paints[id]()]);
    const notes = notesFor(truth, series, { errors, active: look.active });
    return { pictures: Object.fromEntries(painted), counts: errors && errors.counts, notes };
  }

  #certain(run, { prediction, confidence }, threshold) {
    if (!confidence || confidence.pixels.length !== prediction.pixels.length) return prediction;
    return this.#once(`certain ${run}`, [prediction, confidence, threshold], () => ({
      ...prediction,
      pixels: confidentOnly(prediction.pixels, confidence.pixels, threshold),
    }));
  }

  /** What lies under the threshold, or is of a hidden class, stays clear. */
  #heat({ prediction, confidence }, { threshold, hidden }) {
    if (!confidence) return null;
    const palette = this.#once("heat colours", [threshold], () => heatPalette(threshold));
    const labels = prediction && isSameSize(prediction, confidence) ? prediction.pixels : null;
    return this.#canvas("confidence", confidence, [palette, labels, hidden], () =>
      heat(confidence.pixels, palette, { labels, hidden }),
    );
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
    return this.#canvas(kind, map, [palette, thickness], () =>
      isOutline ? outline(map.pixels, palette, map.width, thickness) : fill(map.pixels, palette),
    );
  }

  #canvas(kind, map, inputs, colorsOf) {
    return this.#once(`${kind} picture`, [map, ...inputs], (old) => {
      const { width, height } = map;
      const canvas = old && isSameSize(old, map) ? old : new OffscreenCanvas(width, height);
      const bytes = new Uint8ClampedArray(colorsOf().buffer);
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

function notesFor(truth, series, { errors, active }) {
  const { prediction, confidence, hasConfidence } = series[active];
  const sizesDiffer = truth && prediction && !isSameSize(truth, prediction);
  const notes = {
    truth: truth ? "" : NOT_LOADED.truth,
    errors: errors ? "" : sizesDiffer ? SIZES_DIFFER : NOT_LOADED.errors,
    confidence: confidence ? "" : hasConfidence ? NOT_LOADED.confidence : NO_CONFIDENCE,
  };
  series.forEach((maps, run) => (notes[predictionPane(run)] = maps.prediction ? "" : NOT_LOADED.prediction));
  return notes;
}

function isSameSize(a, b) {
  return a.width === b.width && a.height === b.height;
}
