/** What jobs are called and how far they are, in words. */

import { many } from "../../shared/models.js";
import { DEFAULTS, DEFAULT_METHOD, FUSED } from "../../viewer/common/facts.js";
import { labelOf } from "../../viewer/common/methods.js";

const STATES = {
  queued: "Waiting",
  running: "Running",
  canceling: "Stopping",
  succeeded: "Done",
  partial: "Done, with errors",
  failed: "Failed",
  canceled: "Stopped",
};
const FINAL = new Set(["succeeded", "partial", "failed", "canceled"]);

/** Whether nothing will change any more, short of a retry. */
export const ended = (job) => FINAL.has(job.status);

/** A job's state in words. */
export const stateOf = (job) => STATES[job.status] ?? job.status;

/** Items that were worked on. */
export const done = ({ progress }) => progress.succeeded + progress.failed;

/** How far a job is, 0 to 100. */
export const percentage = (job) => Math.floor((100 * done(job)) / Math.max(1, job.progress.total));

/** "42 %, 37 of 89 images; 1 failed". */
export function countOf(job) {
  const { total, failed, skipped } = job.progress;
  const rest = [failed && `${failed} failed`, skipped && `${skipped} skipped`].filter(Boolean);
  const said = `${percentage(job)} %, ${done(job)} of ${many(total, "item")}`;
  return [said, ...rest].join("; ");
}

/**
 * By which method and for which layers, and what is not as usual: "Grad-CAM++: early, mid, late;
 * viridis, without CLAHE".
 */
export function recipeOf({ request }) {
  const layers = request.layers.filter((one) => one !== FUSED);
  if (request.fused || layers.length < request.layers.length) layers.push(FUSED);
  const { target, colormap, clahe } = request;
  const unusual = [
    target != null && `class ${target}`,
    colormap && colormap !== DEFAULTS.colormap && colormap,
    clahe === false && "without CLAHE",
  ].filter(Boolean);
  const rest = unusual.length > 0 ? `; ${unusual.join(", ")}` : "";
  return `${labelOf(request.method ?? DEFAULT_METHOD)}: ${layers.join(", ")}${rest}`;
}

/** The folder of a job's pictures, below the experiment's where it is one of its sets. */
export const setOf = ({ output }) => /\/sets\/([^/]+)$/.exec(output)?.[1] ?? "";

/** What the service says, as a sentence of its own. */
export const sentence = (text) => text && stopped(`${text.charAt(0).toUpperCase()}${text.slice(1)}`);

const stopped = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

/** "12 images: Page 1 of 3 was read."; nameOf: a model's name by its id. */
export function noticeText({ text, count, of, model }, nameOf) {
  if (of === "notices") return sentence(text);
  const ofImages = of === "images" && many(count, "image");
  const whose = [model && nameOf(model), ofImages || (!model && many(count, "model"))];
  return stopped(`${whose.filter(Boolean).join(", ")}: ${text}`);
}

/** The experiment's folder. */
export const titleOf = (job) => job.request.experiment.split("/").at(-1);

/** When, as the reader's place writes it. */
export const when = (time) =>
  new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
