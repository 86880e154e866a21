/** The page's address, which reopens what is seen, and the entries of the browser's history. */

const QUIET_MILLISECONDS = 300;
const REFUSED_MILLISECONDS = 5000;
let wanted = null; // of the current entry, where that is to come
let timer = 0;
let changed = -Infinity; // when an address was last wanted
let leaving = null; // a way back that has not ended

/**
 * Give the current entry an address: at once where none was wanted just before, else once no other
 * is wanted for a moment. Browsers allow few changes, and a slider makes many.
 */
export function keepAddress(address) {
  if (leaving || address === wanted || (wanted === null && isCurrent(address))) return;
  const isQuiet = performance.now() - changed > QUIET_MILLISECONDS;
  changed = performance.now();
  wanted = address;
  clearTimeout(timer);
  if (isQuiet) flushAddress();
  else timer = setTimeout(flushAddress, QUIET_MILLISECONDS);
}

/** Give the current entry its address now. */
export function flushAddress() {
  clearTimeout(timer);
  const address = wanted;
  wanted = null;
  if (address === null || isCurrent(address)) return;
  try {
    history.replaceState(history.state, "", address);
  } catch {
    wanted = address; // browsers refuse changes that come too fast
    timer = setTimeout(flushAddress, REFUSED_MILLISECONDS);
  }
}

const isCurrent = (address) => new URL(address, location.href).href === location.href;

/** A new entry with an address; state: what history.state is to be in it. */
export function pushAddress(address, state = null) {
  flushAddress();
  try {
    history.pushState(state, "", address);
  } catch {
    keepAddress(address);
  }
}

/** Back to the entry before, which one of pushAddress() made this one follow. */
export function goBack() {
  flushAddress();
  leaving = new Promise((resolve) => {
    window.addEventListener("popstate", resolve, { once: true });
  });
  history.back();
}

/** Resolves once a way back has ended: what is pushed before would be left too. */
export const settled = () => leaving;

window.addEventListener("popstate", () => {
  clearTimeout(timer);
  wanted = null; // it was of the entry that is left
  leaving = null;
});
window.addEventListener("pageshow", () => {
  leaving = null; // the way back led to another page, and forward to this one again
});
window.addEventListener("pagehide", flushAddress);
document.addEventListener("visibilitychange", () => document.hidden && flushAddress());
