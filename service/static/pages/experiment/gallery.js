/** A grid of tiles for lists of any length: only the tiles in sight exist. */

import { el } from "../../shared/api.js";

const TILE = { width: 164, height: 208, gap: 12 };
const MOST_TILES = 60;
const SHARE_OF_WINDOW = 0.75;

/**
 * A list box in which one tile is active: arrows, Home, End and Page move, Enter opens.
 * The box scrolls; its tiles, all of one size, are laid out absolutely.
 */
export class Gallery {
  #box;
  #room;
  #options;
  #items = [];
  #tiles = new Map();
  #spare = [];
  #active = -1;
  #columns = 1;
  #drawing = false;

  /**
   * @param {HTMLElement} box
   * @param {{key: (item) => string, draw: (tile: HTMLElement, item) => void,
   *   open: (index: number) => void, shown: (tiles: [object, HTMLElement][]) => void}} options
   *   draw: fills a tile, which may have shown another item before; shown: told what is in sight
   */
  constructor(box, options) {
    this.#box = box;
    this.#options = options;
    this.#room = el("div", { class: "room", role: "presentation" });
    box.replaceChildren(this.#room);
    box.addEventListener("scroll", () => this.redraw());
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("click", (event) => this.#click(event));
    box.addEventListener("focus", () => this.#active < 0 && this.activate(0));
    new ResizeObserver(() => this.#layOut()).observe(box.parentElement);
  }

  /** What is shown, in order. Setting keeps the active item active, where it is still there. */
  get items() {
    return this.#items;
  }

  set items(items) {
    const { key } = this.#options;
    const before = this.#items[this.#active];
    this.#items = items;
    this.#active = before ? items.findIndex((one) => key(one) === key(before)) : -1;
    this.#layOut();
  }

  /** Make an item active and bring it into sight. */
  activate(index) {
    if (this.#items.length === 0) return;
    this.#active = Math.min(Math.max(index, 0), this.#items.length - 1);
    const step = TILE.height + TILE.gap;
    const top = Math.floor(this.#active / this.#columns) * step;
    const { scrollTop, clientHeight } = this.#box;
    if (top < scrollTop) this.#box.scrollTop = top;
    else if (top + step > scrollTop + clientHeight) this.#box.scrollTop = top + step - clientHeight;
    this.redraw();
  }

  /** Draw the tiles in sight anew, with the next frame. */
  redraw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#draw();
    });
  }

  #layOut() {
    const step = TILE.height + TILE.gap;
    const width = this.#box.clientWidth;
    this.#columns = Math.max(1, Math.floor((width + TILE.gap) / (TILE.width + TILE.gap)));
    const rows = Math.ceil(this.#items.length / this.#columns);
    const mostRows = Math.max(1, Math.floor(MOST_TILES / this.#columns) - 1);
    const high = Math.min(rows, mostRows) * step;
    this.#box.style.height = `${Math.min(high, SHARE_OF_WINDOW * window.innerHeight)}px`;
    this.#room.style.height = `${rows * step}px`;
    this.redraw();
  }

  /** First and last item (exclusive) that have a tile: the rows in sight, and more if there's room. */
  #range() {
    const step = TILE.height + TILE.gap;
    const { scrollTop, clientHeight } = this.#box;
    let first = Math.floor(scrollTop / step);
    let last = Math.floor((scrollTop + clientHeight) / step) + 1;
    if ((last - first + 2) * this.#columns <= MOST_TILES) {
      first = Math.max(0, first - 1);
      last += 1;
    }
    return [first * this.#columns, Math.min(last * this.#columns, this.#items.length)];
  }

  #draw() {
    const [first, last] = this.#range();
    for (const [index, tile] of this.#tiles) {
      if (index >= first && index < last) continue;
      this.#tiles.delete(index);
      this.#spare.push(tile);
    }
    for (let index = first; index < last; index += 1) this.#drawTile(index);
    for (const tile of this.#spare.splice(0)) tile.remove();
    const active = this.#tiles.get(this.#active);
    if (active) this.#box.setAttribute("aria-activedescendant", active.id);
    else this.#box.removeAttribute("aria-activedescendant");
    this.#options.shown([...this.#tiles].map(([index, tile]) => [this.#items[index], tile]));
  }

  #drawTile(index) {
    let tile = this.#tiles.get(index);
    if (!tile) {
      tile = this.#spare.pop() ?? this.#room.appendChild(el("div", { class: "tile", role: "option" }));
      this.#tiles.set(index, tile);
    }
    const row = Math.floor(index / this.#columns);
    const width = Math.floor((this.#box.clientWidth + TILE.gap) / this.#columns) - TILE.gap;
    const left = (index % this.#columns) * (width + TILE.gap);
    tile.style.width = `${width}px`;
    tile.style.transform = `translate(${left}px, ${row * (TILE.height + TILE.gap)}px)`;
    tile.id = `tile-${index}`;
    tile.dataset.index = index;
    tile.setAttribute("aria-selected", String(index === this.#active));
    tile.setAttribute("aria-setsize", this.#items.length);
    tile.setAttribute("aria-posinset", index + 1);
    this.#options.draw(tile, this.#items[index]);
  }

  #key(event) {
    const page = this.#columns * Math.floor(this.#box.clientHeight / (TILE.height + TILE.gap));
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.#columns,
      ArrowDown: this.#columns,
      PageUp: -page,
      PageDown: page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) this.activate(this.#active + steps[event.key]);
    else if (event.key === "Enter" && this.#active >= 0) this.#options.open(this.#active);
    else return;
    event.preventDefault();
  }

  #click(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    this.activate(Number(tile.dataset.index));
    this.#options.open(this.#active);
  }
}
