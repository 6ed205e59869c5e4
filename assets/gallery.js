// A grid of thumbnails: click opens a photo, the box in its corner selects it.
// Data: {tiles: [{id, url, name, badge, tone, colors}], version, selected: [ids]}.
// Out: trigger "open" (an id), state "selected" ({version, ids}). The boxes are the truth; `selected`
// counts only for a new grid or a new version, by which the page clears or sets the selection.

const STYLE = `
  :host { display: block; }
  .grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(156px, 1fr)); }
  .tile { position: relative; border: 1px solid var(--st-border-color, #d8dde3); border-radius: 8px;
    overflow: hidden; background: var(--st-secondary-background-color, #f4f6f8); }
  .tile:has(input:checked) { outline: 2px solid var(--st-primary-color, #0b5fae); outline-offset: -1px; }
  .open { display: block; width: 100%; padding: 0; border: 0; background: none; cursor: pointer;
    text-align: left; color: inherit; font: inherit; }
  .open:focus-visible { outline: 2px solid var(--st-primary-color, #0b5fae); outline-offset: -2px; }
  img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: cover;
    background: var(--st-border-color, #d8dde3); }
  .open:hover img { filter: brightness(1.06); }
  .text { padding: 7px 9px 8px; font: 400 12px/1.35 var(--st-font, sans-serif);
    color: var(--st-text-color, #17202b); }
  .name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; font-weight: 500; }
  .row { display: flex; align-items: center; gap: 5px; margin-top: 3px; opacity: 0.78; min-height: 16px; }
  .dot { width: 9px; height: 9px; border-radius: 50%; flex: none; box-shadow: 0 0 0 1px #0002; }
  .mark { width: 7px; height: 7px; border-radius: 2px; flex: none; }
  .mark.done { background: #009e73; } .mark.in_progress { background: #e69f00; }
  .mark.approved { background: #0072b2; } .mark.rejected { background: #d55e00; }
  .mark.unlabelled { background: transparent; box-shadow: inset 0 0 0 1.5px currentColor; opacity: 0.6; }
  .spacer { flex: 1; }
  .pick { position: absolute; top: 0; right: 0; padding: 9px; cursor: pointer; line-height: 0; }
  .pick input { width: 18px; height: 18px; margin: 0; accent-color: var(--st-primary-color, #0b5fae);
    opacity: 0.25; cursor: pointer; }
  .tile:hover .pick input, .pick input:checked, .pick input:focus-visible { opacity: 1; }
  @media (hover: none) { .pick input { opacity: 0.85; } }
  @media (max-width: 560px) { .grid { grid-template-columns: repeat(2, 1fr); gap: 10px; } }
`;

const instances = new WeakMap();

export function mount({ data, parentElement, setStateValue, setTriggerValue }) {
  let gallery = instances.get(parentElement);
  if (!gallery) {
    gallery = new Gallery(parentElement);
    instances.set(parentElement, gallery);
  }
  gallery.update(data, setStateValue, setTriggerValue);
}

export function unmount(parentElement) {
  instances.delete(parentElement);
}

class Gallery {
  #grid = element("div", "grid");
  #tiles = new Map();
  #selected = new Set();
  #version = null;

  constructor(host) {
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.#grid.dataset.testid = "gallery";
    host.replaceChildren(style, this.#grid);
  }

  update({ tiles, version, selected }, setStateValue, setTriggerValue) {
    this.send = () => setStateValue("selected", { version: this.#version, ids: [...this.#selected] });
    this.open = (id) => setTriggerValue("open", id);
    this.#drawTiles(tiles);
    if (version !== this.#version) {
      this.#version = version;
      this.#selected = new Set(selected);
    }
    const isAllShown = [...this.#selected].every((id) => this.#tiles.has(id));
    if (!isAllShown) {
      this.#selected = new Set([...this.#selected].filter((id) => this.#tiles.has(id)));
      this.send();
    }
    for (const [id, { box }] of this.#tiles) box.checked = this.#selected.has(id);
  }

  /** Tiles that did not change stay as they are: their photos do not flicker, their boxes keep the focus. */
  #drawTiles(tiles) {
    const known = this.#tiles;
    this.#tiles = new Map(tiles.map((tile) => [tile.id, this.#tile(tile, known.get(tile.id))]));
    const nodes = [...this.#tiles.values()].map(({ node }) => node);
    const wanted = new Set(nodes);
    for (const child of [...this.#grid.children]) if (!wanted.has(child)) child.remove();
    nodes.forEach((node, i) => {
      // Only what is not in its place moves: a tile taken out under a press would lose the click.
      if (this.#grid.children[i] !== node) this.#grid.insertBefore(node, this.#grid.children[i] ?? null);
    });
  }

  #tile(tile, known) {
    const content = JSON.stringify(tile);
    if (known?.content === content) return known;
    const node = element("div", "tile");
    const { label, box } = drawPick(tile);
    box.addEventListener("change", () => {
      if (box.checked) this.#selected.add(tile.id);
      else this.#selected.delete(tile.id);
      this.send();
    });
    node.append(drawOpen(tile, () => this.open(tile.id)), label);
    return { content, node, box };
  }
}

function drawOpen(tile, onclick) {
  const open = element("button", "open");
  open.type = "button";
  open.title = tile.name;
  open.setAttribute("aria-label", `Open ${tile.name}, ${tile.badge}`);
  open.addEventListener("click", onclick);
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.src = new URL(tile.url, document.baseURI).href;
  const text = element("div", "text");
  const name = element("div", "name");
  name.textContent = tile.name;
  const row = element("div", "row");
  const mark = element("span", `mark ${tile.tone}`);
  const badge = element("span", "");
  badge.textContent = tile.badge;
  row.append(mark, badge, element("span", "spacer"));
  for (const color of tile.colors) {
    const dot = element("span", "dot");
    dot.style.background = color;
    row.append(dot);
  }
  text.append(name, row);
  open.append(image, text);
  return open;
}

function drawPick(tile) {
  const label = element("label", "pick");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", `Select ${tile.name}`);
  label.append(box);
  return { label, box };
}

function element(name, className) {
  const node = document.createElement(name);
  if (className) node.className = className;
  return node;
}
