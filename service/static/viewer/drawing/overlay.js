/** Colours over an image: numbers in, pixels out. */

import { coloursOf } from "./colours.js";
import { clamp } from "../common/numbers.js";

const STEPS = 16; // levels that one colour is drawn with: two at its edges, the rest within
const EDGE = 1 / 1024; // width of an edge, as a share of the colour's

/**
 * A map in levels that a small table can hold: STEPS a colour, whose borders are those of the
 * service's colours, round(255 value). A table of many more would not stay in the processor's first
 * cache.
 */
export function levelsOf(values) {
  const levels = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const place = 255 * values[i] + 0.5;
    const row = place | 0;
    const inside = place - row;
    const step = inside < EDGE ? 0 : inside >= 1 - EDGE ? STEPS - 1 : 1 + ((inside * (STEPS - 2)) | 0);
    levels[i] = row * STEPS + step;
  }
  return levels;
}

/** The value, 0..1, in the middle of a level. */
function valueOf(level) {
  const inside = clamp(((level % STEPS) - 0.5) / (STEPS - 2), 0, 1);
  return clamp((Math.floor(level / STEPS) + inside - 0.5) / 255, 0, 1);
}

/**
 * What a level of the map does to a pixel: result = (keep * image + opacity * colour) / 256,
 * rounded; red and blue in one number. Opacity is the service's: adaptive is a smoothstep of the
 * value times `opacity`. So are the colours, but at the edge of one it is mixed with the next: maps
 * agree with the service's to a millionth or so, and a value may be beyond the edge there.
 */
export function blendTable({ colormap, opacity, threshold, blend }) {
  const colours = coloursOf(colormap);
  const count = 256 * STEPS;
  const keep = new Int32Array(count).fill(256);
  const redBlue = new Int32Array(count).fill(0x800080);
  const green = new Int32Array(count).fill(0x80);
  for (let level = 0; level < count; level++) {
    const share = valueOf(level);
    if (share < threshold) continue;
    const weight = blend === "uniform" ? 1 : share * share * (3 - 2 * share);
    const part = Math.round(256 * opacity * weight);
    const row = Math.floor(level / STEPS);
    const step = level % STEPS === 0 ? -1 : Number(level % STEPS === STEPS - 1);
    const [red, greens, blue] = between(colours, row, clamp(row + step, 0, 255), part);
    keep[level] = 256 - part;
    redBlue[level] += 0x10000 * blue + red;
    green[level] += greens;
  }
  return { keep, redBlue, green };
}

/** The mean of two rows of a colour table, times a part of 256. */
function between(colours, row, other, part) {
  return [0, 1, 2].map((i) => Math.round(((colours[3 * row + i] + colours[3 * other + i]) * part) / 2));
}

/** Lay a map's levels over RGBA pixels (int32, little-endian) into `out`. */
export function layOver(image, levels, { keep, redBlue, green }, out) {
  for (let i = 0; i < out.length; i++) {
    const level = levels[i];
    const pixel = image[i];
    const part = keep[level];
    const rb = (Math.imul(pixel & 0xff00ff, part) + redBlue[level]) >>> 8;
    const g = Math.imul((pixel >>> 8) & 0xff, part) + green[level];
    out[i] = (rb & 0xff00ff) | (g & 0xff00) | 0xff000000;
  }
}
