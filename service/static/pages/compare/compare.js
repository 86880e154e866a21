/** The page Compare: one image explained twice, in step. */

import { keepAddress } from "../../shared/address.js";
import { correlation, drawDifference, overlap } from "./agreement.js";
import { announce, authHeaders, el, showProblem, signedIn } from "../../shared/api.js";
import { imagesOf, leftOutText } from "../../shared/images.js";
import { fillModels, withoutModels } from "../../shared/models.js";
import { viewerThere } from "../../shared/viewer.js";
import { patiently } from "../../shared/waiting.js";
import { aboutMethod, methodOptions } from "../../viewer/common/methods.js";

const $ = (id) => document.getElementById(id);
const SIDES = ["a", "b"];
const MOST_OPTIONS = 500; // of the menu of images; with more there is a search
const viewers = { a: $("viewer-a"), b: $("viewer-b") };
let experiments = [];
let models = [];
let paths = []; // of all images of the experiment
const asked = { a: "", b: "" }; // what each viewer explains, or will
const awaited = new Set(SIDES);
const lagging = new Set(); // sides that still show what was chosen before, since the change failed
let measured = []; // the two maps that the numbers are of

async function start() {
  const query = new URLSearchParams(location.search);
  try {
    const answers = await Promise.all([
      patiently("/v1/models", { as: "json" }),
      patiently("/v1/experiments", { as: "json" }),
      viewerThere,
    ]);
    models = answers[0].models;
    experiments = answers[1].experiments;
    const problem = withoutModels(models, experiments);
    if (problem) throw problem;
    $("experiment").replaceChildren(
      ...experiments.map((one) => el("option", { value: one.path }, one.name)),
    );
    $("experiment").disabled = false;
    if (query.has("experiment")) $("experiment").value = query.get("experiment");
    for (const side of SIDES)
      $(`method_${side}`).replaceChildren(
        el("option", { value: "" }, "default"),
        ...methodOptions(),
      );
    setView(viewOf(Object.fromEntries(query)));
    if ($("experiment").value) await useExperiment(query);
    else fail(unknown(query.get("experiment")));
  } catch (problem) {
    fail(problem);
  }
}

/** What is said of a link to an experiment that is not there. */
const unknown = (path) => ({
  title: "No such experiment",
  detail: `There is no ${path || "experiment without a name"}. Choose another one above.`,
});

/** Set a menu to a value that it offers. */
function choose(select, value) {
  if (value && [...select.options].some((one) => one.value === value)) select.value = value;
}

async function useExperiment(wanted) {
  const experiment = experiments.find((one) => one.path === $("experiment").value);
  paths = (await imagesOf(experiment)).map((one) => one.path);
  $("left-out").textContent = leftOutText(experiment.skipped);
  const image = wanted.get("image");
  if (image && !paths.includes(image)) paths.unshift(image);
  $("search").value = "";
  $("search-field").hidden = paths.length <= MOST_OPTIONS;
  $("count").textContent = paths.length.toLocaleString("en");
  offerImages(image);
  const own = models.filter((one) => one.experiment === experiment.path && !one.problem);
  SIDES.forEach((side, i) => {
    fillModels($(side), models, experiments, wanted.get(side) ?? (own[i] ?? own[0])?.id);
    choose($(`method_${side}`), wanted.get(`method_${side}`));
    offerTargets(side, wanted.get(`target_${side}`));
  });
  if (!wanted.get("b") && $("a").value === $("b").value)
    choose($("b"), own.find((one) => one.id !== $("a").value)?.id);
  show();
}

/** The images whose paths have the searched words, at most MOST_OPTIONS, and the wanted one. */
function offerImages(wanted) {
  const words = $("search").value.toLowerCase().split(/\s+/);
  const found = paths.filter((path) => words.every((word) => path.toLowerCase().includes(word)));
  const offered = found.slice(0, MOST_OPTIONS);
  if (wanted && !offered.includes(wanted)) offered.push(wanted);
  const options = offered.map((path) => el("option", { value: path }, shortened(path)));
  $("image").replaceChildren(...options);
  $("image").disabled = options.length === 0;
  choose($("image"), wanted);
}

const shortened = (path) => path.split("/").slice(-3).join("/");

/** Offer what is searched for, and on Enter show the first of it. */
function search(event) {
  offerImages($("image").value);
  announce(`${$("image").options.length} images on offer`);
  if (event.type !== "change" || $("image").options.length === 0) return;
  $("image").selectedIndex = 0;
  show();
}

function offerTargets(side, wanted) {
  const classes = models.find((one) => one.id === $(side).value)?.classes ?? [];
  $(`target_${side}`).replaceChildren(
    el("option", { value: "" }, "predicted"),
    ...classes.map((name) => el("option", { value: name }, name)),
  );
  choose($(`target_${side}`), wanted);
}

function show() {
  if (!$("image").value)
    return fail({ title: "No images", detail: "This experiment holds none." });
  $("state").hidden = true;
  $("shown").hidden = false;
  // The fused map has formulas of its own: methods differ in single layers only.
  const view = viewOf(viewers.a.state);
  if (SIDES.some((side) => $(`method_${side}`).value)) setView({ layer: "late", ...view });
  for (const side of SIDES) {
    $(`about_method_${side}`).textContent = aboutMethod($(`method_${side}`).value);
    explain(side);
  }
  if (awaited.size > 0) setMeasured(false);
  keepAddress(address());
}

function explain(side) {
  const viewer = viewers[side];
  viewer.headers = authHeaders();
  const wanted = { experiment: $("experiment").value, image: $("image").value };
  wanted.model = $(side).value;
  for (const name of ["method", "target"]) wanted[name] = $(`${name}_${side}`).value;
  if (asked[side] === JSON.stringify(wanted)) return;
  asked[side] = JSON.stringify(wanted);
  awaited.add(side);
  for (const [name, value] of Object.entries(wanted))
    if (value) viewer.setAttribute(name, value);
    else viewer.removeAttribute(name);
}

/** What reopens this comparison. */
function address() {
  const kept = { experiment: $("experiment").value, image: $("image").value };
  for (const side of SIDES) {
    kept[side] = $(side).value;
    for (const name of ["method", "target"]) {
      const value = $(`${name}_${side}`).value;
      if (value) kept[`${name}_${side}`] = value;
    }
  }
  const view = viewOf(viewers.a.state);
  return `?${new URLSearchParams({ ...kept, ...view })}`;
}

/** How both are shown: what is not chosen for each side. */
function viewOf(values) {
  const chosen = /^(experiment|image|model|method|target|a|b)(_[ab])?$/;
  return Object.fromEntries(Object.entries(values).filter(([name]) => !chosen.test(name)));
}

function setView(view) {
  for (const side of SIDES) viewers[side].state = view;
}

/** The map that a viewer shows: of the layer chosen, or of the one that the service chose. */
function shownMap({ maps, facts, state }) {
  return maps?.layers[state.layer in maps.layers ? state.layer : facts.layer];
}

function setMeasured(isMeasured, why = "Once both sides are there.") {
  $("measured").hidden = !isMeasured;
  $("unmeasured").hidden = isMeasured;
  $("unmeasured").textContent = why;
}

function measure() {
  const [a, b] = SIDES.map((side) => shownMap(viewers[side]));
  const alike = a?.width === b?.width && a?.height === b?.height;
  if (!a || !b || !alike || awaited.size > 0) return;
  setMeasured(true);
  sayLagging();
  placeDifference(viewers.a.transform);
  if (measured[0] === a && measured[1] === b) return;
  measured = [a, b];
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

/** What the numbers are of, where a side does not show what its menus say. */
function sayLagging() {
  const sides = SIDES.filter((side) => lagging.has(side)).map((side) => side.toUpperCase());
  $("lagging").hidden = sides.length === 0;
  $("lagging").textContent =
    `${sides.join(" and ")} still ${sides.length > 1 ? "show" : "shows"} what was chosen before: ` +
    "the numbers are of the maps that are shown.";
}

function keepInStep(side, other) {
  const [from, to] = [viewers[side], viewers[other]];
  from.addEventListener("cam-transform", (event) => {
    to.transform = event.detail.transform;
    placeDifference(event.detail.transform);
  });
  from.addEventListener("cam-cursor", (event) => {
    to.cursor = event.detail.cursor;
  });
  from.addEventListener("cam-change", () => {
    to.state = viewOf(from.state);
    keepAddress(address());
    measure();
  });
  from.addEventListener("cam-load", () => {
    awaited.delete(side);
    lagging.delete(side);
    measure();
  });
  from.addEventListener("cam-error", async (event) => {
    const { problem, kept } = event.detail;
    if (kept) {
      awaited.delete(side);
      lagging.add(side);
      measure();
    } else {
      awaited.add(side);
      setMeasured(false, "Not without both sides.");
    }
    if (problem.status !== 401) return;
    if (await signedIn()) show();
    else fail(problem, show);
  });
  from.addEventListener("cam-navigate", (event) => {
    const next = $("image").options[$("image").selectedIndex + event.detail.step];
    if (!next) return;
    $("image").value = next.value;
    show();
  });
}

/** Show the same part of the difference map as of the images. */
function placeDifference({ scale, x, y }) {
  const [left, top] = [x, y].map((middle) => 50 - 100 * middle * scale);
  $("difference").style.transform = `translate(${left}%, ${top}%) scale(${scale})`;
}

function fail(problem, retry = () => location.reload()) {
  $("shown").hidden = true;
  $("state").hidden = false;
  showProblem($("state"), problem, retry);
}

for (const side of SIDES) {
  $(side).addEventListener("change", () => {
    offerTargets(side, $(`target_${side}`).value);
    show();
  });
  for (const name of ["method", "target"]) $(`${name}_${side}`).addEventListener("change", show);
}
for (const viewer of Object.values(viewers))
  viewer.linkTo = () => new URL(address(), location.href).href;
keepInStep("a", "b");
keepInStep("b", "a");
$("experiment").addEventListener("change", () => useExperiment(new URLSearchParams()).catch(fail));
$("image").addEventListener("change", show);
for (const type of ["input", "change"]) $("search").addEventListener(type, search);
const scale = Float32Array.from({ length: 256 }, (_, i) => i / 127.5 - 1);
drawDifference($("scale"), scale, 256, 1);
start();
