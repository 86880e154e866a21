/** A picture with its colour bar and caption. */

const FONT = "system-ui, sans-serif";
const INK = "#1b2226";
const SOFT = "#566067";
const BAD = "#a3201d";
const HIDDEN = "#d5dadd";
const NARROWEST = 420; // px; a smaller picture stands in the middle
const UNIT_WIDTH = 640; // px of a figure whose letters have their plain size
const TICKS = [0, 0.25, 0.5, 0.75, 1];

/**
 * A canvas: the picture on white, beneath it the bar of colours and lines of text.
 *
 * colours: (256 x 3) bytes RGB. threshold: 0..1, below which the bar has no colours. lines:
 * {text, bold, soft, bad} each, broken where they are too long.
 */
export function figureOf(picture, { colours, threshold, lines }) {
  const width = Math.max(picture.width, NARROWEST);
  const unit = Math.max(1, width / UNIT_WIDTH);
  const edge = Math.round(12 * unit);
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const broken = lines.flatMap((line) => brokenLine(context, line, unit, width - 2 * edge));
  const bar = { top: picture.height + edge, height: Math.round(12 * unit) };
  const text = bar.top + bar.height + Math.round(22 * unit);
  const spaces = broken.map(({ size }) => Math.round(1.4 * size));
  canvas.width = width;
  canvas.height = text + spaces.reduce((sum, one) => sum + one, 0) + edge;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, Math.round((width - picture.width) / 2), 0);
  drawBar(context, { ...bar, left: edge, width: width - 2 * edge }, colours, threshold, unit);
  let baseline = text;
  for (const [i, { words, font, colour, size }] of broken.entries()) {
    Object.assign(context, { font, fillStyle: colour, textAlign: "left" });
    context.fillText(words, edge, baseline + size);
    baseline += spaces[i];
  }
  return canvas;
}

function brokenLine(context, { text, bold = false, soft = false, bad = false }, unit, width) {
  const size = Math.round((bold ? 17 : 14) * unit);
  const font = `${bold ? 600 : 400} ${size}px ${FONT}`;
  const colour = bad ? BAD : soft ? SOFT : INK;
  context.font = font;
  const found = [""];
  for (const word of pieces(context, text, width)) {
    const longer = found.at(-1) ? `${found.at(-1)} ${word}` : word;
    if (context.measureText(longer).width <= width) found[found.length - 1] = longer;
    else found.push(word);
  }
  return found.map((words) => ({ words, font, colour, size }));
}

/** The words of a text; one that is too long for a line, as long names are, in pieces. */
function pieces(context, text, width) {
  return text.split(" ").flatMap((word) => {
    if (context.measureText(word).width <= width) return [word];
    const found = [""];
    for (const letter of word) {
      const longer = found.at(-1) + letter;
      if (context.measureText(longer).width <= width) found[found.length - 1] = longer;
      else found.push(letter);
    }
    return found;
  });
}

function drawBar(context, { left, top, width, height }, colours, threshold, unit) {
  for (let x = 0; x < width; x++) {
    const i = Math.min(255, Math.floor((256 * x) / width));
    const [red, green, blue] = colours.subarray(3 * i, 3 * i + 3);
    const hidden = i < 255 * threshold;
    context.fillStyle = hidden ? HIDDEN : `rgb(${red} ${green} ${blue})`;
    context.fillRect(left + x, top, 1, height);
  }
  const size = Math.round(12 * unit);
  Object.assign(context, { font: `400 ${size}px ${FONT}`, fillStyle: SOFT });
  for (const tick of TICKS) {
    context.textAlign = tick === 0 ? "left" : tick === 1 ? "right" : "center";
    const words = tick === 1 ? "100 %" : String(100 * tick);
    context.fillText(words, left + tick * width, top + height + Math.round(1.2 * size));
  }
}
