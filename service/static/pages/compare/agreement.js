/** How much two maps agree, and where they differ. */

const PURPLE = [94, 60, 153]; // B higher
const WHITE = [247, 247, 247];
const ORANGE = [230, 97, 1]; // A higher

/** Pearson's correlation of two arrays; null where one of them does not vary. */
export function correlation(a, b) {
  const count = a.length;
  let [sumA, sumB] = [0, 0];
  for (let i = 0; i < count; i++) {
    sumA += a[i];
    sumB += b[i];
  }
  const [meanA, meanB] = [sumA / count, sumB / count];
  let [both, squareA, squareB] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const [x, y] = [a[i] - meanA, b[i] - meanB];
    both += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  return squareA * squareB > 0 ? both / Math.sqrt(squareA * squareB) : null;
}

/** Intersection over union of the `share` highest values above 0; null where there are none. */
export function overlap(a, b, share = 0.2) {
  const [fromA, fromB] = [threshold(a, share), threshold(b, share)];
  let [both, either] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const [inA, inB] = [a[i] > 0 && a[i] >= fromA, b[i] > 0 && b[i] >= fromB];
    both += inA && inB;
    either += inA || inB;
  }
  return either > 0 ? both / either : null;
}

function threshold(values, share) {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * (1 - share)))];
}

/** The colour of a difference of -1..1, RGB: purple, white, orange. */
export function diverging(difference) {
  const end = difference < 0 ? PURPLE : ORANGE;
  const part = Math.min(1, Math.abs(difference));
  return WHITE.map((white, i) => Math.round(white + (end[i] - white) * part));
}

const STEPS = 255; // colours of each sign
const COLOURS = Array.from({ length: 2 * STEPS + 1 }, (_, i) => diverging(i / STEPS - 1));

/** Draw `values` (-1..1, row by row) onto a canvas of that size. */
export function drawDifference(canvas, values, width, height) {
  Object.assign(canvas, { width, height });
  const picture = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const [red, green, blue] = COLOURS[Math.round((values[i] + 1) * STEPS)];
    const at = 4 * i;
    picture.data[at] = red;
    picture.data[at + 1] = green;
    picture.data[at + 2] = blue;
    picture.data[at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
