/** Waiting for a service that is busy. */

import { api } from "./api.js";

/** Resolves after so long. @throws {DOMException} AbortError, as soon as the signal says so */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("no longer wanted", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

/** As api(), but asked again, up to `times`, when the service says when (Retry-After). */
export async function patiently(path, options = {}, times = 20) {
  for (let left = times; ; left -= 1) {
    try {
      return await api(path, options);
    } catch (error) {
      if (!error.retryAfter || left <= 0) throw error;
      await pause(error.retryAfter * 1000, options.signal);
    }
  }
}
