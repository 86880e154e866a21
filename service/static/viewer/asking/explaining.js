/** Explanations, asked for once by all viewers of a page and kept while there is room. */

import { Explanation } from "./explanation.js";
import { isGone } from "./service.js";

const KEPT_BYTES = 96 * 2 ** 20; // explanations at hand for viewers of the same image

const kept = new Map(); // request -> {promise, explanation} of it, the last used last
const fileNumbers = new WeakMap();
let files = 0;

/** A number for each file, the same each time; null for none. */
export function numberOf(file) {
  if (file && !fileNumbers.has(file)) fileNumbers.set(file, (files += 1));
  return file ? fileNumbers.get(file) : null;
}

const keyOf = (service, fields, file) =>
  JSON.stringify([service.base, service.headers, fields, numberOf(file)]);

/** What was asked for just so, if it is at hand. */
export const atHand = (service, fields, file) => kept.get(keyOf(service, fields, file))?.explanation;

/** Ask once for what several viewers of a page show. */
export async function explanationOf(service, fields, file, kind, fresh) {
  const key = keyOf(service, fields, file);
  const known = fresh ? null : kept.get(key);
  const entry = known ?? { promise: fetchExplanation(service, fields, file, kind) };
  kept.delete(key);
  kept.set(key, entry);
  try {
    entry.explanation = await entry.promise;
    makeRoom();
    return entry.explanation;
  } catch (error) {
    if (kept.get(key) === entry) kept.delete(key);
    throw error;
  }
}

function makeRoom() {
  const bytesOf = ({ explanation }) => explanation?.bytes ?? 0;
  let used = [...kept.values()].reduce((sum, one) => sum + bytesOf(one), 0);
  for (const [key, one] of kept) {
    if (used <= KEPT_BYTES || kept.size === 1) return;
    kept.delete(key);
    used -= bytesOf(one);
  }
}

async function fetchExplanation(service, fields, file, kind, again = true) {
  const answer = await service.explain(fields, file, "application/json");
  const facts = await answer.json();
  try {
    const explanation = new Explanation(facts);
    await explanation.fetchImage(service, facts.options.clahe ? kind : "original");
    return explanation;
  } catch (error) {
    // The service may have put it out of memory between the two requests.
    if (again && isGone(error)) return fetchExplanation(service, fields, file, kind, false);
    throw error;
  }
}
