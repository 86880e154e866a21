/** The page Experiments: all of them, or one with its models and test images. */

import { flushAddress, goBack, keepAddress, pushAddress, settled } from "../../shared/address.js";
import { announce, base, el, showProblem } from "../../shared/api.js";
import { showExperiments, testOf } from "./experiments.js";
import { Gallery } from "./gallery.js";
import { leftOutText, thumbnailOf } from "../../shared/images.js";
import { chosen, differ, score } from "./judging.js";
import { bestOf, breakable, many, percent } from "../../shared/models.js";
import { Pictures } from "../../shared/pictures.js";
import { Predicting } from "./predicting.js";
import { Viewing } from "./viewing.js";
import { patiently } from "../../shared/waiting.js";

const $ = (id) => document.getElementById(id);
const IMAGES_A_PAGE = 500;
const THUMBNAIL_PIXELS = 160;
const THUMBNAILS_AT_ONCE = 5; // a browser has six connections: one stays for predictions
const MOST_FOLDERS = 5; // named
const FILTERS = ["class", "right", "differ", "sort"];

const query = () => new URLSearchParams(location.search);
let experiment = null;
let models = [];
const images = [];
let shownModel = "";
let linked = query().get("image") ?? ""; // to be opened once it is there
let predicting = null;
let isAway = false;
const pictures = new Pictures(THUMBNAILS_AT_ONCE);
let gallery = null;
let viewing = null;

async function start() {
  try {
    const path = query().get("path");
    if (path) await showOne(path);
    else {
      await showExperiments($("experiments"));
      $("all").hidden = false;
    }
    $("state").hidden = true;
  } catch (error) {
    $("one").hidden = true;
    showProblem($("state"), error, () => location.reload());
  }
}

async function showOne(path) {
  const [found, answer] = await Promise.all([
    patiently(`/v1/experiments/${path.split("/").map(encodeURIComponent).join("/")}`, { as: "json" }),
    patiently("/v1/models", { as: "json" }),
  ]);
  experiment = found;
  models = answer.models.filter((one) => one.experiment === experiment.path);
  predicting = new Predicting(experiment, models);
  shownModel = bestOf(models)?.id ?? "";
  describe();
  setUpFilters();
  takeQuery();
  gallery = new Gallery($("gallery"), {
    key: (image) => image.path,
    draw: drawTile,
    open: (index) => openImage(gallery.items[index]),
    shown: showPictures,
  });
  viewing = new Viewing(subject, { moved, closed });
  window.addEventListener("popstate", revisit);
  $("state").hidden = true;
  $("one").hidden = false;
  await readImages();
  predictAll();
}

function describe() {
  document.title = `${experiment.name} · Grad-CAM`;
  $("name").replaceChildren(...breakable(experiment.name));
  $("about").textContent =
    `${many(models.length, "model")}, ${many(testOf(experiment).images, "test image")}; ` +
    `classes ${experiment.classes.join(", ") || "unknown"}`;
  $("left-out").textContent = leftOutText(experiment.skipped);
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
    disabled: Boolean(model.problem),
    onchange: () => {
      shownModel = model.id;
      applyFilters();
    },
  });
  const inputs = model.input_size ? `${model.input_size.join(" × ")} px` : "";
  const facts = [model.architecture, inputs].filter(Boolean).join(", ");
  const name = el("label", {}, radio, el("span", {}, breakable(model.name), el("small", {}, facts)));
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
    openLinked();
    applyFilters();
  }
  linked = "";
  predicting.total = images.length;
  applyFilters();
}

// ---- predictions

window.addEventListener("gradcam-away", (event) => {
  isAway = event.detail;
  if (predicting) showScores();
});

async function predictAll() {
  $("unpredicted").replaceChildren();
  showScores();
  try {
    await predicting.run(
      () => shownModel,
      (model) => {
        showScores();
        applyFilters();
        if (predicting.isDone(model)) announce(`${modelName(model)}: ${scoreText(model)}`);
      },
    );
  } catch (error) {
    showProblem($("unpredicted"), error, predictAll);
  }
}

const modelName = (id) => models.find((one) => one.id === id)?.name ?? id;

function scoreText(model) {
  if (predicting.refused.has(model)) return predicting.refused.get(model);
  const { judged, right, unread, all } = score(predicting.found.get(model));
  const left = unread > 0 ? `, ${unread} not read` : "";
  const soFar = predicting.isDone(model) ? "" : " so far";
  if (judged === 0) return `no known classes${soFar}${left}`;
  const known = judged < all - unread ? `; ${judged} of ${all - unread} known` : "";
  return `${percent(right / judged)}, ${right} of ${judged}${known}${soFar}${left}`;
}

/** Folders of images whose names are no class of the models that predicted. */
function noClassText(byModel) {
  const saying = new Map(); // words -> models
  for (const [model, folders] of byModel) {
    const named = Object.entries(folders).map(([name, count]) => `${name} (${many(count, "image")})`);
    if (named.length === 0) continue;
    const more = named.length > MOST_FOLDERS ? ` and ${named.length - MOST_FOLDERS} more` : "";
    const words = named.slice(0, MOST_FOLDERS).join(", ") + more;
    saying.set(words, [...(saying.get(words) ?? []), modelName(model)]);
  }
  const whose = (names) =>
    names.length < byModel.size ? names.join(", ") : names.length > 1 ? "these models" : "this model";
  const said = [...saying].map(([words, names]) => `Folders that are no class of ${whose(names)}: ${words}.`);
  return said.join(" ");
}

function showScores() {
  for (const { id } of models) {
    const cell = document.querySelector(`tr[data-model="${CSS.escape(id)}"] .score`);
    const isKnown = predicting.refused.has(id) || predicting.found.get(id).size > 0;
    cell.classList.toggle("wrong", predicting.refused.has(id));
    cell.textContent = isKnown ? scoreText(id) : "–";
  }
  $("no-class").textContent = noClassText(predicting.foldersOfNoClass);
  const { done, total } = predicting.progress;
  const waiting = isAway ? "; waiting for the service, goes on by itself" : "";
  $("predicting").hidden = !Number.isFinite(total) || predicting.isDone();
  if ($("predicting").hidden) return;
  $("predicted").max = Math.max(1, total);
  $("predicted").value = done;
  $("predicted-text").textContent = `${done} of ${total} predictions${waiting}`;
}

// ---- filters

function setUpFilters() {
  const names = experiment.classes.map((name) => el("option", { value: name }, name));
  $("class").append(...names);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("change", applyFilters);
  $("clear").addEventListener("click", () => {
    $("filters").reset();
    applyFilters();
  });
}

/** Set model and filters to what the address says. */
function takeQuery() {
  const wanted = query();
  const named = models.find((one) => one.id === wanted.get("model") && !one.problem);
  shownModel = named?.id ?? shownModel;
  for (const radio of document.querySelectorAll("[name=model]"))
    radio.checked = radio.value === shownModel;
  for (const name of FILTERS) {
    const input = $(name);
    const value = wanted.get(name) ?? "";
    if (input.type === "checkbox") input.checked = value === input.value;
    else input.value = [...input.options].some((one) => one.value === value) ? value : "";
  }
}

function filters() {
  const values = Object.fromEntries(new FormData($("filters")));
  return { class: "", right: "", differ: "", sort: "", ...values, model: shownModel };
}

/** Whether the list may still change: images or predictions are to come that it depends on. */
function isOpen() {
  const { right, differ: differing, sort } = filters();
  if (!Number.isFinite(predicting.total)) return true;
  return Boolean((right || sort) && !predicting.isDone(shownModel)) || Boolean(differing && !predicting.isDone());
}

function applyFilters() {
  const found = chosen(images, predicting.found, filters());
  gallery.items = found;
  if (viewing.image) viewing.items = listWith(viewing.image);
  $("gallery").hidden = found.length === 0;
  $("none").hidden = found.length > 0 || (images.length === 0 && testOf(experiment).images > 0);
  $("none-title").textContent = isOpen() ? "No image is like this so far" : "No image is like this";
  $("none-text").textContent = isOpen()
    ? "More may come: the models have not seen all images yet."
    : "Nothing passes these filters.";
  $("count").textContent = countText(found);
  keepAddress(addressOf(viewing.image?.path ?? linked));
}

function countText(found) {
  const all = many(images.length, "image");
  const soFar = isOpen() ? " so far" : "";
  if (found.length !== images.length) return `${found.length} of ${all}${soFar}`;
  return filters().sort && soFar ? `${all}, in this order so far` : `${all}${soFar}`;
}

/** What reopens this view, and the dialog with an image where one is named. */
function addressOf(image) {
  const kept = new URLSearchParams({ path: experiment.path });
  for (const [name, value] of Object.entries({ ...filters(), image }))
    if (value) kept.set(name, value);
  return `?${kept}`;
}

// ---- tiles

function verdict(image) {
  const one = predicting.found.get(shownModel)?.get(image.path);
  if (!one) return { says: predicting.isDone(shownModel) ? "" : "…", sure: "", kind: "" };
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
  differs.hidden = !differ(image.path, predicting.found);
  tile.title = about(image);
  tile.setAttribute("aria-label", tile.title);
}

function about(image) {
  const one = predicting.found.get(shownModel)?.get(image.path);
  const truth = image.true_class ? `is ${image.true_class}` : "class unknown";
  if (!one) return `${image.name}, ${truth}`;
  if (one.problem) return `${image.name}, ${truth}, could not be read`;
  const judged = one.correct === null ? "" : one.correct ? ", right" : ", wrong";
  const differs = differ(image.path, predicting.found) ? ", models differ" : "";
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
  const others = models.filter((one) => one.id !== shownModel && !predicting.refused.has(one.id));
  const says = (id, path) => predicting.found.get(id)?.get(path)?.predicted;
  return {
    experiment: experiment.path,
    model: shownModel,
    note: isOpen() ? " so far" : "",
    about: (image) => `${modelName(shownModel)}: ${about(image).replace(`${image.name}, `, "")}`,
    other: (path) =>
      (others.find((one) => says(one.id, path) !== says(shownModel, path)) ?? others[0])?.id,
  };
}

/** The images that pass the filters, and the one on show, which may not be predicted yet. */
const listWith = ({ path }) => chosen(images, predicting.found, { ...filters(), also: path });

/** Open an image as an entry of the history, so that Back closes it. */
async function openImage(image) {
  await settled();
  pushAddress(addressOf(image.path), { dialog: true });
  viewing.open(listWith(image), image);
}

/** Open the image that the address names, as soon as it is known. */
function openLinked() {
  const image = images.find((one) => one.path === linked);
  if (!image) return;
  linked = "";
  viewing.open(listWith(image), image);
}

function moved(image) {
  viewing.items = listWith(image);
  activate(image);
  keepAddress(addressOf(image.path));
}

function activate(image) {
  const index = gallery.items.findIndex((one) => one.path === image.path);
  if (index >= 0) gallery.activate(index);
}

function closed() {
  $("gallery").focus();
  flushAddress();
  if (!query().has("image")) return; // by Back
  if (history.state?.dialog) goBack();
  else keepAddress(addressOf(""));
}

/** Show what another entry of the history is of. */
function revisit() {
  if (location.hash) return;
  takeQuery();
  linked = query().get("image") ?? "";
  if (linked) openLinked();
  else viewing.close();
  applyFilters();
}

start();
