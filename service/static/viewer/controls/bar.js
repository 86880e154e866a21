/** The bar of colours, and the map's value beneath the pointer. */

import { coloursOf } from "../drawing/colours.js";
import { make } from "../common/dom.js";
import { OF_MAXIMUM } from "../common/words.js";

export class ColourBar {
  #canvas = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  #here = make("span");
  #drawn = ""; // what it was made from

  constructor() {
    const ticks = ["0", "25", "50", "75", "100 %"].map((one) => make("span", {}, one));
    this.element = make("div", { class: "bar", part: "bar" }, this.#canvas,
      make("div", { class: "ticks" }, ...ticks),
      make("div", { class: "about-bar" }, make("span", {}, OF_MAXIMUM), this.#here));
  }

  draw(options) {
    const drawn = `${options.get("colormap")} ${options.number("threshold")}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const context = this.#canvas.getContext("2d");
    const ramp = context.createImageData(256, 1);
    const colours = coloursOf(options.get("colormap"));
    const least = 255 * options.number("threshold");
    for (let i = 0; i < 256; i++) {
      ramp.data.set([...colours.subarray(3 * i, 3 * i + 3), i < least ? 0 : 255], 4 * i);
    }
    context.putImageData(ramp, 0, 0);
  }

  /** Say the map's value at {x, y}, 0..1 of the image; null: nowhere. */
  read(at, { width, height, values }) {
    if (!at) return void (this.#here.textContent = "");
    const column = Math.min(width - 1, Math.floor(at.x * width));
    const value = values[Math.min(height - 1, Math.floor(at.y * height)) * width + column];
    this.#here.textContent = `here ${Math.round(100 * value)} %`;
  }
}
