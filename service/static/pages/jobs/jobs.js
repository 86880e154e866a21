/** The page Jobs: a form for new ones, and all of them; or one, with its progress. */

import { base, el, showProblem } from "../../shared/api.js";
import { setUpForm } from "./job-form.js";
import { showJob } from "./job-view.js";
import { countOf, done, ended, recipeOf, sentence, setOf, stateOf, titleOf, when } from "./job-words.js";
import { breakable, many } from "../../shared/models.js";
import { patiently } from "../../shared/waiting.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const PAGE = 25;
const LOOK_MILLISECONDS = 3000;
let shown = PAGE;

async function start() {
  try {
    const id = query.get("id");
    if (id) await showJob(id);
    else await showAll();
    $("state").hidden = true;
  } catch (error) {
    showProblem($("state"), explained(error), () => location.reload());
  }
}

/** Without Redis there are no jobs: say what to do about it. */
function explained(error) {
  if (error.code !== "jobs-unavailable") return error;
  return { code: error.code, title: "Jobs are not set up here", detail: sentence(error.detail) };
}

async function showAll() {
  await showList();
  await setUpForm(query.get("experiment"));
  $("all").hidden = false;
  $("more").addEventListener("click", () => {
    shown += PAGE;
    showList().catch((error) => showProblem($("list"), error));
  });
  keepLooking();
}

async function showList() {
  const asked = { as: "json", tries: 0 };
  const { jobs, total } = await patiently(`/v1/jobs?limit=${Math.min(shown, 500)}`, asked);
  $("list").replaceChildren(...jobs.map(row));
  if (total === 0)
    $("list").replaceChildren(
      el("li", { class: "state" }, el("h3", {}, "No jobs yet"), el("p", {}, "Start the first one with the form.")),
    );
  $("more").hidden = jobs.length >= total || shown >= 500;
  return jobs;
}

async function keepLooking() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
    if (document.hidden || !$("list").querySelector("progress")) continue;
    await showList().catch(() => {}); // api() has said so
  }
}

function row(job) {
  const address = `${base}/jobs?${new URLSearchParams({ id: job.id })}`;
  const bar = el("progress", { max: Math.max(1, job.progress.total), value: done(job), "aria-label": "Progress" });
  return el(
    "li",
    { class: "card", dataset: { status: job.status } },
    el(
      "div",
      { class: "job-head" },
      el("a", { href: address }, breakable(titleOf(job)), el("span", { class: "unseen" }, ` ${job.id}`)),
      el("b", { class: "job-state" }, stateOf(job)),
    ),
    el("p", {}, recipeOf(job), setOf(job) && el("span", { class: "soft" }, ` · set ${setOf(job)}`)),
    el("p", { class: "soft" }, `${many(job.models.length, "model")}, ${countOf(job)}; ${when(job.created_at)}`),
    !ended(job) && bar,
    job.activity && el("p", { class: "soft" }, sentence(job.activity)),
    job.notice && el("p", { class: "notice" }, sentence(job.notice)),
  );
}

start();
