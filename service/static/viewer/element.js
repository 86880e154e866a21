/**
 * <cam-viewer>: an image with its class activation maps, drawn in the browser.
 *
 * One explanation is fetched: facts, the cells of all maps, the image beneath. Opacity, threshold,
 * colours, layer, contours, zoom and pan then need no request. Attributes, properties, methods and events
 * are described at the class. Looks follow the custom properties `--cam-...` (see style.js) and the
 * page's color-scheme; `::part()` reaches toolbar, stage, caption, bar, classes, method, target.
 */

import { ColourBar } from "./controls/bar.js";
import { Caption } from "./caption.js";
import { captionedPng } from "./downloads/captioned.js";
import { Controls } from "./controls/controls.js";
import { make } from "./common/dom.js";
import { Downloads } from "./downloads/downloads.js";
import { Gestures } from "./controls/gestures.js";
import { Keys } from "./controls/keys.js";
import { Loading } from "./loading.js";
import { Message } from "./message.js";
import { clamp } from "./common/numbers.js";
import { COMPUTED, LAYERS, Options, VIEW } from "./common/options.js";
import { Picture } from "./drawing/picture.js";
import { MOST_SIDE, pngOf } from "./drawing/pixels.js";
import { sheet } from "./style.js";
import { Viewport, zoomText } from "./controls/viewport.js";
import { sentenceOf } from "./common/words.js";

const MOST_TOP = 5; // so many most probable classes at most are in an answer
const SMALL_SIDE = 1024; // px; pictures below that are drawn larger where they have lines
const MOST_FACTOR = 8;

/**
 * Attributes. What is explained: `service` (base URL; default: where this file came from),
 * `experiment`, `image`, `model`, `method`, `target`, `clahe` ("off"). How it is shown: `layer`,
 * `opacity` and `threshold` (0..1), `colormap`, `mode` (colour|contour), `base`
 * (original|enhanced), `overlay` ("off"), `grid` ("on"), `zoom` ("scale,x,y"). `controls` ("none"
 * hides all but picture, caption and colour bar), `alt`. Children stand beneath the colour bar.
 *
 * Events: cam-load {facts}, cam-error {problem, kept}, and by the user's doing cam-change {state},
 * cam-transform {transform}, cam-cursor {cursor}, cam-navigate {step}.
 *
 * What is on show stays when the service fails on a change of it, with a notice and another try;
 * cam-error tells of it once, with `kept` true. A page that finds the service answering again says
 * so to all viewers by the window's event gradcam-away, with false as its detail.
 */
export class CamViewer extends HTMLElement {
  static observedAttributes = ["service", ...COMPUTED, ...Object.keys(VIEW), "controls", "alt"];

  #root = this.attachShadow({ mode: "open", delegatesFocus: true });
  #headers = {};
  #file = null;
  #linkTo = undefined;
  #drawQueued = false;
  #said = ""; // what the words were made from
  #options = new Options(this);
  #loading = new Loading(this, this.#options, {
    entered: () => this.#show(),
    took: () => this.#took(),
    keeps: () => this.#showValues(),
    redraw: () => this.#redraw(),
    failed: (detail) => this.#emit("cam-error", detail),
  });

  #picture = new Picture();
  #viewport = new Viewport(this.#picture.plane, (to) => this.#move(to));
  #bar = new ColourBar();
  #caption = new Caption();
  #message = new Message(this.#loading, {
    say: (text) => this.#say(text),
    hasPicture: () => this.#hasPicture,
  });

  #keys = new Keys(this, {
    options: this.#options,
    viewport: this.#viewport,
    choose: (name, value) => this.#choose(name, value),
    navigate: (step) => this.#emit("cam-navigate", { step }),
  });

  #downloads = new Downloads(this, this.#options, this.#loading, {
    say: (text) => this.#say(text),
    notice: (text) => this.#message.notice(text),
    help: () => this.#keys.help.showModal(),
  });

  #controls = new Controls((name, value) => this.#choose(name, value), this.#downloads.element);
  #stage;
  #frame;
  #live = make("div", { class: "unseen", role: "status" });

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [sheet];
    this.#build();
    this.#show();
    for (const name of ["headers", "file", "state", "transform", "cursor", "linkTo"]) {
      this.#upgrade(name);
    }
  }

  connectedCallback() {
    this.#keys.start();
    this.#loading.start();
  }

  disconnectedCallback() {
    this.#keys.stop();
    this.#loading.stop();
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    const isModule = name === "layer" && now && !LAYERS.includes(now);
    if (name === "service" || COMPUTED.includes(name) || isModule) this.#loading.queue();
    if (name === "zoom") this.#viewport.read(this.#options.get("zoom"), this.maps?.width);
    if (name === "controls") this.#showControls();
    this.#redraw();
  }

  /** Headers sent with each request, such as X-API-Key. */
  get headers() {
    return this.#headers;
  }

  set headers(value) {
    const before = JSON.stringify(this.#headers);
    const { service, explanation } = this.#loading;
    this.#headers = { ...value };
    if (service) service.headers = this.#headers; // for what is fetched later
    if (!explanation && JSON.stringify(this.#headers) !== before) this.#loading.queue();
  }

  /** An image file to explain, instead of one of the service. */
  get file() {
    return this.#file;
  }

  set file(value) {
    if ((value ?? null) === this.#file) return;
    this.#file = value ?? null;
    this.#loading.queue();
  }

  /**
   * A function that returns the address which Link copies, or a promise of it; it is given what
   * link() returns. null: no Link is offered. undefined: the view on the service's own page.
   */
  get linkTo() {
    return this.#linkTo;
  }

  set linkTo(value) {
    this.#linkTo = value;
    this.#downloads.allow();
  }

  /** What the service said, as JSON has it; null before. */
  get facts() {
    return this.#loading.explanation?.facts ?? null;
  }

  /** {width, height, layers: {name: {grid, values, width, height}}}; null before. */
  get maps() {
    return this.#loading.explanation?.maps ?? null;
  }

  /**
   * What differs from the default, by attribute. Setting it puts other view options back; what
   * needs computing (model, method ...) changes only where it is named.
   */
  get state() {
    return this.#options.state;
  }

  set state(value) {
    this.#options.state = value;
  }

  /** {scale: 1..16, x, y}: the image's point in the middle of the view, 0..1. */
  get transform() {
    return this.#viewport.transform;
  }

  set transform(value) {
    this.#options.set("zoom", zoomText(value));
  }

  /** {x, y} in 0..1 of the image, where a crosshair is drawn; null for none. */
  get cursor() {
    return this.#picture.cursor;
  }

  set cursor(value) {
    this.#picture.point(value ?? null, this.maps);
  }

  /** What reopens this view, for a query; an uploaded file cannot be named in it. */
  link() {
    return this.#options.link;
  }

  /**
   * Fetch and draw; problems are shown and sent as cam-error. fresh: also what is at hand. quiet:
   * what is on show stays as it is until it is done.
   */
  async load({ fresh = false, quiet = false } = {}) {
    await this.#loading.load({ fresh, quiet });
  }

  /** Draw at once; else changes are drawn with the next frame. */
  draw() {
    this.#drawQueued = false;
    const { explanation, layer } = this.#loading;
    if (!explanation) return;
    this.#picture.draw(explanation, layer, this.#loading.beneath(), this.#options);
    this.#describe();
  }

  /**
   * PNG as seen: the part in view. The whole image in colour has its own size; with lines or
   * zoomed it is drawn larger where it is small.
   *
   * caption: as large as it is on the screen, at least its own size and at most 2048 px, with
   * colour bar and caption, and with text chunks that say how it was made. null before anything is
   * shown.
   */
  async toBlob({ caption = false } = {}) {
    if (!this.facts) return null;
    this.draw();
    const { canvas, hasLines } = this.#picture;
    const { facts, transform } = this;
    const longer = Math.max(canvas.width, canvas.height);
    if (!caption) {
      const isPlain = transform.scale === 1 && !hasLines;
      const factor = isPlain ? 1 : clamp(Math.ceil(SMALL_SIDE / longer), 1, MOST_FACTOR);
      return pngOf(this.#picture.copy(transform, factor));
    }
    const shown = (this.#stage.clientWidth * devicePixelRatio) / canvas.width;
    const copy = this.#picture.copy(transform, Math.max(1, Math.min(shown, MOST_SIDE / longer)));
    return captionedPng(copy, facts, this.#loading.layer, this.#options, transform);
  }

  /** A property that was set before the element was defined. */
  #upgrade(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }

  #build() {
    const about = { role: "group", "aria-label": "Image view; ? for its keys", tabindex: 0 };
    const inside = [this.#picture.plane, this.#message.element, this.#viewport.buttons];
    this.#stage = make("div", { class: "stage", part: "stage", ...about }, ...inside);
    const beneath = [this.#bar.element, make("slot")]; // the page Look has its layers in the slot
    const beside = [this.#caption.element, this.#caption.classes, this.#controls.element];
    this.#frame = make("div", { class: "frame" },
      make("div", { class: "picture" }, this.#stage, ...beneath),
      make("div", { class: "side" }, ...beside));
    this.#root.append(this.#frame, this.#live, this.#keys.help);
    new Gestures(this.#stage, this.#viewport, {
      isReady: () => this.facts !== null,
      pointed: (at) => this.#pointed(at),
      others: [this.#viewport.buttons, this.#message.element],
    });
  }

  // ---- what happens

  #took() {
    const { explanation } = this.#loading;
    const { width, height } = explanation.maps;
    this.#said = "";
    this.#picture.begin(explanation.maps);
    this.#frame.style.setProperty("--_ratio", width / height);
    this.#show();
    this.#offer();
    this.#viewport.place(width);
    this.draw();
    this.#say(this.#sentence());
    this.#emit("cam-load", { facts: this.facts });
    if (this.#options.hasControls && this.facts.options.clahe) this.#loading.fetchOther();
  }

  /** A change by the user. */
  #choose(name, value) {
    const again = this.#loading.failed?.keeps && (this.#options.given(name) ?? "") === value;
    this.#options.set(name, value);
    if (again) this.#loading.tryAgain();
    this.#emit("cam-change", { state: this.state });
    if (name === "layer" && this.facts) this.#say(this.#sentence());
  }

  /** A move by the user. */
  #move(to) {
    this.transform = to;
    this.#emit("cam-transform", { transform: this.transform });
    this.#emit("cam-change", { state: this.state });
  }

  #pointed(at) {
    if (this.facts) this.#bar.read(at, this.#loading.layer.map);
    this.#emit("cam-cursor", { cursor: at });
  }

  #redraw() {
    if (this.#drawQueued) return;
    this.#drawQueued = true;
    requestAnimationFrame(() => this.#drawQueued && this.draw());
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  // ---- what the parts show

  /** Whether an explanation is on show, and not a file's own picture or words. */
  get #hasPicture() {
    const early = this.#loading.state === "loading" && this.#loading.preview;
    return this.facts !== null && !early;
  }

  /** Show the state of loading. */
  #show() {
    const { state, preview } = this.#loading;
    const { plane, canvas } = this.#picture;
    this.#stage.dataset.state = state;
    this.#stage.setAttribute("aria-busy", String(state === "loading"));
    this.#stage.querySelector(".preview")?.remove();
    if (state === "loading" && preview) {
      this.#frame.style.setProperty("--_ratio", preview.canvas.width / preview.canvas.height);
      plane.before(preview.canvas);
    }
    for (const part of [plane, this.#bar.element, this.#caption.element]) part.hidden = !this.#hasPicture;
    this.#showControls();
    this.#message.show();
    if (!this.#hasPicture) canvas.setAttribute("aria-label", this.#message.heading);
  }

  #showControls() {
    const { hasControls } = this.#options;
    const toolbar = this.#controls.element;
    const had = this.facts !== null || !toolbar.hidden;
    this.#frame.toggleAttribute("data-controls", hasControls && had);
    toolbar.hidden = !hasControls || !had;
    const isWithout = !hasControls || !this.#hasPicture;
    this.#viewport.buttons.hidden = this.#caption.classes.hidden = isWithout;
    this.#downloads.allow();
  }

  #showValues() {
    this.#controls.show(this.#options, (name) => this.#loading.shown(name));
  }

  /** What the answer offers: layers with evidence, classes, CLAHE. */
  #offer() {
    const { facts } = this;
    this.#controls.offer(facts);
    this.#offerTargets(facts.top_classes.map((one) => one.name));
    if (this.#options.hasControls && facts.top_classes.length >= MOST_TOP) this.#offerAllTargets();
    this.#caption.list(facts.top_classes);
  }

  #offerTargets(names) {
    this.#controls.offerTargets(names, this.#options.given("target"));
    this.#showValues();
  }

  async #offerAllTargets() {
    const { explanation, service } = this.#loading;
    const classes = await service.classesOf(explanation.facts.model.id);
    if (classes && explanation === this.#loading.explanation) this.#offerTargets(classes);
  }

  #describe() {
    this.#showValues();
    this.#bar.draw(this.#options);
    const names = ["layer", "alt"];
    const said = [this.facts.digest, ...names.map((name) => this.#options.given(name))].join("\n");
    if (said === this.#said) return;
    this.#said = said;
    const about = this.#options.given("alt") ?? this.facts.image.name;
    this.#picture.canvas.setAttribute("aria-label", `${about}. ${this.#sentence()}`);
    this.#caption.show(this.facts, this.#loading.layer);
  }

  #sentence() {
    return sentenceOf(this.facts, this.#loading.layer);
  }

  #say(text) {
    this.#live.textContent = text;
  }
}

if (!customElements.get("cam-viewer")) customElements.define("cam-viewer", CamViewer);
