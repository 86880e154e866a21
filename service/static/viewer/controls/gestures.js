/** Pointers and wheel on the stage. */

const LINE = 16; // px that a line of a wheel scrolls
const WHEEL = 400; // px of a wheel that zoom by the factor e

/** Moves and zooms a viewport, and tells where the pointer is. */
export class Gestures {
  #viewport;
  #isReady;
  #pointed;
  #pointers = new Map();

  /**
   * @param {HTMLElement} stage
   * @param {Viewport} viewport
   * @param {{isReady: () => boolean, pointed: (at: object|null) => void, others: HTMLElement[]}} more
   *   others: what lies on the stage and has buttons of its own
   */
  constructor(stage, viewport, { isReady, pointed, others }) {
    this.#viewport = viewport;
    this.#isReady = isReady;
    this.#pointed = pointed;
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      const path = event.composedPath();
      if (!isReady() || event.button || others.some((one) => path.includes(one))) return;
      this.#pointers.set(event.pointerId, event);
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => this.#pointers.delete(event.pointerId));
    }
    stage.addEventListener("pointerleave", () => pointed(null));
  }

  #wheel(event) {
    const out = event.deltaY > 0;
    if (!this.#isReady() || (out && this.#viewport.transform.scale === 1)) return; // the page scrolls
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1;
    this.#viewport.zoom(Math.exp((-event.deltaY * lines) / WHEEL), this.#viewport.at(event));
  }

  #drag(event) {
    if (!this.#isReady()) return;
    const at = this.#viewport.at(event);
    const inside = at.x >= 0 && at.x <= 1 && at.y >= 0 && at.y <= 1;
    this.#pointed(inside ? at : null);
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.#pointers.values()].find((one) => one.pointerId !== event.pointerId);
    if (other) {
      const gap = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      this.#viewport.zoom(gap(event) / Math.max(1, gap(before)), this.#viewport.at(other));
    } else if (this.#viewport.transform.scale > 1) {
      const from = this.#viewport.at(before);
      this.#viewport.moveBy(from.x - at.x, from.y - at.y);
    }
    this.#pointers.set(event.pointerId, event);
  }
}
