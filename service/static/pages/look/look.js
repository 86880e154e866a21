/** The page Look: one image, one model, the overlay, and three layers. */

import { keepAddress, pushAddress } from "../../shared/address.js";
import { announce, authHeaders, base, el, showProblem, signedIn } from "../../shared/api.js";
import { brought, selected } from "./bringing.js";
import { imagesOf } from "../../shared/images.js";
import { fillModels, withoutModels } from "../../shared/models.js";
import { showReading } from "./reading.js";
import { Samples } from "./samples.js";
import { viewerThere } from "../../shared/viewer.js";
import { patiently } from "../../shared/waiting.js";
import { STAGES } from "../../viewer/common/facts.js";

const $ = (id) => document.getElementById(id);
const viewer = $("viewer");
const MOST_TIMES = 6; // an image's side as large as the model's input; cells are lost beyond that
const OWN = ["experiment", "image", "model"]; // of the query; the rest is the view
const COMPUTED = { method: null, target: null, clahe: null }; // views that a state must name to change
const beginning = [...$("state").childNodes];
const samples = new Samples($("samples"), takeStored);
const files = new Map(); // those shown, by what history.state says of their entries
let experiments = [];
let models = [];
let isReady = false; // the models are there, and the viewer
let isFailed = false;
let shown = null; // {experiment, image} or {file}
let awaited = null; // what is shown once the models are there
let isPicked = false; // by hand, since the last picture came

async function start() {
  isFailed = false;
  if (awaited) wait(awaited);
  else if (!shown) beginWith(new URLSearchParams(location.search).get("image"));
  try {
    const [offered, found] = await Promise.all([
      patiently("/v1/models", { as: "json" }),
      patiently("/v1/experiments", { as: "json" }),
    ]);
    ({ models } = offered);
    experiments = found.experiments;
    const problem = withoutModels(models, experiments);
    if (problem) throw problem;
    fillModels($("model"), models, experiments, new URLSearchParams(location.search).get("model"));
    const offering = samples.offer(experiments).catch(noSamples);
    await viewerThere;
    isReady = true;
    if (awaited) pick(awaited);
    else revisit();
    await offering;
  } catch (problem) {
    fail(problem, start);
    if ($("model").disabled) $("model").replaceChildren(el("option", {}, "None"));
    return noSamples();
  }
  samples.mark(shown?.experiment, shown?.image);
}

function noSamples() {
  $("samples").replaceChildren(el("p", { class: "soft" }, "None."));
}

function fail(problem, retry) {
  isFailed = true;
  $("shown").hidden = true;
  $("state").hidden = false;
  showProblem($("state"), problem, retry);
}

// ---- what is chosen

/** Choose one of an experiment's own models, unless one of them is chosen. */
function chooseModelOf(experiment) {
  if (experiment.models.includes($("model").value)) return;
  const option = [...$("model").options].find(
    (one) => experiment.models.includes(one.value) && !one.disabled,
  );
  if (option) $("model").value = option.value;
}

/** Show an image of an experiment, with one of its own models. */
function takeStored(experiment, image) {
  chooseModelOf(experiment);
  say("");
  pick({ experiment: experiment.path, image });
}

/** Show a file, or say why there is none to show. */
function take({ file, notice }) {
  say(notice);
  if (file) pick({ file });
}

function say(notice) {
  $("notice").textContent = notice;
  if (notice) announce(notice);
}

/** Show what was chosen by hand, as a new entry of the history. */
function pick(source) {
  if (!isReady) return wait(source);
  const { experiment, image } = shown ?? {};
  const isSame = image && experiment === source.experiment && image === source.image;
  isPicked = true;
  awaited = null;
  show(source);
  if (isSame) return keepAddress(address());
  const state = source.file ? { file: `${performance.timeOrigin}-${files.size}` } : null;
  if (state) files.set(state.file, source.file);
  pushAddress(address(), state);
}

/** Keep a choice until the models are there. */
function wait(source) {
  awaited = source;
  $("file-name").textContent = nameOf(source);
  if (!isFailed) announce(sayWaiting(nameOf(source)));
}

/** Before the models are there: what a link names, or how to begin. */
function beginWith(image) {
  if (image) sayWaiting(nameOf({ image }));
  else $("state").replaceChildren(...beginning);
}

function sayWaiting(name) {
  const text = `${name} is shown as soon as the list of models is there.`;
  $("state").replaceChildren(el("h2", {}, "Waiting for the models …"), el("p", {}, text));
  return text;
}

/** A file's name, or the last folder and the name of an experiment's image. */
const nameOf = ({ file, image }) => file?.name ?? image.split("/").slice(-2).join("/");

/** Show an image with the chosen model. */
function show(source) {
  shown = source;
  isFailed = false;
  $("file-name").textContent = nameOf(source);
  $("state").hidden = true;
  $("shown").hidden = false;
  viewer.headers = authHeaders();
  viewer.setAttribute("model", $("model").value);
  viewer.file = source.file ?? null;
  for (const name of ["experiment", "image"])
    if (source[name]) viewer.setAttribute(name, source[name]);
    else viewer.removeAttribute(name);
  samples.mark(source.experiment, source.image);
  offerComparison();
}

function showNothing() {
  shown = null;
  viewer.file = null;
  for (const name of ["experiment", "image"]) viewer.removeAttribute(name);
  $("file-name").textContent = "";
  $("shown").hidden = true;
  $("state").hidden = false;
  $("state").replaceChildren(...beginning);
  samples.mark();
}

/** Show what this entry of the history is of. */
function revisit() {
  if (!isReady || (shown && location.hash)) return;
  const query = new URLSearchParams(location.search);
  const { experiment, image, model } = Object.fromEntries(query);
  const file = files.get(history.state?.file);
  if (!file && !(experiment && image)) return showNothing();
  const isOffered = [...$("model").options].some((one) => one.value === model && !one.disabled);
  if (isOffered) $("model").value = model;
  if (file) return show({ file });
  const own = experiments.find((one) => one.path === experiment);
  if (!model && own) chooseModelOf(own);
  const view = [...query].filter(([name]) => !OWN.includes(name));
  viewer.state = { ...COMPUTED, ...Object.fromEntries(view) };
  show({ experiment, image });
}

/** What reopens what is seen; uploaded files have no address. */
const address = () => (shown?.image === undefined ? location.pathname : `?${viewer.link()}`);

function offerComparison() {
  const { experiment, image } = shown;
  $("compare").hidden = image === undefined;
  if (image === undefined) return;
  const pair = new URLSearchParams({ experiment, image, a: $("model").value });
  $("compare").href = `${base}/compare?${pair}`;
}

/** The image before or after the one shown. */
async function step(by) {
  const experiment = experiments.find((one) => one.path === shown?.experiment);
  if (!experiment) return;
  const images = await imagesOf(experiment);
  const at = images.findIndex((one) => one.path === shown.image);
  const next = images[at + by];
  if (at < 0 || !next) return;
  show({ experiment: experiment.path, image: next.path });
  keepAddress(address());
}

/** On a narrow screen what was picked is shown below: go there. */
function scrollToShown() {
  if (isPicked && matchMedia("(max-width: 50rem)").matches) $("shown").scrollIntoView();
  isPicked = false;
}

/** Say how an image much larger than the model's input was seen. */
function sayShrunk({ picture_size: size, model }) {
  const input = models.find((one) => one.id === model.id)?.input_size;
  $("shrunk").hidden = !input || Math.max(...size) <= MOST_TIMES * Math.max(...input);
  if ($("shrunk").hidden) return;
  $("shrunk").textContent =
    `The model saw the whole image shrunk to ${input.join(" × ")} px, in which a cell is very small. ` +
    "To ask about a cell, cut it out.";
}

// ---- the layers beneath, each a button that shows it large

function drawLayers({ layers }) {
  const there = layers.filter((one) => STAGES.includes(one.name));
  $("layers").replaceChildren(...there.map(smallLayer));
  keepLayersInStep();
}

function smallLayer(layer) {
  // The maps are at hand: viewers of one request share its answer.
  const small = el("cam-viewer", { inert: true, controls: "none", headers: viewer.headers });
  small.file = viewer.file;
  const cells = layer.empty ? "no positive evidence" : `${layer.grid.join(" × ")} cells`;
  return el(
    "button",
    {
      type: "button",
      "aria-label": `${layer.name} ${cells}`,
      dataset: { layer: layer.name },
      onclick: () => showLarge(layer.name),
    },
    small,
    el("span", {}, el("b", {}, layer.name), ` ${cells}`),
  );
}

function showLarge(layer) {
  if (viewer.getAttribute("layer") === layer) viewer.removeAttribute("layer");
  else viewer.setAttribute("layer", layer);
  keepAddress(address());
  keepLayersInStep();
}

function keepLayersInStep() {
  const large = viewer.getAttribute("layer") || viewer.facts?.layer;
  for (const button of $("layers").children) {
    const { layer } = button.dataset;
    button.setAttribute("aria-pressed", String(layer === large));
    button.firstChild.state = { ...Object.fromEntries(viewer.link()), layer };
  }
}

// ---- events

viewer.addEventListener("cam-load", (event) => {
  if (event.target !== viewer) return;
  $("layers").hidden = false;
  drawLayers(event.detail.facts);
  sayShrunk(event.detail.facts);
  showReading($("read"), event.detail.facts.model.id);
  scrollToShown();
});
viewer.addEventListener("cam-error", async (event) => {
  if (event.target !== viewer) return;
  const { problem, kept } = event.detail;
  if (!kept) $("layers").hidden = true;
  if (problem.status !== 401) return;
  if (!(await signedIn())) return fail(problem, () => show(shown));
  viewer.headers = authHeaders();
  viewer.load();
});
viewer.addEventListener("cam-change", () => {
  keepAddress(address());
  keepLayersInStep();
});
viewer.addEventListener("cam-navigate", (event) => step(event.detail.step));
$("model").addEventListener("change", () => {
  if (!shown) return;
  show(shown);
  keepAddress(address());
});
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const chosen = [...$("file").files];
  $("file").value = ""; // else the same file could not be chosen again
  take(selected(chosen, "chosen"));
});
const drop = $("drop");
let isOwn = false; // what is dragged comes from this page
window.addEventListener("dragstart", () => (isOwn = true));
window.addEventListener("dragend", () => (isOwn = false));
window.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.toggle("over", !isOwn);
});
window.addEventListener("dragleave", () => drop.classList.remove("over"));
window.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (!isOwn) take(brought(event.dataTransfer, "dropped"));
});
window.addEventListener("paste", (event) => {
  if (!event.target.closest?.("input")) take(brought(event.clipboardData, "pasted"));
});
window.addEventListener("popstate", revisit);
start();
