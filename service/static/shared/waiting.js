/** Waiting for a service that is busy, or away. */

import { api } from "./api.js";
import { answering, longer } from "./outage.js";
import { pause } from "./pause.js";

export { pause } from "./pause.js";

const MOST_TRIES = 20;
// These pass by themselves, however long it takes; other reasons to wait may never end.
const PASSING = ["offline", "queue-full", "rate-limited", "shutting-down", "warming-up"];

/**
 * As api(), but asked again where the service is away, or busy and says when (Retry-After).
 * options.tries: how often for other reasons than those that pass by themselves.
 */
export async function patiently(path, { tries = MOST_TRIES, ...options } = {}) {
  let wait = 0;
  for (let left = tries; ; ) {
    try {
      return await api(path, options);
    } catch (error) {
      if (!PASSING.includes(error.code)) left -= error.retryAfter ? 1 : tries + 1;
      if (error.name !== "ApiProblem" || left < 0) throw error;
      wait = longer(wait);
      await pause(Math.max(wait, 1000 * error.retryAfter), options.signal);
      await answering(options.signal);
    }
  }
}
