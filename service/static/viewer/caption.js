/** What stands beside the picture: prediction, layer, notices, and the most probable classes. */

import { make } from "./common/dom.js";
import { labelOf } from "./common/methods.js";
import { NO_EVIDENCE, percent, title } from "./common/words.js";

export class Caption {
  #lines = make("div", { class: "caption", part: "caption" });
  #empty = make("p", { class: "empty", hidden: true }, NO_EVIDENCE);

  constructor() {
    this.element = make("div", { class: "caption" }, this.#lines, this.#empty);
    this.classes = make("ul", {
      class: "classes", part: "classes", role: "list", "aria-label": "Most probable classes",
    });
  }

  /** Say what an answer says, and what it says of the layer. */
  show(facts, layer) {
    this.#lines.replaceChildren(...captionLines(facts, layer));
    this.#empty.hidden = !layer.facts.empty;
  }

  /** List classes with their probabilities. */
  list(classes) {
    this.classes.replaceChildren(...classes.map(({ name, probability }) => {
      const share = make("i");
      share.style.width = `${100 * probability}%`;
      return make("li", {}, make("span", {}, name),
        make("span", { class: "share", "aria-hidden": "true" }, share),
        make("span", {}, percent(probability)));
    }));
  }
}

function captionLines(answer, { name, facts }) {
  const { prediction, target, image, notices, unenhanced, clahe_changed_class: changed } = answer;
  const right = image.true_class === prediction.name;
  const truth = right ? "right" : `wrong, it is ${image.true_class}`;
  const lines = [
    make("p", { class: "prediction" }, make("b", {}, prediction.name),
      ` ${percent(prediction.probability)}`,
      image.true_class ? make("span", { class: right ? "soft" : "wrong" }, ` · ${truth}`) : ""),
  ];
  if (target.index !== prediction.index) {
    lines.push(make("p", {}, `Explained: ${target.name}, ${percent(target.probability)}`));
  }
  const cells = facts.grid.join(" × ");
  lines.push(make("p", { class: "soft" }, `${title(name)} · ${labelOf(facts.method)} · ${cells} cells`));
  if (changed) {
    const said = `${unenhanced.name}, ${percent(unenhanced.probability)}`;
    lines.push(make("p", { class: "soft" }, `Without CLAHE the model says ${said}.`));
  }
  for (const notice of notices ?? []) {
    lines.push(make("p", { class: "soft assumed" }, `\u26a0 ${notice}.`));
  }
  return lines;
}
