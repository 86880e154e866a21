/** The form for a new job, which says beforehand what will run. */

import { base, el, showProblem } from "../../shared/api.js";
import { leftOutText } from "../../shared/images.js";
import { sentence } from "./job-words.js";
import { breakable, many, percent } from "../../shared/models.js";
import { patiently, pause } from "../../shared/waiting.js";
import { COLORMAPS } from "../../viewer/drawing/colours.js";
import { DEFAULTS, DEFAULT_METHOD, FUSED } from "../../viewer/common/facts.js";
import { aboutMethod, methodOptions } from "../../viewer/common/methods.js";

const $ = (id) => document.getElementById(id);
const REST_MILLISECONDS = 250;
const checked = (selector) => [...$("form").querySelectorAll(`${selector}:checked`)];

let experiments = [];
let models = [];
let fill = "";
let asking = new AbortController();

/** Show the form. @param {string|null} wanted the experiment to begin with */
export async function setUpForm(wanted) {
  const answers = await Promise.all([
    patiently("/v1/experiments", { as: "json" }),
    patiently("/v1/models", { as: "json" }),
  ]);
  experiments = answers[0].experiments;
  models = answers[1].models;
  $("method").append(...methodOptions());
  $("method").value = DEFAULT_METHOD;
  $("colormap").append(...COLORMAPS.map((name) => el("option", { value: name }, name)));
  $("colormap").value = DEFAULTS.colormap;
  $("experiment").append(...experiments.map((one) => el("option", { value: one.path }, one.name)));
  if (experiments.some((one) => one.path === wanted)) $("experiment").value = wanted;
  offerModels();
  $("experiment").addEventListener("change", offerModels);
  $("max_images").addEventListener("input", () => {
    $("form").elements.amount.value = "some";
  });
  $("name").addEventListener("input", () => {
    $("form").elements.folder.value = "named";
  });
  $("form").addEventListener("input", changed);
  $("form").addEventListener("submit", submit);
  changed();
}

const experiment = () => experiments.find((one) => one.path === $("experiment").value);
const own = () => models.filter((one) => one.experiment === $("experiment").value);
const available = () => experiment()?.splits.find((one) => one.split === "test")?.images ?? 0;

function offerModels() {
  const boxes = own().map((model) => {
    const accuracy = model.val_acc == null ? "" : `validation accuracy ${percent(model.val_acc)}`;
    const state = model.problem ? "cannot be used" : accuracy;
    const usable = !model.problem;
    return el(
      "label",
      { class: "check" },
      el("input", { type: "checkbox", name: "model", value: model.name, checked: usable, disabled: !usable }),
      el("span", {}, model.name, " ", el("small", { class: "soft" }, state)),
    );
  });
  $("models").replaceChildren(...boxes);
  $("available").textContent = available();
  changed();
}

/** What is sent: the request as POST /v1/jobs takes it. */
function request() {
  const names = checked("[name=model]").map((one) => one.value);
  const all = $("form").elements.amount.value === "all";
  const wanted = {
    experiment: $("experiment").value,
    models: names.length === own().length ? [] : names,
    max_images: all ? null : $("max_images").valueAsNumber,
    pick: $("pick").value,
    layers: checked("[name=layers]").map((one) => one.value),
    method: $("method").value,
    colormap: $("colormap").value,
    alpha: $("alpha").valueAsNumber,
  };
  for (const name of ["fused", "clahe", "save_maps", "resume", "replace"]) wanted[name] = $(name).checked;
  if (isNamed()) wanted.name = $("name").value;
  if (wanted.layers.length === 0) wanted.layers = [FUSED];
  return wanted;
}

/** The models that will run: the service takes all whose name contains one that was asked for. */
function running(wanted) {
  const names = wanted.models.map((name) => name.toLowerCase());
  const takes = (name) => names.length === 0 || names.some((one) => name.toLowerCase().includes(one));
  return own().map((one) => one.name).filter(takes);
}

const isNamed = () => $("form").elements.folder.value === "named";

function missing(wanted) {
  if (experiments.length === 0) return "The data root holds no experiment.";
  if (checked("[name=model]").length === 0) return "Choose a model.";
  if (available() === 0) return "This experiment has no test images.";
  if (checked("[name=layers]").length === 0 && !wanted.fused) return "Choose a layer.";
  if (isNamed() && !$("name").value) return "Give the set a name.";
  if (!$("name").checkValidity()) return "A set’s name has letters, digits and . _ + - only.";
  if (!$("form").checkValidity()) return "A number is missing or out of its range.";
  return null;
}

/** A form that was changed asks for another job: it gets a new key. */
function changed() {
  fill = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
  $("refusal").replaceChildren();
  $("about_method").textContent = aboutMethod($("method").value);
  const wanted = request();
  const lacking = missing(wanted);
  $("submit").disabled = lacking !== null;
  if (lacking) return $("plan").replaceChildren(lacking);
  const names = running(wanted);
  const images = Math.min(available(), wanted.max_images ?? Infinity);
  const added = names.filter((name) => !checked("[name=model]").some((one) => one.value === name));
  $("plan").replaceChildren(
    el("b", {}, `${many(names.length, "model")} × ${many(images, "image")} = ${many(names.length * images, "item")}`),
    added.length > 0 && wanted.models.length > 0
      ? ` (with ${added.join(", ")}, whose name contains a chosen one)`
      : "",
    ". ",
    el("span", { id: "destination" }, "Looking where the pictures go …"),
  );
  askPlan(wanted);
}

/** Ask the service where the pictures would go, and what is there, once the form rests. */
async function askPlan(wanted) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    await pause(REST_MILLISECONDS, signal);
    sayWhere(await patiently("/v1/job-plans", { json: wanted, as: "json", tries: 0, signal }));
  } catch (error) {
    if (error.name === "AbortError") return;
    $("replace-field").hidden = error.code !== "output-holds-others";
    $("submit").disabled = true;
    $("destination").replaceChildren(el("b", { class: "wrong" }, sentence(error.detail ?? error.message)));
  }
}

/** Where the pictures go, what becomes of those that are there, and what is left out. */
function sayWhere({ usual, destination, left_out: leftOut }) {
  $("form-left-out").textContent = leftOutText(leftOut);
  const folder = el("code", {}, breakable(destination.output));
  const below = { data: "", output: " below the output root", store: " in the output store" }[destination.output_below];
  const apart = usual.output !== destination.output;
  $("replace-field").hidden = !(apart || (usual.holds === "other" && $("replace").checked));
  const there = `${many(usual.figures, "figure")} of these models`;
  const again = $("resume").checked ? "they are kept" : "images explained again get new ones";
  const said = {
    empty: ", which holds none of these models yet.",
    same: `, which holds ${there} made in the same way: ${again}.`,
    other: `. The ${there} that are there, made in another way (${usual.made_by}), are removed.`,
  };
  $("destination").replaceChildren(
    "Pictures go to ",
    folder,
    below,
    ...(apart
      ? [`, since the experiment’s folder holds ${there} made in another way (${usual.made_by}). Those stay.`]
      : [said[usual.holds]]),
  );
}

async function submit(event) {
  event.preventDefault();
  $("submit").disabled = true;
  try {
    const headers = { "Idempotency-Key": fill };
    const job = await patiently("/v1/jobs", { json: request(), headers, as: "json", tries: 0 });
    location.assign(`${base}/jobs?${new URLSearchParams({ id: job.id })}`);
  } catch (error) {
    showProblem($("refusal"), error);
  }
  $("submit").disabled = false;
}
