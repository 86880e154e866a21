/** The dialog in which one image of a gallery is looked at, with the ones before and after it. */

import { authHeaders, base, signedIn } from "../../shared/api.js";
import { viewerThere } from "../../shared/viewer.js";

const $ = (id) => document.getElementById(id);

/** Steps through a list of images, each explained by the model shown. */
export class Viewing {
  #items = [];
  #image = null;
  #subject;
  #moved;

  /**
   * @param {() => {experiment: string, model: string, other: (path: string) => string|undefined,
   *   about: (image: object) => string, note: string}} subject what is explained; other: a model to
   *   compare with; note: what is said of the number of images
   * @param {{moved: (image: object) => void, closed: () => void}} told of another image by a step,
   *   and of the end
   */
  constructor(subject, { moved, closed }) {
    this.#subject = subject;
    this.#moved = moved;
    const dialog = $("viewing");
    dialog.addEventListener("close", () => {
      $("viewer").removeAttribute("image");
      this.#image = null;
      closed();
    });
    dialog.addEventListener("cam-navigate", (event) => this.#step(event.detail.step));
    dialog.addEventListener("cam-error", (event) => this.#askForKey(event.detail.problem));
    dialog.addEventListener("keydown", (event) => this.#key(event));
    $("previous").addEventListener("click", () => this.#step(-1));
    $("next").addEventListener("click", () => this.#step(1));
    $("close-viewing").addEventListener("click", () => this.close());
  }

  /** The image on show; null while the dialog is closed. */
  get image() {
    return this.#image;
  }

  /** The images to step through; the one on show should be among them. */
  set items(items) {
    this.#items = items;
    if (this.#image) this.#describe();
  }

  /** Open an image of a list. */
  open(items, image) {
    this.#items = items;
    if (!$("viewing").open) $("viewing").showModal();
    this.#show(image);
    viewerThere.then(() => $("viewer").focus()).catch(() => {}); // no keys without it
  }

  close() {
    this.#image = null;
    if ($("viewing").open) $("viewing").close();
  }

  get #at() {
    return this.#items.findIndex((one) => one.path === this.#image?.path);
  }

  #step(by) {
    const at = this.#at;
    const next = this.#items[at + by];
    if (at < 0 || !next) return;
    this.#show(next);
    this.#moved(next);
  }

  /** Arrows everywhere but where they have a meaning; the viewer, once loaded, hears its own. */
  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const heard = event.target === $("viewer") && $("viewer").maps;
    if (!step || heard || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.#step(step);
  }

  async #askForKey(problem) {
    if (problem.status !== 401 || !(await signedIn())) return;
    $("viewer").headers = authHeaders();
    $("viewer").load();
  }

  #show(image) {
    this.#image = image;
    const { experiment, model } = this.#subject();
    const viewer = $("viewer");
    viewer.headers = authHeaders();
    for (const [name, value] of Object.entries({ experiment, model, image: image.path }))
      viewer.setAttribute(name, value);
    this.#describe();
  }

  #describe() {
    const image = this.#image;
    const { experiment, model, other, about, note } = this.#subject();
    $("viewing-title").textContent = image.name;
    $("viewing-about").textContent = about(image);
    $("place").textContent = `${this.#at + 1} of ${this.#items.length}${note}`;
    $("previous").disabled = this.#at <= 0;
    $("next").disabled = this.#at >= this.#items.length - 1;
    const query = { experiment, image: image.path };
    $("to-look").href = `${base}/?${new URLSearchParams({ ...query, model })}`;
    const pair = { ...query, a: model, b: other(image.path) ?? model };
    $("to-compare").href = `${base}/compare?${new URLSearchParams(pair)}`;
  }
}
