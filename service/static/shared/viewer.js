/** Loading <cam-viewer>, which comes after a page's own scripts. */

import { answering, longer, lost } from "./outage.js";
import { pause } from "./pause.js";

const MOST_TRIES = 20;

/**
 * Resolves once <cam-viewer> is defined. Where its scripts do not come, as when the service is away,
 * they are asked for again. @throws {TypeError} if they never come
 */
export const viewerThere = load();
viewerThere.catch(() => {}); // said by whoever waits for it

async function load() {
  let wait = 0;
  for (let tries = 0; ; tries++) {
    try {
      return await import(addressOf(tries));
    } catch (error) {
      if (tries === MOST_TRIES) throw error;
      lost();
      wait = longer(wait);
      await pause(wait);
      await answering();
    }
  }
}

/**
 * Browsers remember modules that did not come; under another version's address they are others,
 * with the same text.
 */
function addressOf(tries) {
  const again = `../../${tries.toString(16).padStart(12, "0")}/cam-viewer.js`;
  return new URL(tries === 0 ? "../cam-viewer.js" : again, import.meta.url).href;
}
