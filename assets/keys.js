/** Which key does what; tools see a key first (`tool.key`). */

import { copyPrevious } from "./copy_previous.js";
import { ARROWS } from "./view.js";

/** Name a key press: `p`, `?`, `Enter`, `ctrl+z`, `ctrl+shift+z`; Cmd counts as Ctrl. */
export function shortcutOf({ key, ctrlKey, metaKey, shiftKey, altKey }) {
  const isLetter = key.length === 1 && /[a-z]/i.test(key);
  const name = isLetter ? `${altKey && !ctrlKey && !metaKey ? "alt+" : ""}${key.toLowerCase()}` : key; // Alt D is the browser's
  const isArrow = key.startsWith("Arrow"); // on their own they lead from photo to photo
  if (!ctrlKey && !metaKey) return isArrow ? `${shiftKey ? "shift+" : ""}${altKey ? "alt+" : ""}${name}` : name;
  return `ctrl+${shiftKey ? "shift+" : ""}${name}`;
}

const LOOKING = new Set(["f", "0", "+", "-", "h", "t", "i", "?", " "]);

/** Whether a key only changes what is seen: the keys left while somebody else's labels are shown. */
export function isForLooking(key) {
  return LOOKING.has(key);
}

/** Shift with an arrow moves what is chosen by one pixel of the photo, with Alt as well by ten. */
function movesByArrows(objects) {
  const moves = Object.entries(ARROWS).flatMap(([arrow, [x, y]]) => [
    [`shift+${arrow}`, () => objects.move(x, y)],
    [`shift+alt+${arrow}`, () => objects.move(10 * x, 10 * y)],
  ]);
  return Object.fromEntries(moves);
}

/** What a key does, whatever the tool; undefined when nothing. */
export function actionOf(key, labeler, { repeat }) {
  return {
    v: () => labeler.setTool("select"),
    p: () => labeler.setTool("polygon"),
    b: () => labeler.setTool("brush"),
    e: () => labeler.setTool("eraser"),
    s: () => labeler.setTool("subtract"),
    r: () => labeler.setTool("rectangle"),
    x: () => labeler.setTool("split"),
    g: () => labeler.assist.choose("smart"),
    q: () => labeler.assist.choose("scribble"),
    w: () => labeler.assist.choose("wand"),
    z: () => labeler.assist.choose("click"),
    c: () => !repeat && labeler.objects.toggleCutting(),
    m: () => !repeat && labeler.objects.merge(),
    l: () => !repeat && labeler.objects.lockChosen(),
    "ctrl+a": () => labeler.objects.chooseAll(),
    "ctrl+d": () => !repeat && labeler.objects.duplicate(),
    "ctrl+ArrowUp": () => labeler.objects.reorder(1),
    "ctrl+ArrowDown": () => labeler.objects.reorder(-1),
    ArrowUp: () => labeler.objects.chooseNext(1),
    ArrowDown: () => labeler.objects.chooseNext(-1),
    ...movesByArrows(labeler.objects),
    f: () => labeler.stage.fit(),
    0: () => labeler.stage.actualSize(),
    "+": () => labeler.stage.zoomBy(1.25),
    "-": () => labeler.stage.zoomBy(0.8),
    h: () => !repeat && labeler.toggleHidden(),
    t: () => !repeat && labeler.setLook({ isOutline: !labeler.look.isOutline }),
    i: () => labeler.controls.lookPanel.toggle(),
    j: () => !repeat && copyPrevious(labeler),
    k: () => labeler.controls.notes.focus(),
    o: () => !repeat && labeler.controls.review.perform("no_damage"),
    y: () => !repeat && labeler.controls.review.perform("approve"),
    n: () => !repeat && labeler.controls.review.perform("reject"),
    u: () => !repeat && labeler.controls.review.perform("reopen"),
    "?": () => labeler.controls.toggleHelp(),
    " ": () => labeler.stage.holdSpace(true),
    "ctrl+z": () => labeler.undo(),
    "ctrl+shift+z": () => labeler.redo(),
    "ctrl+y": () => labeler.redo(),
    d: () => labeler.leaving.navigate("done_next"),
    "ctrl+Enter": () => labeler.leaving.navigate("done_next"),
    ArrowLeft: () => labeler.leaving.navigate("previous"),
    ",": () => labeler.leaving.navigate("previous"),
    PageUp: () => labeler.leaving.navigate("previous"),
    ArrowRight: () => labeler.leaving.navigate("next"),
    ".": () => labeler.leaving.navigate("next"),
    PageDown: () => labeler.leaving.navigate("next"),
  }[key];
}
