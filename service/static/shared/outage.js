/** Whether the service answers: said in the banner, and waited for by those who need it. */

import { pause } from "./pause.js";

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 10_000;
const GATEWAY_ANSWERS = [502, 503, 504];
const base = document.documentElement.dataset.base ?? "";
let away = null; // {over: Promise, end: () => void} while it does not answer

/** The pause before another try, which grows with each one that failed. */
export const longer = (wait) => Math.min(wait === 0 ? FIRST_WAIT : 1.5 * wait, LONGEST_WAIT);

/** Whether an answer is that of a proxy whose service is away; the service's own have a code. */
export const isGateway = (status, code) => GATEWAY_ANSWERS.includes(status) && !code;

/** To be told of every answer of the service. */
export function heard() {
  if (!away) return;
  showBanner(false);
  away.end();
  away = null;
}

/** To be told of every request without an answer; the service is then asked until it answers. */
export function lost() {
  if (away) return;
  showBanner(true);
  let end = null;
  const over = new Promise((resolve) => {
    end = resolve;
  });
  away = { over, end };
  askUntilHeard();
}

/** Resolves once the service answers, at once where it does. @throws {DOMException} AbortError */
export async function answering(signal) {
  if (!away) return;
  const stopped = new Promise((_, reject) => {
    const stop = () => reject(new DOMException("no longer wanted", "AbortError"));
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
  await Promise.race([away.over, stopped]);
}

async function askUntilHeard() {
  for (let wait = longer(0); away; wait = longer(wait)) {
    await pause(wait);
    if (!away) return;
    const answer = await fetch(`${base}/healthz`, { cache: "no-store" }).catch(() => null);
    if (answer && !GATEWAY_ANSWERS.includes(answer.status)) heard();
  }
}

/** The banner, and the event gradcam-away for those who have more to say. */
function showBanner(shown) {
  const banner = document.getElementById("offline");
  if (banner) banner.hidden = !shown;
  window.dispatchEvent(new CustomEvent("gradcam-away", { detail: shown }));
}

// Viewers ask for themselves.
window.addEventListener("cam-load", heard);
window.addEventListener("cam-error", ({ detail }) => detail.problem.code === "offline" && lost());
