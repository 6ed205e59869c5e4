/** The canvas's style sheets, in its own shadow root. */

import { make } from "./dom.js";

const STYLES = ["labeler.css", "labeler_view.css"];

/** Put `root` into `host`; nothing shows, and `onShown` is not called, before its style is there. */
export function attachStyled(host, root, onShown) {
  const styles = STYLES.map((name) => make("link", { rel: "stylesheet", href: new URL(name, import.meta.url).href }));
  let awaited = styles.length;
  root.style.visibility = "hidden";
  const show = () => {
    awaited -= 1;
    if (awaited > 0) return;
    root.style.visibility = "";
    onShown();
  };
  for (const style of styles) {
    style.addEventListener("load", show);
    style.addEventListener("error", show);
  }
  host.replaceChildren(...styles, root);
}
