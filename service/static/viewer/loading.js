/** What is wanted, what is on show, and why the two may differ. */

import { atHand, explanationOf, numberOf } from "./asking/explaining.js";
import { COMPUTED } from "./common/options.js";
import { dropPreview, previewOf } from "./drawing/pixels.js";
import { OWN_SERVICE, Problem, Service, isGone } from "./asking/service.js";

const FIRST_PAUSE = 2; // s before another try, and twice as long each time
const LONGEST_PAUSE = 30;

/**
 * Loads what one viewer wants. What is on show stays when the service fails on a change of it, with
 * another try.
 */
export class Loading {
  state = "empty"; // or loading, ready, error
  explanation = null;
  service = null; // of the explanation
  asked = {}; // fields of the request for the explanation
  preview = null; // {file, canvas} of a file that is not explained yet
  failed = null; // {problem, keeps, ofImage, again}: why what is wanted is not on show
  #viewer;
  #options;
  #told;
  #subject = ""; // the image of the explanation
  #missing = null; // kind of the image beneath that was asked for
  #tries = 0; // failed ones in a row
  #retry = 0; // timer of the next one
  #run = 0;
  #queued = false;
  #onOnline = () => this.failed?.problem.passes && this.failed.again();
  #onAway = ({ detail: isAway }) => !isAway && this.#onOnline();

  /**
   * @param {CamViewer} viewer whose `file` and `headers` are sent
   * @param {Options} options
   * @param {{entered: () => void, took: () => void, keeps: () => void, redraw: () => void,
   *   failed: (detail: {problem: object, kept: boolean}) => void}} told entered: another state,
   *   took: that of an explanation; keeps: there is still the one before; redraw: an image beneath
   *   has come; failed: once of each problem
   */
  constructor(viewer, options, told) {
    this.#viewer = viewer;
    this.#options = options;
    this.#told = told;
  }

  start() {
    window.addEventListener("online", this.#onOnline);
    window.addEventListener("gradcam-away", this.#onAway);
    this.queue();
  }

  stop() {
    window.removeEventListener("online", this.#onOnline);
    window.removeEventListener("gradcam-away", this.#onAway);
    clearTimeout(this.#retry);
  }

  /** Load once what is being set is set. */
  queue() {
    if (this.#queued || !this.#viewer.isConnected) return;
    this.#queued = true;
    queueMicrotask(() => this.#queued && this.load());
  }

  /** See CamViewer.load(). */
  async load({ fresh = false, quiet = false } = {}) {
    const run = (this.#run += 1);
    const { file } = this.#viewer;
    this.#queued = false;
    clearTimeout(this.#retry);
    if (!quiet) this.#tries = 0;
    if (!file && !this.#options.given("image")) {
      this.explanation = this.failed = this.preview = null;
      this.#enter("empty");
      return;
    }
    if (!quiet) {
      this.failed = null;
      this.#enter("loading");
    }
    const headers = JSON.stringify(this.#viewer.headers);
    const service = new Service(this.#options.given("service") || OWN_SERVICE, this.#viewer.headers);
    const fields = this.#options.fields("native", Boolean(file));
    if (!quiet && !atHand(service, fields, file)) this.#showPreview(run);
    try {
      const found = await explanationOf(service, fields, file, this.#options.get("base"), fresh);
      if (run === this.#run) this.#take(service, found, fields);
    } catch (error) {
      if (run !== this.#run) return;
      if (error.status === 401 && JSON.stringify(this.#viewer.headers) !== headers) return this.load();
      this.#fail(error, () => this.load({ quiet: true }));
    }
  }

  /** Try again by the user's wish. */
  tryAgain() {
    this.#tries = 0;
    if (this.failed?.ofImage) this.failed.again();
    else this.load();
  }

  /** The pixels beneath; until those of the wanted kind have come, the ones that are there. */
  beneath() {
    const { images, facts } = this.explanation;
    const kind = facts.options.clahe ? this.#options.get("base") : "original";
    if (images.has(kind)) {
      if (this.#missing) this.#foundImage();
    } else if (this.#missing !== kind) this.#fetchShown(kind);
    return images.get(kind) ?? images.values().next().value;
  }

  /** Fetch the image that is not shown, so that a change to it needs no request. */
  async fetchOther() {
    const { explanation } = this;
    const other = explanation.images.has("original") ? "enhanced" : "original";
    await explanation.fetchImage(this.service, other).catch(() => {}); // asked for again if shown
    if (explanation === this.explanation) this.#told.redraw();
  }

  /** The layer on show; null before there is one. */
  get layer() {
    return this.explanation?.layer(this.#options.given("layer")) ?? null;
  }

  /** An attribute; where what it wants could not be had, what is on show instead. */
  shown(name) {
    if (name === "layer") return this.layer?.name ?? this.#options.get("layer");
    const value = this.#shownOrWanted(name);
    return name === "target" && value ? (this.explanation?.facts.target.name ?? value) : value;
  }

  #shownOrWanted(name) {
    if (this.failed?.keeps) {
      const { ofImage } = this.failed;
      if (ofImage && name === "base") return this.#missing === "enhanced" ? "original" : "enhanced";
      if (!ofImage && COMPUTED.includes(name)) return this.asked[name] ?? "";
    }
    return this.#options.get(name) ?? "";
  }

  #enter(state) {
    this.state = state;
    this.#told.entered();
  }

  /** Which image is wanted; the same for all methods, models and classes. */
  #wantedSubject() {
    const { file } = this.#viewer;
    const names = ["service", "experiment", "image"].map((name) => this.#options.given(name));
    return JSON.stringify(file ? [numberOf(file)] : names);
  }

  /** Show a file's own picture, until it is explained. */
  async #showPreview(run) {
    const { file } = this.#viewer;
    if (!file || (this.explanation && this.#subject === this.#wantedSubject())) return;
    if (this.preview?.file !== file) {
      this.preview = null;
      const canvas = await previewOf(file);
      if (run !== this.#run || this.state !== "loading") return;
      this.preview = canvas && { file, canvas };
    }
    if (this.preview) this.#enter("loading");
  }

  #take(service, explanation, fields) {
    Object.assign(this, { explanation, service, asked: fields, failed: null, preview: null });
    this.#subject = this.#wantedSubject();
    this.#missing = null;
    this.#tries = 0;
    if (this.#viewer.file) dropPreview(this.#viewer.file);
    this.state = "ready";
    this.#told.took();
  }

  /** Fetch the image that is to be shown, where it is not at hand; asked for once. */
  async #fetchShown(kind) {
    const { explanation } = this;
    this.#missing = kind;
    try {
      await explanation.fetchImage(this.service, kind);
      if (explanation !== this.explanation) return;
      this.#foundImage();
      this.#told.redraw();
    } catch (error) {
      if (explanation !== this.explanation || this.#missing !== kind) return;
      if (isGone(error)) this.load({ fresh: true });
      else this.#fail(error, () => this.#fetchShown(kind), true);
    }
  }

  /** The wanted image beneath is there, or another one is wanted that is. */
  #foundImage() {
    this.#missing = null;
    if (!this.failed?.ofImage) return;
    clearTimeout(this.#retry);
    this.failed = null;
    this.#tries = 0;
    this.#enter("ready");
  }

  /** Say so, and keep what is on show if it is of the same image and nothing is wrong with that. */
  #fail(error, again, ofImage = false) {
    const unknown = { title: "It could not be drawn", detail: error.message };
    const problem = error instanceof Problem ? error : new Problem(0, unknown);
    const { status, code, title, detail, errors } = problem;
    const same = this.explanation && this.#subject === this.#wantedSubject();
    const known = this.failed?.problem.code === code;
    const keeps = Boolean(same && problem.isTheServices);
    this.failed = { problem, keeps, ofImage, again };
    if (!keeps) this.explanation = null;
    if (!known) this.#enter(keeps ? "ready" : "error");
    if (keeps) this.#told.keeps();
    if (!known) this.#told.failed({ problem: { status, code, title, detail, errors }, kept: keeps });
    if (problem.passes) this.#tryLater(problem.retryAfter);
  }

  /** Try again by itself, after a pause that grows. */
  #tryLater(retryAfter) {
    clearTimeout(this.#retry);
    if (!this.#viewer.isConnected) return;
    const pause = Math.min(LONGEST_PAUSE, Math.max(retryAfter, FIRST_PAUSE * 2 ** this.#tries));
    this.#tries += 1;
    this.#retry = setTimeout(() => this.failed?.again(), 1000 * pause);
  }
}
