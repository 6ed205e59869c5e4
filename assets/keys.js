/** Which key does what; tools see a key first (`tool.key`). */

/** Name a key press: `p`, `?`, `Enter`, `ctrl+z`, `ctrl+shift+z`; Cmd counts as Ctrl. */
export function shortcutOf({ key, ctrlKey, metaKey, shiftKey }) {
  const isLetter = key.length === 1 && /[a-z]/i.test(key);
  const name = isLetter ? key.toLowerCase() : key;
  if (!ctrlKey && !metaKey) return name;
  return `ctrl+${shiftKey ? "shift+" : ""}${name}`;
}

/** What a key does, whatever the tool; undefined when nothing. */
export function actionOf(key, labeler, { repeat }) {
  return {
    v: () => labeler.setTool("select"),
    p: () => labeler.setTool("polygon"),
    b: () => labeler.setTool("brush"),
    e: () => labeler.setTool("eraser"),
    s: () => labeler.setTool("subtract"),
    f: () => labeler.fit(),
    0: () => labeler.actualSize(),
    "+": () => labeler.stage.zoomBy(1.25),
    "-": () => labeler.stage.zoomBy(0.8),
    h: () => !repeat && labeler.toggleHidden(),
    "?": () => labeler.controls.toggleHelp(),
    " ": () => labeler.stage.holdSpace(true),
    "ctrl+z": () => labeler.undo(),
    "ctrl+shift+z": () => labeler.redo(),
    "ctrl+y": () => labeler.redo(),
    d: () => labeler.navigate("done_next"),
    "ctrl+Enter": () => labeler.navigate("done_next"),
    ArrowLeft: () => labeler.navigate("previous"),
    ",": () => labeler.navigate("previous"),
    PageUp: () => labeler.navigate("previous"),
    ArrowRight: () => labeler.navigate("next"),
    ".": () => labeler.navigate("next"),
    PageDown: () => labeler.navigate("next"),
  }[key];
}
