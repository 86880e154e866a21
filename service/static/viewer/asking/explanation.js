/** What the service said of one image. */

import { contourPaths } from "../drawing/contours.js";
import { cellsOf, fullSizeMap } from "../drawing/maps.js";
import { levelsOf } from "../drawing/overlay.js";

/** One layer's map; all but its cells is made when first asked for, as when it is shown. */
class LayerMap {
  #cells;
  #values = null;
  #levels = null;
  #contours = null;

  constructor(grid, cells, width, height) {
    Object.assign(this, { grid, width, height });
    this.#cells = cells;
  }

  /** Float32Array of height x width, 0..1. */
  get values() {
    this.#values ??= fullSizeMap(this.#cells, this.grid, this.height, this.width);
    return this.#values;
  }

  /** What layOver() draws. */
  get levels() {
    this.#levels ??= levelsOf(this.values);
    return this.#levels;
  }

  /** Bytes held so far. */
  get bytes() {
    return this.#cells.byteLength + (this.#values?.byteLength ?? 0) + (this.#levels?.byteLength ?? 0);
  }

  /** SVG paths, one of each of LEVELS. */
  get contours() {
    this.#contours ??= contourPaths(this);
    return this.#contours;
  }
}

/** What the service said of one image: facts, maps, and the pixels beneath as they come. */
export class Explanation {
  images = new Map();
  #coming = new Map(); // kind -> promise of its pixels

  constructor(facts) {
    const [height, width] = facts.picture_size;
    const layers = facts.layers.map(({ name, grid, values }) => {
      return [name, new LayerMap(grid, cellsOf(values), width, height)];
    });
    Object.assign(this, { facts, maps: { width, height, layers: Object.fromEntries(layers) } });
  }

  /** The layer of that name, or where it has none, the one that was asked for. */
  layer(wanted) {
    const name = Object.hasOwn(this.maps.layers, wanted) ? wanted : this.facts.layer;
    const facts = this.facts.layers.find((one) => one.name === name);
    return { name, map: this.maps.layers[name], facts };
  }

  /** Bytes held so far. */
  get bytes() {
    const { width, height, layers } = this.maps;
    const made = Object.values(layers).reduce((sum, one) => sum + one.bytes, 0);
    return made + 4 * width * height * this.images.size;
  }

  /** Fetch the pixels of a kind, once for all who want them. */
  async fetchImage(service, kind) {
    if (this.images.has(kind)) return;
    if (!this.#coming.has(kind)) this.#coming.set(kind, service.pixels(this.facts.digest, kind));
    try {
      this.images.set(kind, await this.#coming.get(kind));
    } finally {
      this.#coming.delete(kind);
    }
  }
}
