/**
 * The list of objects at the side: topmost first, or by class. Only the rows in sight exist, so that
 * thousands cost no more than twenty.
 */

import * as accesses from "./access.js";
import { boxOf } from "./annotations.js";
import { accessButtons, chip } from "./class_list.js";
import { iconButton, make } from "./dom.js";
import { icon } from "./icons.js";
import { countPixels } from "./layers.js";
import { noteOf } from "./notes.js";
import { areaOf as maskArea, maskOf } from "./raster.js";

/** As the style sheet has it; on touch screens rows are taller. */
const ROW_PX = { fine: 42, coarse: 48 };
const ROWS_BEYOND = 6;
/** Before the style sheet has come the list is as long as it likes. */
const MOST_ROWS_IN_SIGHT = 60;
/** Larger objects are measured on a smaller canvas. */
const EXACT_PX = 2_000_000;

const areas = new WeakMap();

export class ObjectList {
  #state = null;
  #rows = [];
  #shownSelection = null;

  /** @param act the labeler */
  constructor(act) {
    this.act = act;
    const isCoarse = window.matchMedia("(pointer: coarse)").matches;
    this.rowHeight = isCoarse ? ROW_PX.coarse : ROW_PX.fine;
    this.element = make("ul", {
      class: "objects", role: "list", "aria-label": "Objects", "data-testid": "objects",
      style: `--row: ${this.rowHeight}px`, onscroll: () => this.#draw(),
      onpointerleave: () => act.objects.light(null), onfocusout: () => act.objects.light(null),
    });
    new ResizeObserver(() => this.#state && this.#draw()).observe(this.element);
  }

  update(state) {
    const isOther = this.#state?.selectedIds !== state.selectedIds;
    this.#state = state;
    this.#rows = rowsOf(state);
    if (isOther) this.#followSelection(state.selectedIds);
    this.#draw();
  }

  /** Bring a newly chosen object's row into sight. */
  #followSelection(ids) {
    const last = [...ids].at(-1);
    const index = this.#rows.findIndex(({ annotation }) => annotation?.id === last);
    if (index < 0 || last === this.#shownSelection) return;
    this.#shownSelection = last;
    const { element, rowHeight } = this;
    const [top, room] = [index * rowHeight, element.clientHeight];
    const isInSight = top >= element.scrollTop && top + rowHeight <= element.scrollTop + room;
    if (!isInSight) queueMicrotask(() => (element.scrollTop = Math.max(0, top - room / 3)));
  }

  #draw() {
    const { element, rowHeight } = this;
    const focused = this.#focused();
    const first = Math.max(0, Math.floor(element.scrollTop / rowHeight) - ROWS_BEYOND);
    const inSight = Math.min(MOST_ROWS_IN_SIGHT, Math.ceil((element.clientHeight || 400) / rowHeight));
    const count = inSight + 2 * ROWS_BEYOND;
    const rows = this.#rows.slice(first, first + count);
    const after = this.#rows.length - first - rows.length;
    const empty = make("li", { class: "empty" }, "Nothing is marked yet. Draw with the polygon or the brush.");
    const made = rows.map((row, i) => this.#row(row, first + i));
    const scrollTop = element.scrollTop;
    element.replaceChildren(...(this.#rows.length > 0 ? [space(first), ...made, space(after)] : [empty]));
    if (element.scrollTop !== scrollTop) element.scrollTop = scrollTop;
    const again = focused && `[data-id="${CSS.escape(focused.id)}"] [data-testid="${focused.testid}"]`;
    if (again) element.querySelector(again)?.focus();

    function space(size) {
      return make("li", { class: "space", role: "none", style: `height:${size * rowHeight}px` });
    }
  }

  /** Which row's control has the focus: it is made anew with the row. */
  #focused() {
    const active = this.element.getRootNode().activeElement;
    const row = active && this.element.contains(active) ? active.closest("li") : null;
    return row?.dataset.id ? { id: row.dataset.id, testid: active.dataset.testid } : null;
  }

  #row(row, index) {
    if (!row.annotation) {
      return make("li", { class: "group-title", role: "none" }, chip(row.color), row.name, countOf(row));
    }
    const { annotation, category, number } = row;
    const { access, selectedIds, image } = this.#state;
    const { objects } = this.act;
    const [isHidden, isLocked] = [accesses.isHidden(access, annotation), accesses.isLocked(access, annotation)];
    const name = `${category?.name ?? "Unknown"} ${number}`;
    const select = make(
      "button",
      {
        type: "button", class: "object", title: annotation.note || null,
        "aria-pressed": String(selectedIds.has(annotation.id)),
        "data-testid": "object-select", onclick: (event) => this.#select(annotation.id, event),
        onfocus: () => objects.light(annotation.id),
      },
      chip(category?.color ?? "#808080"),
      make(
        "span", { class: "label" },
        make("span", { class: "named" }, make("span", {}, name), ...noteMark(annotation)),
        make("span", { class: "area" }, areaText(annotation, image)),
      ),
    );
    const buttons = accessButtons({
      isHidden, isLocked, name, kind: "object",
      onHide: () => objects.toggle("hidden", annotation.id), onLock: () => objects.toggle("locked", annotation.id),
    });
    const trash = iconButton("trash", {
      title: `Delete ${name}`, testid: "object-delete", onclick: () => objects.removeOne(annotation.id),
    });
    const marks = `${isHidden ? "off" : ""}${isHidden || isLocked ? " marked" : ""}`;
    return make(
      "li",
      {
        class: marks.trim(), "data-testid": "object", "data-id": annotation.id, "data-source": annotation.source,
        "aria-posinset": String(index + 1), "aria-setsize": String(this.#rows.length),
        onpointerenter: () => objects.light(annotation.id),
      },
      select, ...buttons, trash,
    );
  }

  #select(id, event) {
    const { objects } = this.act;
    const isMore = event.shiftKey || event.ctrlKey || event.metaKey || objects.isPickingSeveral;
    if (isMore) objects.toggleChoice(id);
    else this.act.reveal(id);
  }
}

/** What the list shows, top to bottom: `{annotation, category, number}` or the title of a group. */
export function rowsOf({ annotations, categories, isGrouped }) {
  const known = new Map(categories.map((category) => [category.category_id, category]));
  const numbers = new Map();
  const rows = annotations.map((annotation) => {
    const id = annotation.category_id;
    numbers.set(id, (numbers.get(id) ?? 0) + 1);
    return { annotation, category: known.get(id), number: numbers.get(id) };
  }).reverse();
  if (!isGrouped) return rows;
  const order = [...known.keys(), ...[...numbers.keys()].filter((id) => !known.has(id))];
  return order.filter((id) => numbers.has(id)).flatMap((id) => {
    const { name = "Unknown", color = "#808080" } = known.get(id) ?? {};
    return [{ name, color, count: numbers.get(id) }, ...rows.filter((row) => row.annotation.category_id === id)];
  });
}

function noteMark(annotation) {
  if (!noteOf(annotation).trim()) return [];
  const props = { class: "note-mark", role: "img", "aria-label": "has a note", "data-testid": "object-note-mark" };
  return [make("span", { ...props, html: icon("note") })];
}

function countOf({ count }) {
  return make("span", { class: "count" }, String(count));
}

/** Pixels and share of the photo: `12,345 px · 0.10 %`; measured once per state of an object. */
function areaText(annotation, image) {
  let pixels = areas.get(annotation);
  if (pixels === undefined) {
    const [x0, y0, x1, y1] = boxOf(annotation);
    const isSmall = (x1 - x0) * (y1 - y0) <= EXACT_PX;
    pixels = isSmall ? maskArea(maskOf(annotation.ops, image)) : Math.round(countPixels(annotation, image));
    areas.set(annotation, pixels);
  }
  return `${pixels.toLocaleString("en")} px · ${shareText(pixels / (image.width * image.height))}`;
}

export function shareText(share) {
  if (share >= 0.0995) return `${Math.round(share * 100)} %`;
  return share >= 0.0001 ? `${(share * 100).toPrecision(2)} %` : "< 0.01 %";
}
