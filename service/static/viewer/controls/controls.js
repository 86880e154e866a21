/** The toolbar: inputs for the attributes that a user may change. */

import { COLORMAPS } from "../drawing/colours.js";
import { make, makeButton } from "../common/dom.js";
import { aboutMethod, methodOptions } from "../common/methods.js";
import { LAYERS } from "../common/options.js";
import { title } from "../common/words.js";

export class Controls {
  #choose;
  #inputs = {}; // by attribute; an array of buttons for segments
  #shares = {}; // what the sliders stand at
  #aboutMethod = make("small", { id: "about-method" });

  /**
   * @param {(name: string, value: string) => void} choose told of an attribute and its new value
   * @param {HTMLElement} downloads what stands last
   */
  constructor(choose, downloads) {
    this.#choose = choose;
    const modes = [["colour", "Colour"], ["contour", "Contours"]];
    const bases = [["original", "Original"], ["enhanced", "CLAHE"]];
    const about = { class: "toolbar", part: "toolbar", role: "group", "aria-label": "View" };
    this.element = make("div", { ...about, hidden: true },
      this.#segments("layer", "Layer", LAYERS.map((one) => [one, title(one)]), "wide"),
      this.#slider("opacity", "Opacity"),
      this.#slider("threshold", "Hide values below"),
      this.#segments("mode", "Drawn as", modes),
      this.#segments("base", "Image beneath", bases),
      this.#menu("colormap", "Colours", COLORMAPS.map((one) => make("option", { value: one }, one))),
      this.#menu("target", "Class explained", [make("option", { value: "" }, "predicted")]),
      this.#menu("method", "Method", [make("option", { value: "" }, "default"), ...methodOptions()],
        this.#aboutMethod),
      make("div", { class: "row" }, this.#tick("overlay", "Overlay"), this.#tick("grid", "Native grid")),
      downloads);
  }

  /** Offer what there is in an answer: layers with evidence, and CLAHE. */
  offer(facts) {
    for (const button of this.#inputs.layer) {
      const layer = facts.layers.find((one) => one.name === button.value);
      button.disabled = !layer;
      button.toggleAttribute("data-empty", Boolean(layer?.empty));
      button.title = layer ? `${layer.label}${layer.empty ? ", no positive evidence" : ""}` : "";
    }
    this.#inputs.base[1].disabled = !facts.options.clahe;
  }

  /** Offer these classes, and the one that is wanted. */
  offerTargets(names, wanted) {
    const { target } = this.#inputs;
    const all = new Set(wanted && !/^\d+$/.test(wanted) ? [...names, wanted] : names);
    const options = [...all].map((name) => make("option", { value: name }, name));
    target.replaceChildren(target.options[0], ...options);
  }

  /** Bring all inputs to what is said of their attributes. */
  show(options, valueOf) {
    for (const [name, input] of Object.entries(this.#inputs)) {
      const value = valueOf(name);
      if (Array.isArray(input)) {
        for (const one of input) one.setAttribute("aria-pressed", String(one.value === value));
      } else if (input.type === "checkbox") input.checked = value !== "off";
      else input.value = value;
    }
    this.#aboutMethod.textContent = aboutMethod(this.#inputs.method.value);
    for (const [name, share] of Object.entries(this.#shares)) {
      share.textContent = `${Math.round(100 * options.number(name))} %`;
    }
    this.#inputs.opacity.disabled = options.isContour;
  }

  #segments(name, label, choices, extra = "") {
    const buttons = choices.map(([value, text]) => {
      const button = makeButton(text, () => this.#choose(name, value));
      button.value = value;
      return button;
    });
    this.#inputs[name] = buttons;
    const group = make("div", { class: "segments", role: "group", "aria-label": label }, ...buttons);
    return make("div", { class: `field ${extra}` }, make("span", {}, label), group);
  }

  #slider(name, label) {
    const oninput = () => this.#choose(name, input.value);
    const input = make("input", { type: "range", min: 0, max: 1, step: 0.01, oninput });
    const share = make("span");
    this.#inputs[name] = input;
    this.#shares[name] = share;
    return make("label", { class: "field" }, make("span", {}, label, share), input);
  }

  #menu(name, label, options, about = null) {
    const onchange = () => this.#choose(name, select.value);
    const select = make("select", { onchange, "aria-describedby": about?.id }, ...options);
    this.#inputs[name] = select;
    const field = make("label", { class: "field" }, make("span", {}, label), select);
    return make("div", { class: about ? "wide" : "", part: name }, field, ...(about ? [about] : []));
  }

  #tick(name, label) {
    const onchange = () => this.#choose(name, input.checked ? "on" : "off");
    const input = make("input", { type: "checkbox", onchange });
    this.#inputs[name] = input;
    return make("label", { class: "check" }, input, label);
  }
}
