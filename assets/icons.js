/** Line icons on a 20 x 20 grid, drawn with the text colour. */

const SHAPES = {
  select: "M4.5 3l4.6 13 2-5.4 5.4-2z",
  polygon: "M10 3.2l6.4 4.7-2.5 7.6H6.1L3.6 7.9z M10 3.2h.01 M16.4 7.9h.01 M13.9 15.5h.01 M6.1 15.5h.01 M3.6 7.9h.01",
  brush: "M16.6 3.4c-3.6 1.7-6.6 4.4-8.4 7.4l1.9 1.9c3-1.8 5.3-5 6.5-9.3z M7.6 11.6c-2.3.1-2 2.9-4.2 3.8 2.1 1.6 5.9.9 6-1.9",
  eraser: "M8.2 16.2l-4-4a1.2 1.2 0 010-1.7l6.6-6.6a1.2 1.2 0 011.7 0l3.6 3.6a1.2 1.2 0 010 1.7l-7 7z M7.2 7.6l5.2 5.2 M8 16.2h8.4",
  hole: "M3.5 3.5h13v13h-13z M10 6.9l3.1 2.3-1.2 3.6H8.1L6.9 9.2z",
  undo: "M7.4 4.2L3.8 7.8l3.6 3.6 M4.2 7.8h7.4a4.2 4.2 0 010 8.4H7.4",
  redo: "M12.6 4.2l3.6 3.6-3.6 3.6 M15.8 7.8H8.4a4.2 4.2 0 000 8.4h4.2",
  fit: "M3.6 7.2V3.6h3.6 M12.8 3.6h3.6v3.6 M16.4 12.8v3.6h-3.6 M7.2 16.4H3.6v-3.6",
  eye: "M2.4 10S5.2 4.9 10 4.9 17.6 10 17.6 10 14.8 15.1 10 15.1 2.4 10 2.4 10z M10 12.3a2.3 2.3 0 100-4.6 2.3 2.3 0 000 4.6z",
  eyeOff: "M3.4 3.4l13.2 13.2 M8 5.2a6.9 6.9 0 012-.3c4.8 0 7.6 5.1 7.6 5.1a13 13 0 01-2.2 2.8 M12.6 14.6a7 7 0 01-2.6.5C5.2 15.1 2.4 10 2.4 10a13.3 13.3 0 013-3.5",
  trash: "M4 5.8h12 M8 5.6V3.6h4v2 M5.4 5.8l.7 10.6h7.8l.7-10.6 M8.5 8.8v4.8 M11.5 8.8v4.8",
  previous: "M12.2 4.6L6.8 10l5.4 5.4",
  next: "M7.8 4.6l5.4 5.4-5.4 5.4",
  help: "M10 17a7 7 0 100-14 7 7 0 000 14z M8.1 8.2a1.9 1.9 0 113 1.6c-.7.5-1.1.9-1.1 1.7 M10 13.6h.01",
  check: "M4.2 10.4l3.8 3.8 7.8-8.4",
  none: "M10 17a7 7 0 100-14 7 7 0 000 14z M5.1 14.9l9.8-9.8",
  list: "M7.2 5.4h9.2 M7.2 10h9.2 M7.2 14.6h9.2 M3.8 5.4h.01 M3.8 10h.01 M3.8 14.6h.01",
  close: "M5.2 5.2l9.6 9.6 M14.8 5.2l-9.6 9.6",
  back: "M16.4 5h-8L3.6 10l4.8 5h8z M10.2 8l3.6 4 M13.8 8l-3.6 4",
  opacity: "M10 3s4.8 5 4.8 8.5a4.8 4.8 0 01-9.6 0C5.2 8 10 3 10 3z M10 3v13.3",
};

/** The markup of one icon; hidden from screen readers, since its button carries the name. */
export function icon(name) {
  const shape = SHAPES[name];
  if (!shape) throw new Error(`There is no icon "${name}".`);
  return (
    '<svg viewBox="0 0 20 20" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.5" ' +
    `stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${shape}"/></svg>`
  );
}
