/** The picture of an explanation: a canvas with image and colours, and lines over it. */

import { coloursOf } from "./colours.js";
import { LEVELS, gridPath } from "./contours.js";
import { make, makePath, makeSvg } from "../common/dom.js";
import { blendTable, layOver } from "./overlay.js";

/** Draws; what has not changed since is not drawn again. */
export class Picture {
  #context;
  #svg = makeSvg("svg");
  #contours = makeSvg("g");
  #grid = makeSvg("g");
  #cross = makeSvg("g");
  #out = null; // ImageData of the canvas
  #table = { key: "", values: null };
  #lined = ""; // what the lines were made from
  #cursor = null;

  constructor() {
    this.canvas = make("canvas", { role: "img", "aria-label": "No image yet" });
    this.#context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.#svg.setAttribute("aria-hidden", "true");
    this.#svg.append(this.#contours, this.#grid, this.#cross);
    this.plane = make("div", { class: "plane" }, this.canvas, this.#svg);
  }

  get hasLines() {
    return this.#svg.querySelectorAll("path").length > 0;
  }

  get cursor() {
    return this.#cursor;
  }

  /** Make room for an explanation's pictures. */
  begin({ width, height }) {
    Object.assign(this.canvas, { width, height });
    this.#out = this.#context.createImageData(width, height);
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#lined = "";
  }

  /** Draw a layer of an explanation over the pixels beneath, an int32 each. */
  draw({ facts, maps }, layer, image, options) {
    this.#drawPixels(facts.options.blend, layer, image, options);
    this.#drawLines(maps, layer, options);
  }

  /** Draw a crosshair at {x, y}, 0..1 of the image; null for none. */
  point(cursor, maps) {
    this.#cursor = cursor;
    this.#drawCross(maps);
  }

  /** The part in view on a canvas, `factor` pixels for each of the image's. */
  copy({ scale, x, y }, factor) {
    const { width, height } = this.canvas;
    const [wide, high] = [width, height].map((side) => Math.round(side * factor));
    const copy = make("canvas", { width: wide, height: high });
    const context = copy.getContext("2d");
    const zoom = scale * factor;
    context.translate(copy.width / 2 - x * width * zoom, copy.height / 2 - y * height * zoom);
    context.scale(zoom, zoom);
    context.imageSmoothingQuality = "high";
    context.imageSmoothingEnabled = !this.plane.hasAttribute("data-coarse");
    context.drawImage(this.canvas, 0, 0);
    context.lineCap = "round";
    const pixel = copy.width / (this.plane.parentElement.clientWidth || copy.width) / zoom;
    for (const path of this.#svg.querySelectorAll("path")) {
      const style = getComputedStyle(path);
      context.strokeStyle = style.stroke;
      context.globalAlpha = Number(style.strokeOpacity);
      context.lineWidth = parseFloat(style.strokeWidth) * pixel;
      context.stroke(new Path2D(path.getAttribute("d")));
    }
    return copy;
  }

  #drawPixels(blend, { map, facts }, image, options) {
    const out = new Int32Array(this.#out.data.buffer);
    const coloured = options.isShown && !options.isContour && !facts.empty;
    if (coloured) layOver(image, map.levels, this.#blendTable(blend, options), out);
    else out.set(image);
    this.#context.putImageData(this.#out, 0, 0);
  }

  #blendTable(blend, options) {
    const wanted = {
      colormap: options.get("colormap"),
      opacity: options.number("opacity"),
      threshold: options.number("threshold"),
      blend,
    };
    const key = JSON.stringify(wanted);
    if (this.#table.key !== key) this.#table = { key, values: blendTable(wanted) };
    return this.#table.values;
  }

  #drawLines(maps, { map, facts }, options) {
    const { width, height } = maps;
    const drawn = options.isShown && options.isContour && !facts.empty;
    const looks = drawn && ["colormap", "threshold"].map((name) => options.get(name));
    const wanted = JSON.stringify([facts, width, height, looks, options.hasGrid]);
    if (wanted === this.#lined) return;
    this.#lined = wanted;
    this.#contours.replaceChildren(...(drawn ? contourLines(map, options) : []));
    const d = options.hasGrid ? gridPath(facts.grid, width, height) : null;
    this.#grid.replaceChildren(...(d ? [makePath("grid-halo", d), makePath("grid", d)] : []));
    this.#drawCross(maps);
  }

  #drawCross(maps) {
    if (!this.#cursor || !maps) return this.#cross.replaceChildren();
    const { width, height } = maps;
    const d = `M${this.#cursor.x * width} 0V${height}M0 ${this.#cursor.y * height}H${width}`;
    this.#cross.replaceChildren(makePath("halo", d), makePath("cross", d));
  }
}

/** Lines from the threshold on, each in the colour of its value, on a halo that it stands out from. */
function contourLines(map, options) {
  const colours = coloursOf(options.get("colormap"));
  const least = options.number("threshold");
  return map.contours.flatMap((d, i) => {
    if (!d || LEVELS[i] < least) return [];
    const row = 3 * Math.round(255 * LEVELS[i]);
    const [red, green, blue] = colours.subarray(row, row + 3);
    const dark = 0.3 * red + 0.59 * green + 0.11 * blue < 128;
    const halo = makePath(dark ? "halo light" : "halo", d);
    return [halo, makePath("contour", d, `rgb(${red} ${green} ${blue})`)];
  });
}
