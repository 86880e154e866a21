/**
 * From a layer's cells to its map at a picture's size, by the rule of cam_engine/pictures/rendering.py:
 * bicubic to some samples a cell, a bilateral filter of one cell's width, bicubic to the size.
 * Tests hold the two together. Maps are Float32Array, row by row, 0..1.
 */

import { SMOOTHING } from "../common/facts.js";

const CUBIC = -0.75; // the cubic's coefficient, as OpenCV has it
const NEARLY_NONE = 1e-3; // of an area; less does not count there

/** The cells of a layer as the service sends them: base64 of little-endian float32. */
export function cellsOf(text) {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** The map of [rows, columns] cells at height x width pixels. */
export function fullSizeMap(cells, [rows, columns], height, width) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of cells) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (high <= 0) return new Float32Array(height * width);
  const samples = samplesOf(Math.max(rows, columns));
  const fine = { height: rows * samples, width: columns * samples };
  const curved = resize(cells, rows, columns, fine.height, fine.width, low, high);
  const smooth = high - low < 1e-7 ? curved : bilateral(curved, fine, samples);
  return resize(smooth, fine.height, fine.width, height, width, low, high);
}

function samplesOf(longer) {
  const { samples: usual, samples_large: few, large_side: large, longest_side: longest } = SMOOTHING;
  const samples = longer * usual > large ? few : usual;
  return Math.max(1, Math.min(samples, Math.floor(longest / longer)));
}

/** Bicubic, or by area where both sides shrink; then clamped to low..high. */
function resize(values, rows, columns, height, width, low, high) {
  if (rows === height && columns === width) return values;
  const along = height <= rows && width <= columns ? areas : cubics;
  const wide = resizeRows(values, rows, columns, along(columns, width), width);
  return resizeColumns(wide, width, along(rows, height), height, low, high);
}

/**
 * Which samples make each of `to` ones, and with what weight: `count` of them for each, a
 * multiple of 4.
 */
function tapsOf(to, count) {
  const padded = 4 * Math.ceil(count / 4);
  return { count: padded, at: new Int32Array(padded * to), weights: new Float32Array(padded * to) };
}

function cubics(from, to) {
  const taps = tapsOf(to, 4);
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    const place = (i + 0.5) * scale - 0.5;
    const before = Math.floor(place);
    const [a, b, c] = cubicWeights(place - before);
    taps.weights.set([a, b, c, 1 - a - b - c], 4 * i);
    for (let k = 0; k < 4; k++) {
      taps.at[4 * i + k] = Math.min(from - 1, Math.max(0, before - 1 + k));
    }
  }
  return taps;
}

/** Weights of the samples at -1, 0 and 1 for a place x between 0 and 1; that at 2 has the rest. */
function cubicWeights(x) {
  const far = (t) => ((CUBIC * t - 5 * CUBIC) * t + 8 * CUBIC) * t - 4 * CUBIC;
  const near = (t) => ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1;
  return [far(x + 1), near(x), near(1 - x)];
}

function areas(from, to) {
  const scale = from / to;
  const taps = tapsOf(to, Math.ceil(scale) + 2);
  for (let i = 0; i < to; i++) {
    const start = i * scale;
    const end = Math.min(start + scale, from);
    let k = taps.count * i;
    for (let at = Math.floor(start); at < Math.min(from, Math.ceil(end)); at++) {
      const part = Math.min(end, at + 1) - Math.max(start, at);
      if (part < NEARLY_NONE) continue;
      taps.at[k] = at;
      taps.weights[k] = part / (end - start);
      k += 1;
    }
  }
  return taps;
}

function resizeRows(values, rows, columns, { count, at, weights }, width) {
  const out = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let k = x * count; k < (x + 1) * count; k++) sum += values[start + at[k]] * weights[k];
      out[row * width + x] = sum;
    }
  }
  return out;
}

function resizeColumns(values, width, { count, at, weights }, height, low, high) {
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const row = out.subarray(y * width, (y + 1) * width);
    for (let k = y * count; k < (y + 1) * count; k += 4) {
      const [p, q, r, s] = [0, 1, 2, 3].map((i) => at[k + i] * width);
      const [a, b, c, d] = weights.subarray(k, k + 4);
      for (let x = 0; x < width; x++) {
        row[x] += a * values[p + x] + b * values[q + x] + c * values[r + x] + d * values[s + x];
      }
    }
    for (let x = 0; x < width; x++) {
      const value = row[x];
      row[x] = value < low ? low : value > high ? high : value;
    }
  }
  return out;
}

/** Smooths within a circle and keeps edges; beyond the borders the map is mirrored. */
function bilateral(values, { height, width }, samples) {
  const radius = Math.max(1, Math.floor((samples + 1) / 2));
  const { wide, padded } = mirrored(values, height, width, radius);
  const { offsets, weights } = neighbours(radius, wide, SMOOTHING.sigma_cells * samples);
  const colour = -0.5 / (SMOOTHING.sigma_colour * SMOOTHING.sigma_colour);
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y + radius) * wide + x + radius;
      const middle = padded[at];
      let sum = middle;
      let total = 1;
      for (let k = 0; k < offsets.length; k++) {
        const value = padded[at + offsets[k]];
        const gap = value - middle;
        const weight = weights[k] * Math.exp(colour * gap * gap);
        sum += weight * value;
        total += weight;
      }
      out[y * width + x] = sum / total;
    }
  }
  return out;
}

function mirrored(values, height, width, radius) {
  const wide = width + 2 * radius;
  const padded = new Float32Array(wide * (height + 2 * radius));
  const inside = (i, side) => {
    const last = Math.max(1, side - 1);
    const folded = Math.abs(i) % (2 * last);
    return Math.min(side - 1, folded > last ? 2 * last - folded : folded);
  };
  for (let y = -radius; y < height + radius; y++) {
    const row = inside(y, height) * width;
    for (let x = -radius; x < width + radius; x++) {
      padded[(y + radius) * wide + x + radius] = values[row + inside(x, width)];
    }
  }
  return { wide, padded };
}

function neighbours(radius, wide, sigma) {
  const offsets = [];
  const weights = [];
  for (let y = -radius; y <= radius; y++) {
    for (let x = -radius; x <= radius; x++) {
      const squared = x * x + y * y;
      if (squared === 0 || squared > radius * radius) continue;
      offsets.push(y * wide + x);
      weights.push(Math.exp((-0.5 * squared) / (sigma * sigma)));
    }
  }
  return { offsets: Int32Array.from(offsets), weights: Float64Array.from(weights) };
}
