/**
 * The viewer in a portal's frame. Its attributes stand in the query, `scheme` (light|dark; default:
 * the user's) and `link` (a page of the portal, to which the view is added). The token comes in the fragment or by message, and what happens is told to
 * the page around, if that is of an origin which the service lets in.
 */

import { CamViewer } from "../cam-viewer.js";

const RENEW_MS = 30_000; // so long before a token expires, another is asked for
const MOST_REFUSALS = 3; // in a row; then the portal has none that holds
const TOKEN = /^[\w.-]+$/;

const { ancestors: listed, tokenNeeded } = document.documentElement.dataset;
const ancestors = listed.split(" ").filter(Boolean);
const framed = window.parent !== window;
const viewer = document.querySelector("cam-viewer");
const waiting = document.querySelector("#waiting");
const query = new URLSearchParams(location.search);
let refusals = 0;
let renewal = 0;

/** Send a message to the page around; the browser hands it over to the named origin only. */
function tell(type, said = {}) {
  if (!framed) return;
  const around = location.ancestorOrigins?.[0]; // not every browser says it
  for (const origin of ancestors) {
    if (around && around !== origin) continue;
    window.parent.postMessage({ type: `gradcam:${type}`, ...said }, origin);
  }
}

/** Show what the query names. */
function start() {
  if (!viewer.hidden) return;
  const names = CamViewer.observedAttributes.filter((name) => name !== "service");
  for (const [name, value] of query) if (names.includes(name)) viewer.setAttribute(name, value);
  waiting.textContent = "";
  viewer.hidden = false;
}

/**
 * What Link copies: the portal's own page with the view in its query. null where the portal names
 * none, or one of another origin: the service's own page wants the key.
 */
function linkOf(given) {
  if (!URL.canParse(given) || !ancestors.includes(new URL(given).origin)) return null;
  return (view) => {
    const address = new URL(given);
    for (const [name, value] of view) address.searchParams.set(name, value);
    return address.href;
  };
}

/** Use a token from now on: {token, expires_at}, as the service made it. */
function take({ token, expires_at: expiresAt }) {
  if (typeof token !== "string" || !TOKEN.test(token)) return false;
  viewer.headers = { Authorization: `Bearer ${token}` };
  const left = Date.parse(expiresAt) - Date.now();
  clearTimeout(renewal);
  if (left > 0) renewal = setTimeout(tell, Math.max(left - RENEW_MS, left / 2), "token-wanted");
  start();
  return true;
}

/** The fragment's token, which then goes out of the address. */
function takeFromFragment() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (given.token) history.replaceState(null, "", location.pathname + location.search);
  return take(given);
}

function wait() {
  waiting.textContent = framed
    ? "Waiting for the page around to open this view."
    : "This view opens within the page of a portal.";
  tell("token-wanted");
}

function failed({ status, code, title, detail }, kept) {
  tell("error", { status, code, title, detail, kept });
  if (status !== 401) return;
  refusals += 1;
  if (refusals <= MOST_REFUSALS) tell("token-wanted");
}

window.addEventListener("message", ({ source, origin, data }) => {
  if (source !== window.parent || !ancestors.includes(origin)) return;
  if (data?.type === "gradcam:token") take(data);
});
window.addEventListener("hashchange", takeFromFragment);
viewer.addEventListener("cam-load", ({ detail }) => {
  refusals = 0;
  tell("loaded", { facts: detail.facts });
});
viewer.addEventListener("cam-error", ({ detail }) => failed(detail.problem, detail.kept));
viewer.addEventListener("cam-change", () => {
  tell("change", { state: Object.fromEntries(viewer.link()) });
});
new ResizeObserver(() => {
  tell("height", { height: Math.ceil(document.body.getBoundingClientRect().height) });
}).observe(document.body);

viewer.linkTo = linkOf(query.get("link"));
const scheme = query.get("scheme");
if (["light", "dark"].includes(scheme)) document.documentElement.style.colorScheme = scheme;
if (!takeFromFragment()) {
  if (tokenNeeded === undefined) start();
  else wait();
}
