import assert from "node:assert/strict";
import { test } from "node:test";

import {
  FALSE_NEGATIVE,
  FALSE_POSITIVE,
  HEAT_COLORS,
  RIGHT,
  WRONG_CLASS,
  classPalette,
  compare,
  confidentOnly,
  errorPalette,
  fill,
  heat,
  heatPalette,
  indicesFromRgba,
  outline,
  rgba,
} from "../../assets/pixels.js";

const CLASSES = [
  { index: 1, name: "dent", color: "#E69F00" },
  { index: 2, name: "scratch", color: "#56B4E9" },
];

// Every pair of background, dent and scratch once: truth is the row, prediction the column.
const TRUTH = Uint8Array.of(0, 0, 0, 1, 1, 1, 2, 2, 2);
const PREDICTION = Uint8Array.of(0, 1, 2, 0, 1, 2, 0, 1, 2);

test("class indices are the red channel", () => {
  const indices = indicesFromRgba(Uint8ClampedArray.of(3, 9, 9, 255, 254, 0, 0, 255));

  assert.deepEqual([...indices], [3, 254]);
});

test("every pair of true and predicted class has one error kind", () => {
  const { codes, counts } = compare(TRUTH, PREDICTION);

  assert.deepEqual(
    [...codes],
    [
      ...[0, FALSE_POSITIVE, FALSE_POSITIVE],
      ...[FALSE_NEGATIVE, RIGHT, WRONG_CLASS],
      ...[FALSE_NEGATIVE, WRONG_CLASS, RIGHT],
    ],
  );
  assert.deepEqual(counts, { right: 2, false_positive: 2, false_negative: 2, wrong_class: 2, pixels: 9 });
});

test("any damage knows no wrong class", () => {
  const { counts } = compare(TRUTH, PREDICTION, { anyDamage: true });

  assert.deepEqual(counts, { right: 4, false_positive: 2, false_negative: 2, wrong_class: 0, pixels: 9 });
});

test("a pixel is left out only when all classes on it are hidden", () => {
  const { codes } = compare(TRUTH, PREDICTION, { hidden: new Set([2]) });

  assert.deepEqual(
    [...codes],
    [0, FALSE_POSITIVE, 0, FALSE_NEGATIVE, RIGHT, WRONG_CLASS, 0, WRONG_CLASS, 0],
  );
});

test("ignored truth is never an error", () => {
  const { codes, counts } = compare(Uint8Array.of(255, 255), Uint8Array.of(0, 1));

  assert.deepEqual([...codes], [0, 0]);
  assert.equal(counts.false_positive + counts.false_negative + counts.wrong_class + counts.right, 0);
});

test("unsure pixels become background, the threshold itself stays", () => {
  const prediction = Uint8Array.of(1, 1, 2, 0);

  const kept = confidentOnly(prediction, Uint8Array.of(127, 128, 255, 0), 128 / 255);

  assert.deepEqual([...kept], [0, 1, 2, 0]);
});

test("without a threshold or a confidence map the prediction is untouched", () => {
  const prediction = Uint8Array.of(1, 2);

  assert.equal(confidentOnly(prediction, Uint8Array.of(0, 0), 0), prediction);
  assert.equal(confidentOnly(prediction, null, 0.9), prediction);
});

test("a colour's bytes are red, green, blue, alpha", () => {
  const bytes = new Uint8Array(Uint32Array.of(rgba("#E69F00")).buffer);

  assert.deepEqual([...bytes], [0xe6, 0x9f, 0x00, 0xff]);
});

test("background, ignored and hidden pixels stay clear, unnamed classes are grey", () => {
  const pixels = fill(Uint8Array.of(0, 1, 2, 7, 255), classPalette(CLASSES, new Set([2])));

  assert.deepEqual([...pixels], [0, rgba("#E69F00"), 0, rgba("#9AA0A6"), 0]);
});

test("the four error colours differ", () => {
  const palette = errorPalette();

  const colors = [RIGHT, FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS].map((code) => palette[code]);

  assert.equal(new Set(colors).size, 4);
  assert.equal(palette[0], 0);
});

test("an outline keeps the border of a region and clears its inside", () => {
  const labels = Uint8Array.from([
    ...[0, 0, 0, 0, 0, 0, 0],
    ...[0, 1, 1, 1, 1, 1, 0],
    ...[0, 1, 1, 1, 1, 1, 0],
    ...[0, 1, 1, 1, 1, 1, 0],
    ...[0, 1, 1, 1, 1, 1, 0],
    ...[0, 1, 1, 1, 1, 1, 0],
    ...[0, 0, 0, 0, 0, 0, 0],
  ]);
  const painted = (thickness) =>
    [...outline(labels, classPalette(CLASSES), 7, thickness)].filter(Boolean).length;

  assert.equal(painted(1), 25 - 9);
  assert.equal(painted(2), 25 - 1);
});

test("two touching classes are outlined against each other, the image's edge closes a region", () => {
  const labels = Uint8Array.from([1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 2, 2]);

  const pixels = outline(labels, classPalette(CLASSES), 6);

  assert.equal(pixels[1 + 6], 0);
  assert.equal(pixels[3 + 6], rgba("#E69F00"));
  assert.equal(pixels[4 + 6], rgba("#56B4E9"));
  assert.equal(pixels[1], rgba("#E69F00"));
});

test("an outline of a hidden class is not drawn", () => {
  const pixels = outline(Uint8Array.of(1, 1, 1, 1), classPalette(CLASSES, new Set([1])), 2);

  assert.deepEqual([...pixels], [0, 0, 0, 0]);
});

test("confidence runs evenly through its colours, from unsure to sure", () => {
  const palette = heatPalette();

  assert.equal(palette[0], rgba(HEAT_COLORS[0]));
  assert.equal(palette[255], rgba(HEAT_COLORS.at(-1)));
  const lightness = [...palette].map((color) => {
    const [red, green, blue] = [color & 255, (color >> 8) & 255, (color >> 16) & 255];
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  });
  // Single steps are smaller than what rounding to whole bytes may add.
  assert.ok(lightness.slice(4).every((value, index) => value < lightness[index]));
});

test("confidence under the threshold has no colour, the threshold itself has", () => {
  const palette = heatPalette(128 / 255);

  assert.equal(palette[127], 0);
  assert.equal(palette[128], heatPalette()[128]);
});

test("the confidence of a hidden class is not drawn, that of background is", () => {
  const palette = heatPalette();
  const confidence = Uint8Array.of(255, 255, 255);

  const pixels = heat(confidence, palette, { labels: Uint8Array.of(0, 1, 2), hidden: new Set([2]) });

  assert.deepEqual([...pixels], [palette[255], palette[255], 0]);
  assert.deepEqual([...heat(confidence, palette, { hidden: new Set([2]) })], Array(3).fill(palette[255]));
});
