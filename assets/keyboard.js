/** Where a key press on the canvas goes: to a field, what lies on top, the suggestions, the tool, a command. */

import { actionOf, isForLooking, shortcutOf } from "./keys.js";
import { ARROWS } from "./view.js";

export function listenToKeys(labeler, root, signal) {
  root.addEventListener("keydown", (event) => keyDown(labeler, event), { signal });
  root.addEventListener("keyup", (event) => keyUp(labeler, event), { signal });
  root.addEventListener("pointerup", (event) => keepFocus(labeler, event), { signal });
}

function keyDown(labeler, event) {
  event.stopPropagation(); // Streamlit's own r and c keys must not fire while somebody draws
  const key = shortcutOf(event);
  if (event.target.matches?.("input, textarea, select") && key !== "Escape") return;
  if (event.target.matches?.("button") && (key === "Enter" || key === " ")) return;
  if (perform(labeler, key, event)) event.preventDefault();
  labeler.redraw();
}

function keyUp(labeler, event) {
  event.stopPropagation();
  if (event.key === " ") labeler.stage.holdSpace(false);
}

function perform(labeler, key, event) {
  if (key === "Escape" && labeler.controls.closeTopmost()) return true;
  if (labeler.stage.gestures.isSpaceHeld && ARROWS[key]) {
    labeler.stage.panBy(0.2 * ARROWS[key][0], 0.2 * ARROWS[key][1]);
    return true;
  }
  if (labeler.preview && !isForLooking(key)) return false;
  if (labeler.suggestions.key(key, event)) return true;
  if (labeler.activeTool.key?.(key)) return true;
  if (/^[1-9]$/.test(key)) {
    const category = labeler.data.categories[Number(key) - 1];
    if (category) labeler.chooseCategory(category.category_id);
    return true;
  }
  const action = actionOf(key, labeler, event);
  action?.();
  return action !== undefined;
}

/** After a click on a button the keys belong to the canvas again. */
function keepFocus(labeler, event) {
  const button = event.target.closest?.("button:not([data-keeps-focus])");
  if (button && !labeler.controls.isHelpOpen) queueMicrotask(() => labeler.focus());
}
