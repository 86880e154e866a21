/** The page Look: one image, one model, the overlay, and three layers. */

import { api, authHeaders, base, el, showProblem, signedIn } from "./api.js";
import { imagesOf, thumbnailOf } from "./images.js";
import { fillModels, withoutModels } from "./models.js";
import { Pictures } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const viewer = $("viewer");
const LAYERS = ["early", "mid", "late"];
const SAMPLE_PIXELS = 96;
const MOST_SAMPLES = 8; // of one experiment
const THUMBNAILS_AT_ONCE = 4;
const query = new URLSearchParams(location.search);
let experiments = [];
let shown = null; // {experiment, image} or {file}
let isPicked = false; // by hand, since the last picture came

async function start() {
  try {
    const [models, found] = await Promise.all([
      api("/v1/models", { as: "json" }),
      api("/v1/experiments", { as: "json" }),
    ]);
    experiments = found.experiments;
    const problem = withoutModels(models.models, experiments);
    if (problem) throw problem;
    fillModels($("model"), models.models, experiments, query.get("model"));
    restore();
    await offerSamples();
  } catch (problem) {
    $("shown").hidden = true;
    $("state").hidden = false;
    showProblem($("state"), problem, () => location.reload());
    $("samples").replaceChildren(el("p", { class: "soft" }, "None."));
    if ($("model").disabled) $("model").replaceChildren(el("option", {}, "None"));
  }
}

function restore() {
  const image = query.get("image");
  const experiment = query.get("experiment");
  if (!image || !experiment || shown) return;
  const own = new Set(["experiment", "image", "model"]);
  viewer.state = Object.fromEntries([...query].filter(([name]) => !own.has(name)));
  show({ experiment, image });
}

async function offerSamples() {
  const groups = await Promise.all(experiments.slice(0, 2).map(samplesOf));
  $("samples").replaceChildren(...groups);
  const pictures = [...$("samples").querySelectorAll("img")];
  new Pictures(THUMBNAILS_AT_ONCE).want(new Map(pictures.map((one) => [one.dataset.from, one])));
  markSample();
}

/** An image of each class; the first ones where there are no classes. */
async function samplesOf(experiment) {
  const link = experiment.links.images;
  const pages = await Promise.all(
    experiment.classes.length > 0
      ? experiment.classes
          .slice(0, MOST_SAMPLES)
          .map((name) => api(`${link}?limit=1&class=${encodeURIComponent(name)}`, { as: "json" }))
      : [api(`${link}?limit=4`, { as: "json" })],
  );
  const buttons = pages.flatMap((page) => page.images).map((image) =>
    el(
      "button",
      {
        type: "button",
        dataset: { image: image.path, experiment: experiment.path },
        onclick: () => takeStored(experiment, image.path),
      },
      el("img", { alt: "", dataset: { from: thumbnailOf(experiment, image.path, SAMPLE_PIXELS) } }),
      el("span", {}, image.true_class ?? image.name),
    ),
  );
  return el("div", {}, el("h3", {}, experiment.name), el("div", { class: "samples" }, buttons));
}

/** On a narrow screen what was picked is shown below: go there. */
function scrollToShown() {
  if (isPicked && matchMedia("(max-width: 50rem)").matches) $("shown").scrollIntoView();
  isPicked = false;
}

/** Show an image of an experiment, with one of its own models. */
function takeStored(experiment, image) {
  if (!experiment.models.includes($("model").value)) {
    const option = [...$("model").options].find(
      (one) => experiment.models.includes(one.value) && !one.disabled,
    );
    if (option) $("model").value = option.value;
  }
  isPicked = true;
  show({ experiment: experiment.path, image });
}

function takeFile(file) {
  if (!file) return;
  isPicked = true;
  show({ file });
}

/** Show an image with the chosen model. */
function show(source) {
  shown = source;
  $("file-name").textContent = source.file?.name ?? "";
  $("state").hidden = true;
  $("shown").hidden = false;
  viewer.headers = authHeaders();
  viewer.setAttribute("model", $("model").value);
  viewer.file = source.file ?? null;
  for (const name of ["experiment", "image"])
    if (source[name]) viewer.setAttribute(name, source[name]);
    else viewer.removeAttribute(name);
  markSample();
  remember();
}

function markSample() {
  for (const button of document.querySelectorAll("#samples button")) {
    const { image, experiment } = button.dataset;
    const isShown = image === shown?.image && experiment === shown?.experiment;
    button.setAttribute("aria-pressed", String(isShown));
  }
}

/** Keep what is seen in the address; uploaded files stay out of it. */
function remember() {
  const stored = shown?.image !== undefined;
  history.replaceState(null, "", stored ? `?${viewer.link()}` : location.pathname);
  $("compare").hidden = !stored;
  if (!stored) return;
  const { experiment, image } = shown;
  const pair = new URLSearchParams({ experiment, image, a: $("model").value });
  $("compare").href = `${base}/compare?${pair}`;
}

/** The layers beneath, each a button that shows it large. */
function drawLayers({ layers }) {
  const there = layers.filter((one) => LAYERS.includes(one.name));
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
  remember();
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

/** The image before or after the one shown. */
async function step(by) {
  const experiment = experiments.find((one) => one.path === shown?.experiment);
  if (!experiment) return;
  const images = await imagesOf(experiment);
  const at = images.findIndex((one) => one.path === shown.image);
  const next = images[at + by];
  if (at >= 0 && next) show({ experiment: experiment.path, image: next.path });
}

viewer.addEventListener("cam-load", (event) => {
  if (event.target !== viewer) return;
  $("layers").hidden = false;
  drawLayers(event.detail.facts);
  scrollToShown();
});
viewer.addEventListener("cam-error", async (event) => {
  if (event.target !== viewer) return;
  $("layers").hidden = !event.detail.kept;
  if (event.detail.problem.status === 401 && (await signedIn())) {
    viewer.headers = authHeaders();
    viewer.load();
  }
});
viewer.addEventListener("cam-change", () => {
  remember();
  keepLayersInStep();
});
viewer.addEventListener("cam-navigate", (event) => step(event.detail.step));
$("model").addEventListener("change", () => shown && show(shown));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => takeFile($("file").files[0]));
const drop = $("drop");
window.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
window.addEventListener("dragleave", () => drop.classList.remove("over"));
window.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  takeFile(event.dataTransfer.files[0]);
});
window.addEventListener("paste", (event) => takeFile(event.clipboardData.files[0]));
start();
