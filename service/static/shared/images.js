/** Images of an experiment. */

import { patiently } from "./waiting.js";

const PAGE = 500;
const known = new Map(); // address of the list -> promise of all its images

/** All images of an experiment, in the service's order; asked for once. */
export function imagesOf(experiment) {
  const address = `${experiment.links.images}?limit=${PAGE}`;
  if (!known.has(address)) known.set(address, allPages(address));
  const images = known.get(address);
  images.catch(() => known.delete(address));
  return images;
}

async function allPages(address) {
  const images = [];
  for (let next = address; next; ) {
    const page = await patiently(next, { as: "json" });
    images.push(...page.images);
    next = page.links.next;
  }
  return images;
}

/** What was left out where images were looked for, as a sentence; "" where nothing was. */
export const leftOutText = (skipped) => (skipped?.total ? `Skipped: ${skipped.words}.` : "");

/** Where an image's thumbnail is, at most `size` pixels wide and high. */
export function thumbnailOf(experiment, image, size) {
  const path = image.split("/").map(encodeURIComponent).join("/");
  return `${experiment.links.self}/thumbnails/${path}?size=${size}`;
}
