/** The page Compare: one image explained twice, in step. */

import { correlation, drawDifference, overlap } from "./agreement.js";
import { announce, api, authHeaders, el, showProblem } from "./api.js";
import { fillModels, withoutModels } from "./models.js";

const $ = (id) => document.getElementById(id);
const SIDES = ["a", "b"];
const METHODS = ["gradcam++", "gradcam", "hirescam", "layercam", "xgradcam", "eigencam"];
const query = new URLSearchParams(location.search);
const viewers = { a: $("viewer-a"), b: $("viewer-b") };
let experiments = [];
let models = [];

async function start() {
  try {
    const answers = await Promise.all([
      api("/v1/models", { as: "json" }),
      api("/v1/experiments", { as: "json" }),
    ]);
    models = answers[0].models;
    experiments = answers[1].experiments;
    const problem = withoutModels(models, experiments);
    if (problem) return fail(problem);
    const names = experiments.map((one) => el("option", { value: one.path }, one.name));
    $("experiment").replaceChildren(...names);
    $("experiment").disabled = false;
    choose($("experiment"), query.get("experiment"));
    for (const side of SIDES)
      $(`method_${side}`).replaceChildren(
        el("option", { value: "" }, "as the service does"),
        ...METHODS.map((name) => el("option", { value: name }, name)),
      );
    await useExperiment(query);
  } catch (error) {
    fail(error);
  }
}

/** Set a menu to a value that it offers. */
function choose(select, value) {
  if (value && [...select.options].some((one) => one.value === value)) select.value = value;
}

async function useExperiment(wanted) {
  const experiment = experiments.find((one) => one.path === $("experiment").value);
  const page = await api(`${experiment.links.images}?limit=500`, { as: "json" });
  const image = wanted.get("image");
  const paths = page.images.map((one) => one.path);
  if (image && !paths.includes(image)) paths.unshift(image);
  $("image").replaceChildren(...paths.map((path) => el("option", { value: path }, shortened(path))));
  $("image").disabled = paths.length === 0;
  choose($("image"), image);
  const own = models.filter((one) => one.experiment === experiment.path && !one.problem);
  SIDES.forEach((side, i) => {
    fillModels($(side), models, experiments, wanted.get(side) ?? own[i]?.id ?? own[0]?.id);
    choose($(`method_${side}`), wanted.get(`method_${side}`));
    offerTargets(side, wanted.get(`target_${side}`));
  });
  if (!wanted.get("b") && $("a").value === $("b").value)
    choose($("b"), own.find((one) => one.id !== $("a").value)?.id);
  show();
}

const shortened = (path) => path.split("/").slice(-3).join("/");

function offerTargets(side, wanted) {
  const classes = models.find((one) => one.id === $(side).value)?.classes ?? [];
  $(`target_${side}`).replaceChildren(
    el("option", { value: "" }, "the predicted one"),
    ...classes.map((name) => el("option", { value: name }, name)),
  );
  choose($(`target_${side}`), wanted);
}

function show() {
  if (!$("image").value) return fail({ title: "No images", detail: "This experiment holds none." });
  $("state").hidden = true;
  $("shown").hidden = false;
  const kept = { experiment: $("experiment").value, image: $("image").value };
  for (const side of SIDES) {
    const options = { model: $(side).value };
    for (const name of ["method", "target"]) {
      const value = $(`${name}_${side}`).value;
      options[name] = value;
      if (value) kept[`${name}_${side}`] = value;
    }
    kept[side] = options.model;
    explain(viewers[side], { experiment: kept.experiment, image: kept.image, ...options });
  }
  history.replaceState(null, "", `?${new URLSearchParams(kept)}`);
}

function explain(viewer, options) {
  viewer.headers = authHeaders();
  for (const [name, value] of Object.entries(options))
    if (value) viewer.setAttribute(name, value);
    else viewer.removeAttribute(name);
}

/** The map shown by a viewer: its own layer, or the one that the service chose. */
function shownMap(viewer) {
  const name = viewer.getAttribute("layer") ?? viewer.state?.layer ?? viewer.facts?.layer;
  return viewer.maps?.layers?.[name];
}

function measure() {
  const [a, b] = SIDES.map((side) => shownMap(viewers[side]));
  if (!a || !b || a.values.length !== b.values.length) return;
  const empty = SIDES.filter((_, i) => ![a, b][i].values.some((value) => value > 0));
  const pearson = correlation(a.values, b.values);
  const shared = overlap(a.values, b.values);
  $("correlation").textContent = pearson === null ? "–" : pearson.toFixed(2);
  $("overlap").textContent = shared === null ? "–" : shared.toFixed(2);
  const said = empty.map((side) => side.toUpperCase()).join(" and ");
  $("empty-note").textContent = said
    ? `No positive evidence in ${said}: the numbers then say nothing about agreement.`
    : "";
  drawDifference($("difference"), a.values.map((value, i) => value - b.values[i]), a.width, a.height);
  announce(`Correlation ${$("correlation").textContent}, overlap ${$("overlap").textContent}`);
}

function keepInStep(from, to) {
  from.addEventListener("cam-transform", (event) => {
    if (JSON.stringify(to.transform) !== JSON.stringify(event.detail.transform))
      to.transform = event.detail.transform;
  });
  from.addEventListener("cam-cursor", (event) => {
    to.cursor = event.detail.cursor;
  });
}

function fail(problem) {
  $("shown").hidden = true;
  $("state").hidden = false;
  showProblem($("state"), problem, () => location.reload());
}

for (const side of SIDES) {
  viewers[side].addEventListener("cam-load", measure);
  viewers[side].addEventListener("cam-change", measure);
  viewers[side].addEventListener("cam-error", (event) => fail(event.detail.problem));
  $(side).addEventListener("change", () => {
    offerTargets(side, $(`target_${side}`).value);
    show();
  });
  for (const name of ["method", "target"]) $(`${name}_${side}`).addEventListener("change", show);
}
keepInStep(viewers.a, viewers.b);
keepInStep(viewers.b, viewers.a);
$("experiment").addEventListener("change", () => useExperiment(new URLSearchParams()).catch(fail));
$("image").addEventListener("change", show);
const scale = Float32Array.from({ length: 256 }, (_, i) => i / 127.5 - 1);
drawDifference($("scale"), scale, 256, 1);
start();
