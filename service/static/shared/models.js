/** Models and experiments for menus. */

import { el } from "./api.js";

/** A percentage in words, "96 %"; what is not all or nothing is not called so; "" where unknown. */
export function percent(share) {
  if (share == null) return "";
  const rounded = Math.round(share * 100);
  if (rounded === 100 && share < 1) return "> 99 %";
  return rounded === 0 && share > 0 ? "< 1 %" : `${rounded} %`;
}

/** A number with its word: "1 model", "1,200 images". */
export const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** A name or path that goes on in the next line after an underscore or slash, rather than anywhere. */
export const breakable = (name) => name.split(/(?<=[_/])/).flatMap((part) => [part, el("wbr")]);

const collator = new Intl.Collator("en", { numeric: true });
const byAccuracy = (a, b) =>
  (b.val_acc ?? -1) - (a.val_acc ?? -1) || collator.compare(a.name, b.name);

/** The usable model with the best validation accuracy; undefined without any. */
export const bestOf = (models) => models.filter((one) => !one.problem).toSorted(byAccuracy)[0];

/** Put the models into a menu, grouped by experiment; those that cannot be used are disabled. */
export function fillModels(select, models, experiments, chosen) {
  const groups = new Map();
  for (const model of models) {
    const title = experiments.find((one) => one.path === model.experiment)?.name ?? model.experiment;
    if (!groups.has(model.experiment)) groups.set(model.experiment, el("optgroup", { label: title }));
    const accuracy = model.val_acc == null ? "" : ` · ${percent(model.val_acc)}`;
    const name = model.name.replace(/^cls_/, "");
    const label = model.problem ? `${name} (cannot be used)` : `${name}${accuracy}`;
    const option = el("option", { value: model.id, disabled: Boolean(model.problem) }, label);
    groups.get(model.experiment).append(option);
  }
  select.replaceChildren(...groups.values());
  select.disabled = models.length === 0;
  const usable = models.filter((one) => !one.problem);
  const wanted = usable.find((one) => one.id === chosen);
  const first = wanted ?? usable.find((one) => one.default) ?? usable[0];
  if (first) select.value = first.id;
}

/** Why nothing can be shown without models; null where there are some. */
export function withoutModels(models, experiments) {
  if (models.some((one) => !one.problem)) return null;
  const title = experiments.length === 0 ? "No experiments found" : "No model can be used";
  const detail =
    experiments.length === 0
      ? "The data root holds no experiment. Start the service with --data and the folder of a run."
      : "The experiments hold no trained model that can be read. See /v1/models for the reasons.";
  return { code: "no-models", title, detail };
}
