/** What the controls show, worked out from the labeler's state. */

import { canRedo, canUndo } from "./history.js";
import { countPixels } from "./layers.js";

/** Where the brush slider starts and ends: radii in image pixels; it moves in equal ratios. */
export const BRUSH_RANGE = [1, 600];
const BRUSH_SPAN = Math.log(BRUSH_RANGE[1] / BRUSH_RANGE[0]);

const areas = new WeakMap();

export function radiusOfSlider(percent) {
  return BRUSH_RANGE[0] * Math.exp((BRUSH_SPAN * percent) / 100);
}

export function summaryOf(labeler) {
  const { data, saver } = labeler;
  const isDrawing = Boolean(labeler.activeTool.isDrawing);
  return {
    image: data.image,
    imageState: labeler.imageState,
    position: data.position,
    hasPrevious: data.has_previous,
    hasNext: data.has_next,
    tool: labeler.tool,
    isDrawing,
    canUndo: canUndo(labeler.history) || isDrawing,
    canRedo: canRedo(labeler.history),
    size: Math.round(labeler.brushRadius * 2),
    sizeSlider: Math.round((100 * Math.log(labeler.brushRadius / BRUSH_RANGE[0])) / BRUSH_SPAN),
    opacity: labeler.opacity,
    isHidden: labeler.isHidden,
    zoom: Math.round(labeler.view.scale * window.devicePixelRatio * 100),
    saveStatus: saver.status,
    saveMessage: saver.message,
    savedAt: saver.savedAt,
    categories: data.categories,
    categoryId: labeler.category?.category_id ?? null,
    annotations: labeler.annotations,
    selectedId: labeler.selectedId,
    hidden: labeler.hidden,
    areaOf: (annotation) => areaText(annotation, labeler.image),
  };
}

/** An annotation's share of the photo; counted once per state of the annotation. */
function areaText(annotation, image) {
  let share = areas.get(annotation);
  if (share === undefined) {
    share = countPixels(annotation, image) / (image.width * image.height);
    areas.set(annotation, share);
  }
  if (share >= 0.0995) return `${Math.round(share * 100)} %`;
  return share >= 0.0001 ? `${(share * 100).toPrecision(2)} %` : "< 0.01 %";
}
