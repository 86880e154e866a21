/** The page Look: one image, one model, the overlay, and three layers. */

import { announce, api, authHeaders, base, el, showProblem } from "./api.js";
import { fillModels, withoutModels } from "./models.js";

const $ = (id) => document.getElementById(id);
const viewer = $("viewer");
const LAYERS = ["early", "mid", "late"];
const query = new URLSearchParams(location.search);
let shown = null; // {experiment, image} or {file}

async function start() {
  try {
    const [models, experiments] = await Promise.all([
      api("/v1/models", { as: "json" }),
      api("/v1/experiments", { as: "json" }),
    ]);
    const problem = withoutModels(models.models, experiments.experiments);
    if (problem) {
      fail(problem);
      $("samples").replaceChildren(el("p", { class: "soft" }, "None."));
      $("model").replaceChildren(el("option", {}, "None"));
      return;
    }
    fillModels($("model"), models.models, experiments.experiments, query.get("model"));
    restore();
    await offerSamples(experiments.experiments);
  } catch (error) {
    fail(error);
  }
}

function restore() {
  const image = query.get("image");
  const experiment = query.get("experiment");
  if (!image || !experiment) return;
  const own = new Set(["experiment", "image", "model"]);
  viewer.state = Object.fromEntries([...query].filter(([name]) => !own.has(name)));
  show({ experiment, image });
}

async function offerSamples(experiments) {
  const groups = await Promise.all(experiments.slice(0, 2).map(samplesOf));
  $("samples").replaceChildren(...groups);
  markSample();
}

async function samplesOf(experiment) {
  const link = experiment.links.images;
  const first = (name) => api(`${link}?limit=1&class=${encodeURIComponent(name)}`, { as: "json" });
  const pages = await Promise.all(experiment.classes.map(first));
  const buttons = pages.flatMap((page) => page.images).map((image) =>
    el(
      "button",
      {
        type: "button",
        dataset: { image: image.path },
        onclick: () => takeSample(experiment, image.path),
      },
      image.true_class ?? image.name,
    ),
  );
  return el("div", {}, el("h3", {}, experiment.name), el("div", { class: "samples" }, buttons));
}

function takeSample(experiment, image) {
  if (!experiment.models.includes($("model").value)) {
    const option = [...$("model").options].find(
      (one) => experiment.models.includes(one.value) && !one.disabled,
    );
    if (option) $("model").value = option.value;
  }
  show({ experiment: experiment.path, image });
}

function takeFile(file) {
  if (file) show({ file });
}

/** Show an image with the chosen model. */
async function show(source) {
  shown = source;
  $("file-name").textContent = source.file?.name ?? "";
  $("state").hidden = true;
  $("shown").hidden = false;
  viewer.headers = authHeaders();
  viewer.setAttribute("model", $("model").value);
  if (source.file) {
    viewer.removeAttribute("experiment");
    viewer.removeAttribute("image");
    viewer.file = source.file;
  } else {
    viewer.file = null;
    viewer.setAttribute("experiment", source.experiment);
    viewer.setAttribute("image", source.image);
  }
  markSample();
  remember();
}

function markSample() {
  for (const button of document.querySelectorAll("#samples button"))
    button.setAttribute("aria-pressed", String(button.dataset.image === shown?.image));
}

/** Keep what is seen in the address; uploaded files stay out of it. */
function remember() {
  const stored = shown?.image !== undefined;
  const { experiment, image } = shown ?? {};
  const model = $("model").value;
  const values = new URLSearchParams(stored ? { experiment, image, model, ...viewer.state } : {});
  history.replaceState(null, "", stored ? `?${values}` : location.pathname);
  $("compare").hidden = !stored;
  if (stored)
    $("compare").href = `${base}/compare?${new URLSearchParams({ experiment, image, a: model })}`;
}

/** Three small viewers of the same image, a layer each. */
function drawLayers(facts) {
  const there = facts.layers.filter((one) => LAYERS.includes(one.name));
  $("layers").replaceChildren(
    ...there.map((layer) => {
      const small = el("cam-viewer", { controls: "none", alt: `Layer ${layer.name}` });
      for (const name of ["experiment", "image", "model", "method", "target", "clahe"])
        if (viewer.hasAttribute(name)) small.setAttribute(name, viewer.getAttribute(name));
      small.setAttribute("layer", layer.name);
      small.headers = authHeaders();
      if (shown.file) small.file = shown.file;
      const said = layer.empty ? "no positive evidence" : `${layer.grid.join(" × ")} cells`;
      return el("figure", {}, small, el("figcaption", {}, `${layer.name} · ${said}`));
    }),
  );
}

function fail(problem) {
  $("shown").hidden = true;
  $("state").hidden = false;
  showProblem($("state"), problem, shown ? () => show(shown) : () => location.reload());
}

async function download() {
  const address = URL.createObjectURL(await viewer.toBlob());
  el("a", { href: address, download: "overlay.png" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

viewer.addEventListener("cam-load", (event) => {
  const { prediction } = event.detail.facts;
  announce(`${prediction.name}, ${(prediction.probability * 100).toFixed(1)} %`);
  drawLayers(event.detail.facts);
});
viewer.addEventListener("cam-error", (event) => fail(event.detail.problem));
viewer.addEventListener("cam-change", remember);
$("model").addEventListener("change", () => shown && show(shown));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => takeFile($("file").files[0]));
$("download").addEventListener("click", download);
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
