/** Building blocks of the label canvas's controls. */

import { icon } from "./icons.js";

/** Make an element: `on…` props are listeners, `html` is trusted markup, the rest are attributes. */
export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "html") element.innerHTML = value;
    else if (name === "class") element.className = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function iconButton(name, { title, key, testid, onclick, ...rest }) {
  const label = key ? `${title} (${key})` : title;
  const props = { type: "button", class: "icon", title: label, "aria-label": title, "data-testid": testid };
  return make("button", { ...props, html: icon(name), onclick, ...rest });
}

/** The local time of day of an ISO time, or of now when the server gave none. */
export function clockTime(iso) {
  const time = iso ? new Date(iso) : new Date();
  return Number.isNaN(time.valueOf()) ? "" : time.toLocaleTimeString([], { hour12: false });
}
