/** Samples to try: of each class the first image that can be read. */

import { el } from "../../shared/api.js";
import { leftOutText, thumbnailOf } from "../../shared/images.js";
import { breakable } from "../../shared/models.js";
import { Pictures } from "../../shared/pictures.js";
import { patiently } from "../../shared/waiting.js";

const MOST_EXPERIMENTS = 2;
const MOST_CLASSES = 8; // of one experiment
const WITHOUT_CLASSES = 4; // samples of an experiment that has no classes
const MOST_TRIED = 20; // images of a class
const AT_ONCE = 4;
const PIXELS = 96;

/** Buttons, each with the picture of an image; a picture that cannot be had is replaced. */
export class Samples {
  #container;
  #pick;
  #wanted = new Map(); // address of a picture -> {group, button}
  #pictures = new Pictures(AT_ONCE, (address) => this.#replace(address));

  /** @param {HTMLElement} container @param {(experiment: object, image: string) => void} pick */
  constructor(container, pick) {
    this.#container = container;
    this.#pick = pick;
  }

  /** Offer samples of some experiments, as the service has them. */
  async offer(experiments) {
    const groups = await Promise.all(
      experiments.slice(0, MOST_EXPERIMENTS).map((one) => this.#experiment(one)),
    );
    this.#container.replaceChildren(...groups);
    this.#fetch();
  }

  /** Mark the sample that is on show. */
  mark(experiment, image) {
    for (const button of this.#container.querySelectorAll("button")) {
      const isShown = button.dataset.experiment === experiment && button.dataset.image === image;
      button.setAttribute("aria-pressed", String(isShown));
    }
  }

  async #experiment(experiment) {
    const box = el("div", {}, el("h3", {}, breakable(experiment.name)));
    const row = box.appendChild(el("div", { class: "samples" }));
    box.append(el("p", { class: "left-out soft" }, leftOutText(experiment.skipped)));
    const classes = experiment.classes.slice(0, MOST_CLASSES);
    const wanted = classes.length > 0 ? classes.map((name) => [name, 1]) : [["", WITHOUT_CLASSES]];
    const groups = wanted.map(([name, count]) => ({ experiment, name, count, tried: 0, box }));
    for (const buttons of await Promise.all(groups.map((group) => this.#first(group))))
      row.append(...buttons);
    return box;
  }

  async #first(group) {
    const images = await imagesOf(group, group.count);
    group.tried = images.length;
    return images.map((image) => this.#button(group, image));
  }

  #button(group, image) {
    const picture = el("img", { alt: "" });
    const button = el("button", { type: "button" }, picture, el("span"));
    this.#fill({ group, button, picture }, image);
    return button;
  }

  #fill(sample, image) {
    const { experiment } = sample.group;
    const { button } = sample;
    Object.assign(button.dataset, { image: image.path, experiment: experiment.path });
    button.onclick = () => this.#pick(experiment, image.path);
    button.lastChild.textContent = image.true_class ?? image.name;
    this.#wanted.set(thumbnailOf(experiment, image.path, PIXELS), sample);
  }

  #fetch() {
    const wanted = [...this.#wanted].map(([address, { picture }]) => [address, picture]);
    this.#pictures.want(new Map(wanted));
  }

  /** Offer the next image instead of one that cannot be read. */
  async #replace(address) {
    const sample = this.#wanted.get(address);
    if (!sample) return;
    this.#wanted.delete(address);
    const { group } = sample;
    const [next] = group.tried < MOST_TRIED ? await imagesOf(group, 1).catch(() => []) : [];
    group.tried += 1;
    if (next) this.#fill(sample, next);
    else giveUp(sample);
    this.#fetch();
  }
}

function giveUp({ group, button }) {
  button.remove();
  const what = group.name ? `image of ${group.name}` : "further image";
  group.box.append(el("p", { class: "soft" }, `No ${what} can be read.`));
}

/** So many images of a group after those that were tried. */
async function imagesOf({ experiment, name, tried }, limit) {
  const asked = new URLSearchParams({ limit, offset: tried, ...(name && { class: name }) });
  return (await patiently(`${experiment.links.images}?${asked}`, { as: "json" })).images;
}
