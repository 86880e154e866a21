/** All experiments, as cards. */

import { base, el } from "../../shared/api.js";
import { breakable, many, percent } from "../../shared/models.js";
import { patiently } from "../../shared/waiting.js";

/** The test images of an experiment: {images: how many, classes: how many of each}. */
export const testOf = (one) =>
  one.splits.find((split) => split.split === "test") ?? { images: 0, classes: {} };

/** Fill a container with a card of each experiment. */
export async function showExperiments(container) {
  const [{ experiments }, { models }] = await Promise.all([
    patiently("/v1/experiments", { as: "json" }),
    patiently("/v1/models", { as: "json" }),
  ]);
  const cards = experiments.map((one) => card(one, models));
  container.replaceChildren(...(cards.length > 0 ? cards : [nothing()]));
}

function nothing() {
  return el(
    "div",
    { class: "state" },
    el("h2", {}, "No experiments found"),
    el("p", {}, "Start the service with --data and the folder of a run."),
  );
}

function card(one, models) {
  const own = models.filter((model) => model.experiment === one.path);
  const best = Math.max(...own.map((model) => model.val_acc ?? -1));
  const run = one.path.split("/").slice(0, -1).filter((part) => part !== "experiments").join("/");
  const address = `${base}/experiment?${new URLSearchParams({ path: one.path })}`;
  const counts = Object.entries(testOf(one).classes);
  return el(
    "article",
    { class: "card experiment-card" },
    el("h2", {}, el("a", { href: address }, breakable(one.name))),
    el("p", { class: "soft" }, run),
    el(
      "p",
      {},
      `${many(own.length, "model")}, ${many(testOf(one).images, "test image")}`,
      one.skipped.total > 0 ? `; ${many(one.skipped.total, "file")} skipped` : "",
      best >= 0 ? `; best validation accuracy ${percent(best)}` : "",
    ),
    el(
      "ul",
      { class: "counts" },
      counts.map(([name, count]) => el("li", {}, `${name} `, el("b", {}, count))),
    ),
  );
}
