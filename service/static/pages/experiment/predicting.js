/** What models predict for an experiment's test images, as it comes. */

import { patiently } from "../../shared/waiting.js";

const PAGE = 64;

/** Predictions by model, and which are still to come. */
export class Predicting {
  /** Model -> image -> prediction. */
  found = new Map();
  /** Model -> why it cannot predict. */
  refused = new Map();
  /** Model -> folder -> how many images are in it, of folders that are no class of the model's. */
  foldersOfNoClass = new Map();
  /** How many images there are; Infinity while they are being read. */
  total = Infinity;
  #experiment;

  /** @param {object} experiment @param {object[]} models as the service has them */
  constructor(experiment, models) {
    this.#experiment = experiment;
    for (const { id, problem } of models) {
      this.found.set(id, new Map());
      if (problem) this.refused.set(id, problem.detail);
    }
  }

  /** Whether no more comes of a model, or (without one) of all. */
  isDone(model = null) {
    if (model === null) return [...this.found.keys()].every((one) => this.isDone(one));
    const known = this.found.get(model);
    return !known || this.refused.has(model) || known.size >= this.total;
  }

  /** {done, total} over all models that predict. */
  get progress() {
    const asked = [...this.found].filter(([model]) => !this.refused.has(model));
    const done = asked.reduce((sum, [, known]) => sum + known.size, 0);
    return { done, total: asked.length * this.total };
  }

  /**
   * Ask for all that is missing, a page at a time.
   * @param {() => string} first the model to go on with, where it is not done
   * @param {(model: string) => void} changed told of each answer
   * @throws {ApiProblem} where the caller may not ask
   */
  async run(first, changed) {
    for (let model = this.#next(first()); model; model = this.#next(first())) {
      try {
        await this.#ask(model);
      } catch (error) {
        if (error.status === 401) throw error;
        this.refused.set(model, error.detail ?? error.message);
      }
      changed(model);
    }
  }

  #next(first) {
    const open = [...this.found.keys()].filter((one) => !this.isDone(one));
    return open.includes(first) ? first : open[0];
  }

  async #ask(model) {
    const known = this.found.get(model);
    // Mixed: the images are listed class by class, and the first ones would stand for one class.
    const asked = new URLSearchParams({ model, order: "mixed", offset: known.size, limit: PAGE });
    const address = `${this.#experiment.links.self}/predictions?${asked}`;
    const page = await patiently(address, { as: "json" });
    for (const one of page.predictions) known.set(one.image, one);
    this.foldersOfNoClass.set(model, page.folders_of_no_class);
    if (page.predictions.length === 0) this.refused.set(model, "The images have changed meanwhile.");
  }
}
