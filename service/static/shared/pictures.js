/** Pictures that need the API key: fetched a few at a time, shown as blobs. */

import { patiently } from "./waiting.js";

const MOST_KEPT = 300;

/** Fetches what is wanted in its order; what no longer is wanted is aborted. */
export class Pictures {
  #atOnce;
  #wanted = new Map();
  #running = new Map();
  #kept = new Map();
  #failed = new Set();
  #refused;

  /**
   * @param {number} atOnce most requests at a time
   * @param {(path: string) => void} refused told of a picture that cannot be had
   */
  constructor(atOnce, refused = () => {}) {
    this.#atOnce = atOnce;
    this.#refused = refused;
  }

  /** @param {Map<string, HTMLImageElement>} wanted where each path's picture goes; replaces all */
  want(wanted) {
    this.#wanted = wanted;
    for (const [path, abort] of this.#running) if (!wanted.has(path)) abort.abort();
    for (const path of wanted.keys()) this.#show(path);
    this.#next();
  }

  #next() {
    for (const path of this.#wanted.keys()) {
      if (this.#running.size >= this.#atOnce) return;
      const known = this.#kept.has(path) || this.#failed.has(path) || this.#running.has(path);
      if (!known) this.#fetch(path);
    }
  }

  async #fetch(path) {
    const abort = new AbortController();
    this.#running.set(path, abort);
    try {
      const blob = await patiently(path, { as: "blob", signal: abort.signal });
      this.#kept.set(path, URL.createObjectURL(blob));
      this.#forgetOldest();
    } catch (error) {
      if (error.name !== "AbortError") this.#failed.add(path);
    }
    this.#running.delete(path);
    this.#show(path);
    if (this.#failed.has(path)) this.#refused(path);
    this.#next();
  }

  #show(path) {
    const image = this.#wanted.get(path);
    if (!image) return;
    image.classList.toggle("missing", this.#failed.has(path));
    const address = this.#kept.get(path);
    if (!address) image.removeAttribute("src");
    else if (image.src !== address) image.src = address;
  }

  #forgetOldest() {
    for (const [path, address] of this.#kept) {
      if (this.#kept.size <= MOST_KEPT) return;
      if (this.#wanted.has(path)) continue;
      URL.revokeObjectURL(address);
      this.#kept.delete(path);
    }
  }
}
