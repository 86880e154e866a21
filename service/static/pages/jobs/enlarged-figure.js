/** The dialog in which a job's figure is seen at full size, with the ones before and after it. */

import { announce, el } from "../../shared/api.js";
import { patiently } from "../../shared/waiting.js";

const $ = (id) => document.getElementById(id);
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

/** Steps through a job's figures; each is fetched when it is shown. */
export class EnlargedFigure {
  #figures;
  #at = 0;
  #address = "";
  #showing = new AbortController();

  /**
   * @param {{at: (index: number) => Promise<object>, total: () => number,
   *   about: (item: object) => string, look: (item: object) => string,
   *   why: (item: object) => HTMLElement, outdated: (item: object) => HTMLElement|null}} figures at: an item of the job by its place; look: the
   *   address of the page Look for it; why: says why it has no picture any more;
   *   outdated: says why its picture is not of the image as it is now
   */
  constructor(figures) {
    this.#figures = figures;
    const dialog = $("large");
    $("previous-figure").addEventListener("click", () => this.#step(-1));
    $("next-figure").addEventListener("click", () => this.#step(1));
    $("download-figure").addEventListener("click", () => this.#download());
    $("close-large").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.#step(step);
    });
    dialog.addEventListener("close", () => this.#clear());
  }

  /** Show the figure at a place of the list. */
  open(index) {
    $("large").showModal();
    this.#show(index);
  }

  #step(by) {
    const to = this.#at + by;
    if (to >= 0 && to < this.#figures.total()) this.#show(to);
  }

  async #show(index) {
    this.#clear();
    this.#at = index;
    const { signal } = this.#showing;
    $("previous-figure").disabled = index === 0;
    $("next-figure").disabled = index >= this.#figures.total() - 1;
    try {
      const item = await this.#figures.at(index);
      if (signal.aborted) return;
      const about = this.#figures.about(item);
      $("large-title").textContent = about;
      $("large-place").textContent = `${index + 1} of ${this.#figures.total()}`;
      $("figure-in-look").href = this.#figures.look(item);
      announce(`${about}, ${$("large-place").textContent}`);
      if (!item.links.figure) {
        $("large-waiting").hidden = true;
        return $("large-problem").replaceChildren(this.#figures.why(item));
      }
      const blob = await patiently(item.links.figure, { as: "blob", tries: 0, signal });
      this.#address = URL.createObjectURL(blob);
      Object.assign($("large-picture"), { src: this.#address, alt: about });
      $("large-picture").dataset.name = item.links.figure.split("/").at(-1);
      $("large-picture").hidden = false;
      $("large-waiting").hidden = true;
      $("download-figure").disabled = false;
      const outdated = this.#figures.outdated(item);
      if (outdated) $("large-problem").replaceChildren(outdated);
    } catch (error) {
      if (error.name === "AbortError") return;
      $("large-waiting").hidden = true;
      $("large-problem").replaceChildren(el("p", { class: "wrong" }, `No picture: ${error.message}`));
    }
  }

  #clear() {
    this.#showing.abort();
    this.#showing = new AbortController();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = "";
    this.#keepSize();
    $("large-picture").removeAttribute("src");
    $("large-picture").hidden = true;
    $("large-waiting").hidden = false;
    $("download-figure").disabled = true;
    $("large-problem").replaceChildren();
  }

  /** The next picture takes the room of this one, so that buttons stay under the mouse. */
  #keepSize() {
    const { offsetWidth, offsetHeight } = $("large-picture");
    if (offsetHeight === 0) return;
    $("large-frame").style.minWidth = `min(${offsetWidth}px, 100%)`;
    $("large-frame").style.minHeight = `${offsetHeight}px`;
  }

  #download() {
    const name = decodeURIComponent($("large-picture").dataset.name);
    const model = $("large-title").textContent.split(", ").at(-1);
    el("a", { href: this.#address, download: `${model}_${name}` }).click();
  }
}
