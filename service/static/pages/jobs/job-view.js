/** One job: its progress as it happens, its errors, its pictures. */

import { announce, api, base, el, showProblem } from "../../shared/api.js";
import { EnlargedFigure } from "./enlarged-figure.js";
import { follow } from "./job-events.js";
import { leftOutText } from "../../shared/images.js";
import { countOf, ended, noticeText, percentage, recipeOf, sentence, stateOf, titleOf, when } from "./job-words.js";
import { breakable, many } from "../../shared/models.js";
import { Pictures } from "../../shared/pictures.js";
import { patiently } from "../../shared/waiting.js";

const $ = (id) => document.getElementById(id);
const FIGURES = 12;
const FAILURES = 50;
const THUMBNAIL_PIXELS = 640;
const BELOW = { data: "", output: " below the output root", store: " in the output store" };
const SAID_EVERY = 25; // per cent
const NOTICE_MILLISECONDS = 5000;

let job = null;
let said = 0;
let following = null;
const figures = { status: "succeeded", page: FIGURES, found: [], total: 0 };
const failures = { status: "failed", page: FAILURES, found: [], total: 0 };
const pictures = new Pictures(4);

/** Show a job, and what becomes of it until it ends. @throws {ApiProblem} where there is none */
export async function showJob(id) {
  $("cancel").addEventListener("click", () => act("cancel"));
  $("retry").addEventListener("click", () => act("retry"));
  $("zip").addEventListener("click", download);
  $("more-figures").addEventListener("click", () => more(figures).catch(refuse));
  $("more-failures").addEventListener("click", () => more(failures).catch(refuse));
  take(await patiently(`/v1/jobs/${encodeURIComponent(id)}`, { as: "json", tries: 0 }));
  $("one").hidden = false;
  stay();
}

/** Follow a job that has not ended; show what came of it once it has. */
async function stay() {
  following?.abort();
  following = new AbortController();
  const { signal } = following;
  try {
    if (!ended(job)) {
      watchNotice(signal);
      const lost = (yes) => ($("connection").hidden = !yes);
      await follow(job, { signal, heard: (now) => take({ ...now, notice: job.notice }), lost });
    }
    await showItems();
  } catch (error) {
    if (error.name !== "AbortError") refuse(error);
  }
}

/** Events do not say whether a worker is up: ask now and then. */
async function watchNotice(signal) {
  while (!signal.aborted && !ended(job)) {
    await new Promise((resolve) => setTimeout(resolve, NOTICE_MILLISECONDS));
    if (signal.aborted || ended(job)) return;
    const now = await api(job.links.self, { as: "json" }).catch(() => null);
    if (now) showNotice((job.notice = now.notice));
  }
}

function take(now) {
  const before = job;
  job = now;
  document.title = `${ended(job) ? stateOf(job) : `${percentage(job)} %`} · ${titleOf(job)}`;
  $("job-title").replaceChildren(...breakable(titleOf(job)));
  const images = job.progress.total / Math.max(1, job.models.length);
  const all = job.request.max_images === null ? " (all)" : "";
  $("job-about").textContent =
    `${many(job.models.length, "model")} × ${many(images, "image")}${all}, ${recipeOf(job)}, ` +
    `submitted ${when(job.created_at)}`;
  $("job-output").replaceChildren("Pictures in ", el("code", {}, breakable(job.output)), BELOW[job.output_below]);
  $("job-left-out").textContent = leftOutText(job.left_out);
  $("job-status").textContent = stateOf(job);
  $("job-count").textContent = countOf(job);
  $("job-progress").value = percentage(job) / 100;
  $("activity").textContent = sentence(job.activity ?? "");
  $("job-error").textContent = sentence(job.error?.detail ?? "");
  $("cancel").hidden = ended(job) || job.status === "canceling";
  $("retry").hidden = !ended(job) || job.progress.succeeded >= job.progress.total;
  $("zip").hidden = !ended(job) || job.progress.succeeded === 0;
  showNotice(job.notice);
  showAssumed();
  say(before);
}

function showNotice(notice) {
  $("notice").hidden = !notice || ended(job);
  $("notice").textContent = sentence(notice ?? "");
}

function showAssumed() {
  const lines = job.notices.map((notice) => el("li", {}, breakable(noticeText(notice, modelName))));
  $("job-notices").hidden = lines.length === 0;
  $("job-notices-list").replaceChildren(...lines);
}

/** Say the state when it changes, and every quarter of the way. */
function say(before) {
  const step = Math.floor(percentage(job) / SAID_EVERY);
  if (before?.status === job.status && step === said) return;
  said = step;
  announce(`${stateOf(job)}, ${countOf(job)}`);
}

async function act(what) {
  $("refused").replaceChildren();
  $(what).disabled = true;
  try {
    take(await api(job.links[what], { method: "POST", as: "json" }));
    if (what === "retry" || ended(job)) stay();
  } catch (error) {
    refuse(error);
  }
  $(what).disabled = false;
}

function refuse(problem) {
  showProblem($("refused"), problem);
}

// ---- items

async function showItems() {
  for (const list of [figures, failures]) Object.assign(list, { found: [], asking: null });
  await Promise.all([more(figures), more(failures)]);
}

/** Fetch and show the next page of a list; all who want it meanwhile wait for the same. */
function more(list) {
  if (list.asking) return list.asking;
  const asking = ask(list, list.found).finally(() => {
    if (list.asking === asking) list.asking = null;
  });
  list.asking = asking;
  return asking;
}

async function ask(list, found) {
  const asked = new URLSearchParams({ status: list.status, limit: list.page, offset: found.length });
  const page = await patiently(`${job.links.items}?${asked}`, { as: "json", tries: 0 });
  if (found !== list.found) return; // begun anew meanwhile
  found.push(...page.items);
  list.total = page.total;
  (list === figures ? drawFigures : drawFailures)();
}

/** The figures at hand; more of them are fetched when `index` is the last one. */
async function figureAt(index) {
  if (index >= figures.found.length && index < figures.total) await more(figures);
  return figures.found[index];
}

const enlarged = new EnlargedFigure({
  at: figureAt,
  total: () => figures.total,
  about: (item) => `${item.name}, ${modelName(item.model)}`,
  look: lookAddress,
  why: whyReplaced,
  outdated: whyOutdated,
});

/** Where the page Look explains the item's image in the job's way. */
function lookAddress(item) {
  const { experiment, method, target, clahe, colormap, alpha } = job.request;
  const wanted = { experiment, image: item.image, model: item.model, method, target, colormap };
  const asked = { ...wanted, opacity: alpha, clahe: clahe ? null : "off" };
  const named = Object.entries(asked).filter(([, value]) => value !== null && value !== undefined);
  return `${base}/?${new URLSearchParams(named)}`;
}

const modelName = (id) => job.models.find((one) => one.id === id)?.name ?? id;
const count = (list) => (list.found.length < list.total ? `${list.found.length} of ${list.total}` : list.total);

function drawFailures() {
  $("errors").hidden = failures.total === 0;
  $("errors-title").textContent = `Images that failed: ${count(failures)}`;
  const row = (item) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, item.name, el("small", {}, item.image)),
      el("td", {}, modelName(item.model)),
      el("td", {}, item.error?.detail ?? "", " ", el("code", {}, item.error?.code ?? "")),
    );
  $("failures").replaceChildren(...failures.found.map(row));
  $("more-failures").hidden = failures.found.length >= failures.total;
}

function drawFigures() {
  $("results").hidden = figures.total === 0;
  $("results-title").textContent = `Pictures: ${count(figures)}`;
  const wanted = new Map();
  const figure = (item, index) => {
    const caption = el("figcaption", {}, item.name, el("small", {}, modelName(item.model)), whyOutdated(item));
    if (!item.links.figure) return el("figure", { class: "replaced" }, whyReplaced(item), caption);
    const image = el("img", { alt: "" });
    wanted.set(`${item.links.thumbnail}?size=${THUMBNAIL_PIXELS}`, image);
    const label = `Enlarge ${item.name}, ${modelName(item.model)}`;
    const open = () => enlarged.open(index);
    return el("figure", {}, el("button", { type: "button", "aria-label": label, onclick: open }, image), caption);
  };
  $("figures").replaceChildren(...figures.found.map(figure));
  $("more-figures").hidden = figures.found.length >= figures.total;
  pictures.want(wanted);
}

/** Beneath a figure whose image file is not as it was. */
function whyOutdated(item) {
  return item.outdated ? el("p", { class: "notice" }, sentence(item.outdated)) : null;
}

/** In the place of a picture that is another job's or command's now. */
function whyReplaced(item) {
  const other = item.links.replaced_by?.split("/").at(-1);
  const isRemoved = item.replaced?.startsWith("removed");
  if (!other) return el("p", { class: "notice" }, sentence(item.replaced ?? ""));
  const href = `${base}/jobs?${new URLSearchParams({ id: other })}`;
  return el("p", { class: "notice" }, isRemoved ? "Removed by " : "Replaced by ", el("a", { href, title: other }, "a later job"), ".");
}

// ---- the zip

async function download() {
  const label = $("zip").textContent;
  $("refused").replaceChildren();
  $("zip").disabled = true;
  let bytes = 0;
  const counted = new TransformStream({
    transform(chunk, out) {
      bytes += chunk.byteLength;
      $("zip").textContent = `Downloading, ${(bytes / 1e6).toFixed(1)} MB`;
      out.enqueue(chunk);
    },
  });
  try {
    const { body } = await api(job.links.archive);
    const href = URL.createObjectURL(await new Response(body.pipeThrough(counted)).blob());
    el("a", { href, download: `gradcam_${job.id}.zip` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  } catch (error) {
    refuse(error);
  }
  $("zip").textContent = label;
  $("zip").disabled = false;
}
