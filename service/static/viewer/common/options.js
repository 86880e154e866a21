/** What the attributes of a viewer say of what is explained and how it is shown. */

import { DEFAULTS, FUSED, STAGES } from "./facts.js";
import { clamp } from "./numbers.js";

export const LAYERS = [...STAGES, FUSED];

/** What the view shows, and its defaults; all are attributes. */
export const VIEW = {
  layer: "",
  opacity: String(DEFAULTS.alpha),
  threshold: "0",
  colormap: DEFAULTS.colormap,
  mode: "colour",
  base: "original",
  overlay: "on",
  grid: "off",
  zoom: "",
};

/** Attributes that need new computing when they change. */
export const COMPUTED = ["experiment", "image", "model", "method", "target", "clahe"];

/** The attributes of one viewer. */
export class Options {
  #viewer;

  constructor(viewer) {
    this.#viewer = viewer;
  }

  /** An attribute as it stands there; null where it does not. */
  given(name) {
    return this.#viewer.getAttribute(name);
  }

  /** An attribute, or its default. */
  get(name) {
    return this.given(name) || VIEW[name];
  }

  /** An attribute as a number, 0..1. */
  number(name) {
    const value = Number(this.get(name));
    return clamp(Number.isFinite(value) ? value : Number(VIEW[name]), 0, 1);
  }

  /** Set an attribute; what is null, "" or the default is left out. */
  set(name, value) {
    if (value === null || value === "" || value === VIEW[name]) this.#viewer.removeAttribute(name);
    else this.#viewer.setAttribute(name, value);
  }

  get isContour() {
    return this.get("mode") === "contour";
  }

  get isShown() {
    return this.get("overlay") !== "off";
  }

  get hasGrid() {
    return this.get("grid") === "on";
  }

  get hasControls() {
    return this.given("controls") !== "none";
  }

  /** What differs from the default, by attribute. */
  get state() {
    const names = ["method", "target", "clahe", ...Object.keys(VIEW)];
    const entries = names.map((name) => [name, this.given(name)]);
    return Object.fromEntries(entries.filter(([name, value]) => value && value !== VIEW[name]));
  }

  set state(value) {
    for (const name of Object.keys(VIEW)) this.set(name, value[name] ?? null);
    for (const name of COMPUTED) if (name in value) this.set(name, value[name]);
  }

  /** What reopens this view, as URLSearchParams. */
  get link() {
    const own = COMPUTED.filter((name) => this.given(name));
    const found = new URLSearchParams(own.map((name) => [name, this.given(name)]));
    for (const [name, value] of Object.entries(this.state)) found.set(name, value);
    return found;
  }

  /** The fields of a request; isFile: the image is uploaded with it. */
  fields(view, isFile) {
    const fields = { view };
    const names = isFile ? [] : ["experiment", "image"];
    for (const name of [...names, "model", "method", "target"]) {
      if (this.given(name)) fields[name] = this.given(name);
    }
    const layer = this.given("layer");
    if (layer && !LAYERS.includes(layer)) fields.layer = layer;
    if (this.given("clahe") === "off") fields.clahe = false;
    return fields;
  }
}
