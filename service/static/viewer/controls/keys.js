/** The keys, and the help that lists them. */

import { make, makeButton } from "../common/dom.js";
import { clamp } from "../common/numbers.js";
import { LAYERS } from "../common/options.js";

const KEYS = [
  ["1 2 3 4", "layer: early, mid, late, fused"],
  ["O", "overlay on and off"],
  ["[ ]", "less and more opacity"],
  ["C", "colour or contour lines"],
  ["B", "image as it is, or after CLAHE"],
  ["G", "native grid"],
  ["← →", "previous and next image"],
  ["+ − 0", "zoom in, out, whole image"],
  ["Shift + arrows", "move the image"],
  ["?", "this help"],
];
const OPACITY_STEP = 0.1;
const PAN_STEP = 0.1; // of what is in view

let latest = null; // the viewer used last, which keys go to

/** The keys of one viewer. */
export class Keys {
  #viewer;
  #actions;
  #onKey = (event) => this.#key(event);

  /**
   * @param {CamViewer} viewer
   * @param {{options: Options, viewport: Viewport, choose: (name: string, value: string) => void,
   *   navigate: (step: number) => void}} does what the keys do
   */
  constructor(viewer, does) {
    this.#viewer = viewer;
    this.help = buildHelp();
    this.#actions = actionsOf(viewer, does, this.help);
    const use = () => (latest = viewer);
    viewer.shadowRoot.addEventListener("focusin", use);
    viewer.shadowRoot.addEventListener("pointerdown", use);
  }

  start() {
    document.addEventListener("keydown", this.#onKey);
  }

  stop() {
    document.removeEventListener("keydown", this.#onKey);
  }

  #key(event) {
    if (!this.#isMine(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const name = event.shiftKey && key.startsWith("Arrow") ? `Shift${key}` : key;
    if (!Object.hasOwn(this.#actions, name)) return;
    event.preventDefault();
    this.#actions[name]();
  }

  /** Whether a key is meant for this viewer and not for something that takes keys itself. */
  #isMine(event) {
    const viewer = this.#viewer;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (!viewer.facts || this.help.open || !viewer.checkVisibility()) return false;
    const path = event.composedPath();
    const [target] = path;
    if (path.includes(viewer)) {
      const slides = target.matches?.("input[type=range]") && event.key.startsWith("Arrow");
      return !slides && !target.matches?.("select");
    }
    const dialogs = document.querySelectorAll("dialog[open]");
    const open = [...dialogs].at(-1) ?? document;
    const typed = "input, select, textarea, [contenteditable], cam-viewer";
    const roles = ["grid", "listbox", "menu", "tablist", "slider", "combobox"];
    const own = `${typed}, ${roles.map((one) => `[role=${one}]`).join(", ")}`;
    if (target.closest?.(own) || !open.contains(viewer)) return false;
    const all = [...open.querySelectorAll("cam-viewer:not([controls=none])")];
    return viewer === (all.includes(latest) ? latest : all[0]);
  }
}

function actionsOf(viewer, { options, viewport, choose, navigate }, help) {
  const flip = (name, one, other) => () => choose(name, options.get(name) === one ? other : one);
  const opacity = (by) => () => {
    const value = clamp(options.number("opacity") + by, 0, 1);
    choose("opacity", String(Number(value.toFixed(2))));
  };
  const pan = (dx, dy) => () => {
    const step = PAN_STEP / viewport.transform.scale;
    viewport.moveBy(step * dx, step * dy);
  };
  const layers = LAYERS.map((name, i) => [
    String(i + 1), () => Object.hasOwn(viewer.maps.layers, name) && choose("layer", name),
  ]);
  return {
    ...Object.fromEntries(layers),
    o: flip("overlay", "off", "on"),
    c: flip("mode", "contour", "colour"),
    g: flip("grid", "on", "off"),
    b: () => viewer.facts.options.clahe && flip("base", "enhanced", "original")(),
    "[": opacity(-OPACITY_STEP),
    "]": opacity(OPACITY_STEP),
    "+": () => viewport.zoomIn(),
    "=": () => viewport.zoomIn(),
    "-": () => viewport.zoomOut(),
    0: () => viewport.showWhole(),
    "?": () => help.showModal(),
    ArrowLeft: () => navigate(-1),
    ArrowRight: () => navigate(1),
    ShiftArrowLeft: pan(-1, 0),
    ShiftArrowRight: pan(1, 0),
    ShiftArrowUp: pan(0, -1),
    ShiftArrowDown: pan(0, 1),
  };
}

function buildHelp() {
  const rows = KEYS.flatMap(([key, text]) => [make("dt", {}, key), make("dd", {}, text)]);
  const close = makeButton("Close", () => dialog.close());
  const dialog = make("dialog", { "aria-label": "Keys" },
    make("h2", {}, "Keys"), make("dl", {}, ...rows), close);
  return dialog;
}
