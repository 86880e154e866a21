/** The page Experiments: all of them, or one with its models and test images. */

import { announce, api, base, el, showProblem } from "./api.js";
import { Gallery } from "./gallery.js";
import { thumbnailOf } from "./images.js";
import { chosen, differ, score } from "./judging.js";
import { many, percent } from "./models.js";
import { Pictures } from "./pictures.js";
import { Viewing } from "./viewing.js";
import { patiently } from "./waiting.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const PAGE = 64;
const IMAGES_A_PAGE = 500;
const THUMBNAIL_PIXELS = 160;
const THUMBNAILS_AT_ONCE = 5; // a browser has six connections: one stays for predictions
const FILTERS = ["class", "right", "differ", "sort"];

let experiment = null;
let models = [];
const images = [];
let shownModel = "";
const predictions = new Map(); // by model, by image
const refused = new Map(); // why a model cannot predict
const pictures = new Pictures(THUMBNAILS_AT_ONCE);
let gallery = null;
let viewing = null;

async function start() {
  try {
    const path = query.get("path");
    await (path ? showOne(path) : showAll());
    $("state").hidden = true;
  } catch (error) {
    $("one").hidden = true;
    showProblem($("state"), error, () => location.reload());
  }
}

// ---- all experiments

async function showAll() {
  const [{ experiments }, answer] = await Promise.all([
    api("/v1/experiments", { as: "json" }),
    api("/v1/models", { as: "json" }),
  ]);
  $("experiments").replaceChildren(...experiments.map((one) => card(one, answer.models)));
  if (experiments.length === 0)
    $("experiments").replaceChildren(
      el(
        "div",
        { class: "state" },
        el("h2", {}, "No experiments found"),
        el("p", {}, "Start the service with --data and the folder of a run."),
      ),
    );
  $("all").hidden = false;
}

const addressOf = (path) => `${base}/experiment?${new URLSearchParams({ path })}`;
const testOf = (one) => one.splits.find((split) => split.split === "test") ?? { images: 0, classes: {} };

function card(one, all) {
  const own = all.filter((model) => model.experiment === one.path);
  const best = Math.max(...own.map((model) => model.val_acc ?? -1));
  const run = one.path.split("/").slice(0, -1).filter((part) => part !== "experiments").join("/");
  const counts = Object.entries(testOf(one).classes);
  return el(
    "article",
    { class: "card experiment-card" },
    el("h2", {}, el("a", { href: addressOf(one.path) }, one.name)),
    el("p", { class: "soft" }, run),
    el(
      "p",
      {},
      `${many(own.length, "model")}, ${many(testOf(one).images, "test image")}`,
      best >= 0 ? `; best in training ${percent(best)} right` : "",
    ),
    el(
      "ul",
      { class: "counts" },
      counts.map(([name, count]) => el("li", {}, `${name} `, el("b", {}, count))),
    ),
  );
}

// ---- one experiment

async function showOne(path) {
  const [found, answer] = await Promise.all([
    api(`/v1/experiments/${path.split("/").map(encodeURIComponent).join("/")}`, { as: "json" }),
    api("/v1/models", { as: "json" }),
  ]);
  experiment = found;
  models = answer.models.filter((one) => one.experiment === experiment.path);
  for (const model of models) {
    predictions.set(model.id, new Map());
    if (model.problem) refused.set(model.id, model.problem.detail);
  }
  const usable = models.filter((one) => !one.problem);
  shownModel = (usable.find((one) => one.id === query.get("model")) ?? usable[0])?.id ?? "";
  describe();
  setUpFilters();
  gallery = new Gallery($("gallery"), {
    key: (image) => image.path,
    draw: drawTile,
    open: (index) => viewing.open(gallery.items, index),
    shown: showPictures,
  });
  viewing = new Viewing(subject, (image) => {
    if (image) gallery.activate(gallery.items.indexOf(image));
    else $("gallery").focus();
    keepQuery(image);
  });
  $("one").hidden = false;
  await readImages();
  const index = gallery.items.findIndex((one) => one.path === query.get("image"));
  if (index >= 0) viewing.open(gallery.items, index);
  predictAll();
}

function describe() {
  document.title = `${experiment.name} · Grad-CAM`;
  $("name").textContent = experiment.name;
  $("about").textContent =
    `${many(models.length, "model")}, ${many(testOf(experiment).images, "test image")}; ` +
    `classes ${experiment.classes.join(", ") || "unknown"}`;
  $("explain-all").href = `${base}/jobs?${new URLSearchParams({ experiment: experiment.path })}`;
  $("models").replaceChildren(...models.map(modelRow));
  if (models.length === 0)
    $("models").replaceChildren(
      el("tr", {}, el("td", { colSpan: 3 }, "This experiment holds no trained model.")),
    );
}

function modelRow(model) {
  const radio = el("input", {
    type: "radio",
    name: "model",
    value: model.id,
    checked: model.id === shownModel,
    disabled: Boolean(model.problem),
    onchange: () => {
      shownModel = model.id;
      applyFilters();
    },
  });
  const inputs = model.input_size ? `${model.input_size.join(" × ")} px` : "";
  const facts = [model.architecture, inputs].filter(Boolean).join(", ");
  const name = el("label", {}, radio, el("span", {}, model.name, el("small", {}, facts)));
  return el(
    "tr",
    { dataset: { model: model.id } },
    el("th", { scope: "row" }, name),
    el("td", { class: "score" }, "–"),
    el("td", {}, percent(model.val_acc) || "–"),
  );
}

async function readImages() {
  const total = testOf(experiment).images;
  for (let offset = 0; offset < total; offset += IMAGES_A_PAGE) {
    const path = `${experiment.links.images}?split=test&limit=${IMAGES_A_PAGE}&offset=${offset}`;
    images.push(...(await patiently(path, { as: "json" })).images);
    applyFilters();
  }
  if (total === 0) applyFilters();
}

async function predictAll() {
  showScores();
  for (let model = nextModel(); model; model = nextModel()) {
    const known = predictions.get(model);
    const asked = new URLSearchParams({ model, offset: known.size, limit: PAGE });
    try {
      const page = await patiently(`${experiment.links.self}/predictions?${asked}`, { as: "json" });
      for (const one of page.predictions) known.set(one.image, one);
      if (page.predictions.length === 0) refused.set(model, "The images have changed meanwhile.");
    } catch (error) {
      refused.set(model, error.detail ?? error.message);
    }
    showScores();
    applyFilters();
    if (complete(model)) announce(`${modelName(model)}: ${scoreText(model)}`);
  }
}

const complete = (model) => predictions.get(model).size >= images.length;
const modelName = (id) => models.find((one) => one.id === id)?.name ?? id;

/** The model shown first, then the others. */
function nextModel() {
  const open = models.map((one) => one.id).filter((id) => !refused.has(id) && !complete(id));
  return open.includes(shownModel) ? shownModel : open[0];
}

function scoreText(model) {
  const { judged, right, unread } = score(predictions.get(model));
  const left = unread > 0 ? `, ${unread} not read` : "";
  if (judged === 0) return `no known classes${left}`;
  return `${percent(right / judged)}, ${right} of ${judged}${complete(model) ? "" : " so far"}${left}`;
}

function showScores() {
  for (const { id } of models) {
    const cell = document.querySelector(`tr[data-model="${CSS.escape(id)}"] .score`);
    cell.classList.toggle("wrong", refused.has(id));
    cell.textContent = refused.get(id) ?? (predictions.get(id).size > 0 ? scoreText(id) : "–");
  }
  const asked = models.filter((one) => !refused.has(one.id));
  const done = asked.reduce((sum, one) => sum + predictions.get(one.id).size, 0);
  const total = asked.length * images.length;
  $("predicted").max = Math.max(1, total);
  $("predicted").value = done;
  $("predicted-text").textContent = `${done} of ${total} predictions`;
  $("predicting").hidden = done >= total;
}

// ---- filters

function setUpFilters() {
  const names = experiment.classes.map((name) => el("option", { value: name }, name));
  $("class").append(...names);
  for (const name of FILTERS) {
    const input = $(name);
    if (input.type === "checkbox") input.checked = query.get(name) === input.value;
    else if ([...input.options].some((one) => one.value === query.get(name)))
      input.value = query.get(name);
  }
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("change", applyFilters);
  $("clear").addEventListener("click", () => {
    $("filters").reset();
    applyFilters();
  });
}

function filters() {
  const values = Object.fromEntries(new FormData($("filters")));
  return { class: "", right: "", differ: "", sort: "", ...values, model: shownModel };
}

function applyFilters() {
  const found = chosen(images, predictions, filters());
  gallery.items = found;
  $("gallery").hidden = found.length === 0;
  $("none").hidden = found.length > 0 || images.length < testOf(experiment).images;
  $("count").textContent =
    found.length === images.length
      ? many(images.length, "image")
      : `${found.length} of ${many(images.length, "image")}`;
  if (!$("viewing").open) keepQuery(null);
}

function keepQuery(image) {
  const kept = Object.entries({ ...filters(), image: image?.path });
  const found = new URLSearchParams({ path: experiment.path });
  for (const [name, value] of kept) if (value) found.set(name, value);
  history.replaceState(null, "", `?${found}`);
}

// ---- tiles

function verdict(image) {
  const one = predictions.get(shownModel)?.get(image.path);
  if (!one) return { says: shownModel ? "…" : "", sure: "", kind: "" };
  if (one.problem) return { says: "! not read", sure: "", kind: "bad" };
  const sure = percent(one.probability);
  if (one.correct === null) return { says: one.predicted, sure, kind: "" };
  return one.correct
    ? { says: `✓ ${one.predicted}`, sure, kind: "good" }
    : { says: `✗ ${one.predicted}`, sure, kind: "bad" };
}

function drawTile(tile, image) {
  if (!tile.firstChild)
    tile.append(
      el("img", { alt: "", draggable: false }),
      el("span", { class: "says" }, el("span"), el("span")),
      el("span", { class: "truth" }),
      el("span", { class: "file" }),
      el("span", { class: "differs" }, "≠"),
    );
  const { says, sure, kind } = verdict(image);
  const [, said, truth, file, differs] = tile.children;
  tile.dataset.path = image.path;
  tile.dataset.kind = kind;
  said.firstChild.textContent = says;
  said.lastChild.textContent = sure;
  truth.textContent = image.true_class ? `is ${image.true_class}` : "";
  file.textContent = image.name;
  differs.hidden = !differ(image.path, predictions);
  tile.title = about(image);
  tile.setAttribute("aria-label", tile.title);
}

function about(image) {
  const one = predictions.get(shownModel)?.get(image.path);
  const truth = image.true_class ? `is ${image.true_class}` : "class unknown";
  if (!one) return `${image.name}, ${truth}`;
  if (one.problem) return `${image.name}, ${truth}, could not be read`;
  const judged = one.correct === null ? "" : one.correct ? ", right" : ", wrong";
  const differs = differ(image.path, predictions) ? ", models differ" : "";
  return `${image.name}, ${truth}, predicted ${one.predicted} ${percent(one.probability)}${judged}${differs}`;
}

function showPictures(tiles) {
  const wanted = tiles.map(([image, tile]) => [
    thumbnailOf(experiment, image.path, THUMBNAIL_PIXELS),
    tile.querySelector("img"),
  ]);
  pictures.want(new Map(wanted));
}

// ---- the dialog

function subject() {
  const others = models.filter((one) => one.id !== shownModel && !refused.has(one.id));
  const says = (id, path) => predictions.get(id).get(path)?.predicted;
  return {
    experiment: experiment.path,
    model: shownModel,
    about: (image) => `${modelName(shownModel)}: ${about(image).replace(`${image.name}, `, "")}`,
    other: (path) =>
      (others.find((one) => says(one.id, path) !== says(shownModel, path)) ?? others[0])?.id,
  };
}

start();
