/** What is said over the picture, or where it will be. */

import { make, makeButton } from "./common/dom.js";
import { labelOf } from "./common/methods.js";

const NOTICE_MILLISECONDS = 6000;

export class Message {
  #loading;
  #say;
  #hasPicture;
  element = make("div", { class: "message" });

  /**
   * @param {Loading} loading what is spoken of
   * @param {{say: (text: string) => void, hasPicture: () => boolean}} more say: for those who
   *   listen; hasPicture: whether an explanation is on show
   */
  constructor(loading, { say, hasPicture }) {
    this.#loading = loading;
    this.#say = say;
    this.#hasPicture = hasPicture;
  }

  get heading() {
    return this.element.querySelector("strong")?.textContent;
  }

  /** Say what is to be said of the state. */
  show() {
    const message = this.element;
    const { state, failed, preview } = this.#loading;
    const problem = failed?.problem;
    message.hidden = state === "ready" && !problem;
    if (message.hidden) return;
    const over = this.#hasPicture() || preview !== null;
    const [kind, heading, words] = {
      empty: ["", "No image yet", "Choose one to see where the model looked."],
      loading: [over ? "over" : "", "Explaining …", over ? "" : "The model looks at the image."],
      ready: ["bad failed", problem?.title, this.#stillShown()],
      error: ["bad", problem?.title, problem?.detail],
    }[state];
    message.className = `message ${kind}`;
    message.replaceChildren(
      ...(state === "loading" ? [make("div", { class: "spinner", "aria-hidden": "true" })] : []),
      make("strong", {}, heading),
      ...(words ? [make("p", {}, words)] : []),
      ...(problem ? [makeButton("Try again", () => this.#loading.tryAgain())] : []),
    );
    if (state !== "empty") this.#say(`${heading} ${words}`);
  }

  /** Say for a while what did not work. */
  notice(text) {
    const message = this.element;
    message.className = "message over bad";
    message.replaceChildren(make("strong", {}, text));
    message.hidden = false;
    this.#say(text);
    setTimeout(() => message.firstChild?.textContent === text && this.show(), NOTICE_MILLISECONDS);
  }

  /** What is on show while what is wanted is not to be had. */
  #stillShown() {
    const { failed, explanation } = this.#loading;
    if (!failed || !explanation) return "";
    const { options, layers, target, model } = explanation.facts;
    const kind = explanation.images.has("original") ? "before CLAHE" : "after CLAHE";
    const method = labelOf(options.method ?? layers[0].method);
    const still = failed.ofImage ? `the image ${kind}` : `${method}, ${target.name}, ${model.name}`;
    return `Still shown: ${still}.${failed.problem.passes ? " It is tried again by itself." : ""}`;
  }
}
