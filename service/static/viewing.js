/** The dialog in which one image of a gallery is looked at, with the ones before and after it. */

import { authHeaders, base } from "./api.js";

const $ = (id) => document.getElementById(id);

/** Steps through a list of images, each explained by the model shown. */
export class Viewing {
  #items = [];
  #at = -1;
  #subject;
  #moved;

  /**
   * @param {() => {experiment: string, model: string, other: (path: string) => string|undefined,
   *   about: (image: object) => string}} subject what is explained; other: a model to compare with
   * @param {(image: object|null) => void} moved told what is shown; null once closed
   */
  constructor(subject, moved) {
    this.#subject = subject;
    const dialog = $("viewing");
    dialog.addEventListener("close", () => {
      $("viewer").removeAttribute("image");
      this.#at = -1;
      moved(null);
    });
    dialog.addEventListener("cam-navigate", (event) => this.#step(event.detail.step));
    dialog.addEventListener("keydown", (event) => this.#key(event));
    $("previous").addEventListener("click", () => this.#step(-1));
    $("next").addEventListener("click", () => this.#step(1));
    $("close-viewing").addEventListener("click", () => dialog.close());
    this.#moved = moved;
  }

  /** Open the image at a place of the list. */
  open(items, index) {
    this.#items = items;
    if (!$("viewing").open) $("viewing").showModal();
    this.#show(index);
    $("viewer").focus();
  }

  #step(by) {
    const to = this.#at + by;
    if (to >= 0 && to < this.#items.length) this.#show(to);
  }

  /** Arrows everywhere but where they have a meaning; the viewer, once loaded, hears its own. */
  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const heard = event.target === $("viewer") && $("viewer").maps;
    if (!step || heard || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.#step(step);
  }

  #show(index) {
    this.#at = index;
    const image = this.#items[index];
    const { experiment, model, other, about } = this.#subject();
    const viewer = $("viewer");
    viewer.headers = authHeaders();
    for (const [name, value] of Object.entries({ experiment, model, image: image.path }))
      viewer.setAttribute(name, value);
    $("viewing-title").textContent = image.name;
    $("viewing-about").textContent = about(image);
    $("place").textContent = `${index + 1} of ${this.#items.length}`;
    $("previous").disabled = index === 0;
    $("next").disabled = index === this.#items.length - 1;
    const query = { experiment, image: image.path };
    $("to-look").href = `${base}/?${new URLSearchParams({ ...query, model })}`;
    const pair = { ...query, a: model, b: other(image.path) ?? model };
    $("to-compare").href = `${base}/compare?${new URLSearchParams(pair)}`;
    this.#moved(image);
  }
}
