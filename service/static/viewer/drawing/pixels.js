/** Pictures, from files to pixels and back. */

import { make } from "../common/dom.js";

/** px; the longer side of a preview and of a picture that is downloaded is no longer. */
export const MOST_SIDE = 2048;

const LARGE_FILE = 2 ** 18; // bytes
const PREVIEW_WIDTH = 1024; // px, of a large file

/** A PNG's RGBA pixels, an int32 each: unsigned ones would be drawn more slowly. */
export async function readPixels(blob) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, options);
  const { width, height } = bitmap;
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Int32Array(context.getImageData(0, 0, width, height).data.buffer);
}

const previews = new WeakMap(); // file -> promise of its picture, until it is explained

/** A copy of a file's own picture, decoded once for all viewers of it; null where it has none. */
export async function previewOf(file) {
  if (!previews.has(file)) previews.set(file, pictureOf(file));
  const picture = await previews.get(file);
  if (!picture) return null;
  const { width, height } = picture;
  const canvas = make("canvas", { class: "preview", width, height, "aria-hidden": "true" });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas;
}

/** Its preview is no longer needed. */
export const dropPreview = (file) => previews.delete(file);

/**
 * A file's picture, upright and not too large, on a canvas; null where the browser cannot
 * decode it, as a TIFF.
 */
async function pictureOf(file) {
  try {
    // Where it may be large it is made small away from the page's own thread.
    const options = file.size > LARGE_FILE ? { resizeWidth: PREVIEW_WIDTH, resizeQuality: "medium" } : {};
    const bitmap = await createImageBitmap(file, options);
    const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    return canvas;
  } catch {
    return null;
  }
}

/** A canvas as a PNG. */
export const pngOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
