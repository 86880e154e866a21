/** The picture that is downloaded: with colour bar and caption, and how it was made. */

import { coloursOf } from "../drawing/colours.js";
import { LEVELS } from "../drawing/contours.js";
import { figureOf } from "./figure.js";
import { labelOf } from "../common/methods.js";
import { pngOf } from "../drawing/pixels.js";
import { withText } from "./png-text.js";
import { NO_EVIDENCE, OF_MAXIMUM, percent, title } from "../common/words.js";

/** A PNG of a canvas, which shows the layer of an answer by the options and the transform. */
export async function captionedPng(canvas, facts, layer, options, transform) {
  const figure = {
    colours: coloursOf(options.get("colormap")),
    threshold: options.number("threshold"),
    lines: figureLines(facts, layer, options, transform),
  };
  return withText(await pngOf(figureOf(canvas, figure)), chunks(layer, options, transform));
}

/** What the picture says beneath its colours. */
function figureLines({ prediction, target, image, model, options: answered }, layer, options, transform) {
  const { name, facts } = layer;
  const known = image.true_class ? `. True class: ${image.true_class}` : "";
  const cells = facts.grid.join(" × ");
  const about = `${title(name)}: ${facts.label} · ${labelOf(facts.method)} · ${cells} cells`;
  return [
    { text: OF_MAXIMUM, soft: true },
    { text: `Predicted ${prediction.name}, ${percent(prediction.probability)}`, bold: true },
    { text: `Explained: ${target.name}, ${percent(target.probability)}${known}` },
    ...(facts.empty ? [{ text: NO_EVIDENCE, bad: true }] : []),
    { text: about },
    { text: `${model.name} · ${image.name.split(/[/\\]/).pop()}`, soft: true },
    ...viewWords(answered, options, transform).map((text) => ({ text, soft: true })),
  ];
}

/** What of the view a reader of the picture would not guess. */
function viewWords(answered, options, { scale }) {
  const hidden = Math.round(100 * options.number("threshold"));
  const lines = LEVELS.map((one) => `${100 * one}`).join(", ");
  const words = [
    answered.clahe && options.get("base") === "enhanced" && "image after CLAHE",
    options.isShown && options.isContour && `lines at ${lines} % of the maximum`,
    !options.isShown && "overlay off",
    options.isShown && hidden > 0 && `below ${hidden} % hidden`,
    scale > 1 && `a part of the image, ${Math.round(100 * scale)} %`,
  ].filter(Boolean);
  return words.length > 0 ? [title(words.join(" · "))] : [];
}

/** How the picture was made: as the service says it of its own, and what the viewer did. */
function chunks({ facts }, options, transform) {
  const view = {
    drawn: "in the viewer",
    opacity: options.number("opacity"),
    threshold: options.number("threshold"),
    colormap: options.get("colormap"),
    mode: options.get("mode"),
    base: options.get("base"),
    overlay: options.isShown,
    grid: options.hasGrid,
    zoom: transform,
  };
  return { ...facts.recipe, View: JSON.stringify(view) };
}
