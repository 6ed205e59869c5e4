/** What the controls show, worked out from the labeler's state. */

import { canRedo, canUndo } from "./history.js";

/** Where the brush slider starts and ends: radii in image pixels; it moves in equal ratios. */
export const BRUSH_RANGE = [1, 600];
const BRUSH_SPAN = Math.log(BRUSH_RANGE[1] / BRUSH_RANGE[0]);

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
    underWay: labeler.activeTool.underWay ?? "",
    canUndo: canUndo(labeler.history) || isDrawing,
    canRedo: canRedo(labeler.history),
    size: Math.round(labeler.brushRadius * 2),
    sizeSlider: Math.round((100 * Math.log(labeler.brushRadius / BRUSH_RANGE[0])) / BRUSH_SPAN),
    opacity: labeler.opacity,
    look: labeler.look,
    note: labeler.note,
    selected: labeler.selected,
    isOnlyLooking: labeler.preview !== null,
    isHidden: labeler.isHidden,
    zoom: Math.round(labeler.view.scale * window.devicePixelRatio * 100),
    saveStatus: saver.status,
    saveMessage: saver.message,
    savedAt: saver.savedAt,
    categories: data.categories,
    categoryId: labeler.category?.category_id ?? null,
    annotations: labeler.annotations,
    selectedId: labeler.selectedId,
    selectedIds: labeler.objects.selectedIds,
    isPickingSeveral: labeler.objects.isPickingSeveral,
    hasVertex: labeler.tool === "select" && labeler.tools.select.hasVertex,
    access: labeler.objects.access,
    isCutting: labeler.objects.isCutting,
    isGrouped: labeler.objects.isGrouped,
  };
}
