/** Downloads, and the link to the view. */

import { make, makeButton } from "../common/dom.js";
import { isGone } from "../asking/service.js";

const LINK = "Copy the link to this view";
const FILE_MILLISECONDS = 10_000; // so long a file is at hand for the browser to save it
const SAID_MILLISECONDS = 2000;

/** A name of parts, such as "cell_001_cls_densenet121_ring_gradcam++_late.png". */
export function fileName(parts, ending) {
  const sound = parts.map((one) => one.replace(/[^\p{L}\p{N}.+-]+/gu, "_").replace(/^[._]+|[._]+$/g, ""));
  return `${sound.filter(Boolean).join("_") || "image"}${ending}`;
}

/** The buttons of one viewer that save or copy something. */
export class Downloads {
  #viewer;
  #options;
  #loading;
  #said;
  #link = makeButton("Link", () => this.#copyLink(), LINK);
  #buttons = [
    makeButton("PNG", () => this.#savePng(), "Download the picture as seen, PNG"),
    makeButton("Panel", () => this.#savePanel(), "Download the panel of all layers, PNG"),
    makeButton("Array", () => this.#saveArray(), "Download the maps as an array, npy"),
  ];

  /**
   * @param {CamViewer} viewer
   * @param {Options} options
   * @param {Loading} loading what is on show
   * @param {{say: (text: string) => void, notice: (text: string) => void, help: () => void}} said
   *   say: for those who listen; notice: over the picture; help: show it
   */
  constructor(viewer, options, loading, said) {
    this.#viewer = viewer;
    this.#options = options;
    this.#loading = loading;
    this.#said = said;
    const row = make("div", { class: "row", role: "group", "aria-label": "Downloads and help" },
      ...this.#buttons, this.#link, makeButton("?", () => said.help(), "Keys"));
    this.element = make("div", { class: "field wide" }, make("span", {}, "Download"), row);
  }

  /** Allow what there is something for. */
  allow() {
    const ready = this.#loading.state === "ready";
    const { file, linkTo } = this.#viewer;
    for (const button of this.#buttons) button.disabled = !ready;
    this.#link.hidden = linkTo === null;
    this.#link.disabled = !ready || Boolean(file);
    this.#link.title = file ? "An uploaded image has no address" : LINK;
  }

  async #savePng() {
    this.#save(await this.#viewer.toBlob({ caption: true }), this.#loading.layer.name, ".png");
  }

  /** The maps at the picture's size, as the service has them. */
  async #saveArray() {
    const { service, asked, explanation } = this.#loading;
    const type = "application/x-npy";
    const path = `/v1/explanations/${explanation.facts.digest}`;
    const answer = service.ask(path, { headers: { Accept: type } }).catch((error) => {
      if (!isGone(error)) throw error;
      return service.explain({ ...asked, view: "maps" }, this.#viewer.file, type);
    });
    await this.#saveAnswer("array", answer, "maps", ".npy");
  }

  /** The service's figure of all layers, in the colours and opacity of this view. */
  async #savePanel() {
    const { service, asked } = this.#loading;
    const colours = { colormap: this.#options.get("colormap"), alpha: this.#options.number("opacity") };
    const fields = { ...asked, view: "panel", ...colours };
    const answer = service.explain(fields, this.#viewer.file, "image/png");
    await this.#saveAnswer("panel", answer, "panel", ".png");
  }

  async #saveAnswer(name, answer, what, ending) {
    const { explanation } = this.#loading;
    try {
      const blob = await (await answer).blob();
      if (explanation === this.#loading.explanation) this.#save(blob, what, ending);
    } catch (error) {
      this.#said.notice(`No ${name}: ${error.title ?? error.message}`);
    }
  }

  /** Save a file named after what is on show: image, model, class, method, and what it is. */
  #save(blob, what, ending) {
    const { image, model, target, layers } = this.#loading.explanation.facts;
    const stem = image.name.split(/[/\\]/).pop().replace(/\.[^.]*$/, "");
    const { layer } = this.#loading;
    const { method } = what === layer.name ? layer.facts : layers[0];
    const name = fileName([stem, model.name, target.name, method, what], ending);
    const href = URL.createObjectURL(blob);
    make("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), FILE_MILLISECONDS);
  }

  /** The address that reopens this view, on the service's own page where no other is named. */
  async #copyLink() {
    const viewer = this.#viewer;
    const own = () => `${this.#loading.service.base}/?${viewer.link()}`;
    const address = await (viewer.linkTo ?? own)(viewer.link());
    const copied = await copyText(String(address), viewer.shadowRoot);
    this.#link.textContent = copied ? "Copied" : "Not copied";
    this.#said.say(copied ? "Link copied" : "The browser does not let the link be copied");
    setTimeout(() => (this.#link.textContent = "Link"), SAID_MILLISECONDS);
  }
}

/** Copy; pages without TLS have no clipboard API, and the old command then does it. */
async function copyText(text, root) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" }, text);
    root.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
