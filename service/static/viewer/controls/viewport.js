/** The part of the image that is in view: {scale: 1..16, x, y}, x and y the image's point in the middle. */

import { make, makeButton } from "../common/dom.js";
import { clamp } from "../common/numbers.js";

const MOST_ZOOM = 16;
const STEP = 1.5;
const WHOLE = { scale: 1, x: 0.5, y: 0.5 };
const COARSE = 8; // px of the screen a pixel of the image, from which on pixels are shown as squares

/** A transform with its scale allowed and the view inside the image. */
function within({ scale, x, y }) {
  const allowed = Number(clamp(scale, 1, MOST_ZOOM).toFixed(4));
  const edge = 0.5 / allowed;
  const inside = (value) => Number(clamp(value, edge, 1 - edge).toFixed(5));
  return { scale: allowed, x: inside(x), y: inside(y) };
}

/** A transform as the attribute `zoom` has it; null for the whole image. */
export function zoomText(transform) {
  const { scale, x, y } = within(transform);
  return scale === 1 ? null : [scale, x, y].join(",");
}

/** Lays the plane, which has image and lines, into the stage, which has the image's shape. */
export class Viewport {
  #plane;
  #move;
  #whole = makeButton("100 %", () => this.showWhole(), "Whole image");
  #transform = { ...WHOLE };

  /** @param {(transform: object) => void} move told what the user wants; place() follows. */
  constructor(plane, move) {
    this.#plane = plane;
    this.#move = move;
    this.buttons = make("div", { class: "zoom segments" },
      makeButton("−", () => this.zoomOut(), "Zoom out"), this.#whole,
      makeButton("+", () => this.zoomIn(), "Zoom in"));
  }

  get transform() {
    return { ...this.#transform };
  }

  /** Show the part that the attribute `zoom` names. imageWidth: px; undefined before there is one. */
  read(text, imageWidth) {
    const [scale, x, y] = text.split(",").map(Number);
    const isZoom = [scale, x, y].every(Number.isFinite);
    this.#transform = isZoom && scale > 1 ? within({ scale, x, y }) : { ...WHOLE };
    this.place(imageWidth);
  }

  place(imageWidth = Infinity) {
    const { scale, x, y } = this.#transform;
    const plane = this.#plane;
    const stage = plane.parentElement;
    plane.style.width = plane.style.height = `${100 * scale}%`;
    plane.style.left = `${100 * (0.5 - x * scale)}%`;
    plane.style.top = `${100 * (0.5 - y * scale)}%`;
    stage.toggleAttribute("data-zoomed", scale > 1);
    plane.toggleAttribute("data-coarse", scale * stage.clientWidth > COARSE * imageWidth);
    this.#whole.textContent = `${Math.round(100 * scale)} %`;
  }

  /** The image's point beneath a pointer, 0..1 where it is inside. */
  at({ clientX, clientY }) {
    const box = this.#plane.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  }

  /** Zoom by a factor; a point of the image stays where it is. */
  zoom(factor, at = this.#transform) {
    const { scale, x, y } = this.#transform;
    const now = clamp(scale * factor, 1, MOST_ZOOM);
    const shrunk = scale / now;
    this.#move({ scale: now, x: at.x + (x - at.x) * shrunk, y: at.y + (y - at.y) * shrunk });
  }

  zoomIn() {
    this.zoom(STEP);
  }

  zoomOut() {
    this.zoom(1 / STEP);
  }

  showWhole() {
    this.#move(WHOLE);
  }

  /** Move the middle of the view by shares of the image. */
  moveBy(dx, dy) {
    const { scale, x, y } = this.#transform;
    this.#move({ scale, x: x + dx, y: y + dy });
  }
}
