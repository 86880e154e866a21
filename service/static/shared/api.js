/** Calls to the service, the API key, and what all pages share. */

import { heard, isGateway, lost } from "./outage.js";

const KEY = "gradcam-key";

/** The path under which the service is offered: "" or "/prefix". */
export const base = document.documentElement.dataset.base ?? "";

/** A refusal by the service, or (code "offline") no answer at all. */
export class ApiProblem extends Error {
  constructor({ status = 0, code, detail, title, errors = [], retryAfter = 0 }) {
    super(detail || title || code);
    const name = "ApiProblem";
    Object.assign(this, { name, status, code, detail, title, errors, retryAfter });
  }
}

const OFFLINE = {
  code: "offline",
  title: "The service cannot be reached",
  detail: "Check the connection, or whether the service is running, and try again.",
};
const NO_KEY = {
  title: "A key is needed",
  detail: "This service opens with an API key. Whoever runs it can give you one.",
};

/** Headers that say who calls; {} without a key. */
export function authHeaders() {
  const key = sessionStorage.getItem(KEY);
  return key ? { "X-API-Key": key } : {};
}

/**
 * Call the service.
 * @param {string} path such as "/v1/models", or a link of an answer
 * @param {{method?: string, json?: unknown, body?: BodyInit, headers?: object,
 *   signal?: AbortSignal, as?: "json"|"blob"|"text"}} options as: what to resolve to instead of
 *   the Response
 * @throws {ApiProblem}
 */
export async function api(path, options = {}) {
  let response = await ask(path, options);
  if (response.status === 401 && !declined && (await signedIn())) response = await ask(path, options);
  if (!response.ok) throw await problemOf(response);
  heard();
  return options.as ? read(response, options.as) : response;
}

async function read(response, as) {
  try {
    return await response[as]();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    lost(); // in the middle of an answer
    throw new ApiProblem(OFFLINE);
  }
}

async function ask(path, { method, json, body, headers = {}, signal }) {
  const address = base && path.startsWith(`${base}/`) ? path : base + path;
  const typed = json === undefined ? {} : { "Content-Type": "application/json" };
  try {
    return await fetch(address, {
      method: method ?? (json === undefined && body === undefined ? "GET" : "POST"),
      body: json === undefined ? body : JSON.stringify(json),
      headers: { ...typed, ...authHeaders(), ...headers },
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new ApiProblem(OFFLINE);
  }
}

async function problemOf(response) {
  const said = await response.json().catch(() => ({}));
  if (isGateway(response.status, said.code)) {
    lost();
    return new ApiProblem({ ...OFFLINE, status: response.status });
  }
  heard();
  const title = said.title ?? `The service answered ${response.status}`;
  const retryAfter = Number(response.headers.get("Retry-After")) || 0; // seconds
  return new ApiProblem({ code: "unknown", ...said, title, status: response.status, retryAfter });
}

/** Say something to those who hear the page. */
export function announce(text) {
  const live = document.getElementById("live");
  if (live) live.textContent = text;
}

/**
 * A DOM element: properties where the element has them (`onclick` too), else attributes.
 * Children that are null or false are left out.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node && name !== "list" && name !== "form") node[name] = value;
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

/** Put a problem in the place of what could not be shown; retry: called to try again. */
export function showProblem(container, problem, retry = null) {
  if (problem.status === 401) return askForKey(container, retry);
  const again = retry && el("button", { type: "button", onclick: retry }, "Try again");
  showState(container, problem, again);
}

/** Say that a key is needed, to people, and not how programs send it. */
function askForKey(container, retry) {
  const signIn = async () => {
    if (!(await signedIn())) return;
    container.replaceChildren();
    retry?.();
  };
  showState(
    container,
    { code: "no-key", ...NO_KEY },
    el("button", { type: "button", class: "primary", onclick: signIn }, "Sign in"),
  );
}

function showState(container, problem, button) {
  const errors = (problem.errors ?? []).map((one) => el("li", {}, `${one.field}: ${one.detail}`));
  container.replaceChildren(
    el(
      "div",
      { class: "state wrong-state", role: "alert", dataset: { code: problem.code ?? "unknown" } },
      el("h2", {}, problem.title ?? "This did not work"),
      el("p", {}, problem.detail ?? problem.message ?? ""),
      errors.length > 0 && el("ul", {}, errors),
      button,
    ),
  );
}

let signingIn = null;
let declined = false; // then only what people do asks again

/** Whether the caller has signed in, once the dialog is closed; one dialog for all who ask. */
export function signedIn() {
  signingIn ??= askToSignIn();
  return signingIn;
}

async function askToSignIn() {
  const isIn = await new Promise((resolve) => {
    window.dispatchEvent(new CustomEvent("gradcam-sign-in", { detail: resolve }));
  });
  signingIn = null;
  declined = !isIn;
  return isIn;
}

function setUpSignIn() {
  const dialog = document.getElementById("sign-in");
  const out = document.getElementById("sign-out");
  if (!dialog) return;
  const field = document.getElementById("sign-in-key");
  const wrong = document.getElementById("sign-in-error");
  let resolve = () => {};
  window.addEventListener("gradcam-sign-in", (event) => {
    resolve = event.detail ?? resolve;
    wrong.textContent = sessionStorage.getItem(KEY) ? "The key is no longer accepted." : "";
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
  document.getElementById("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.textContent = await refusal(field.value.trim());
    if (wrong.textContent) return field.select();
    sessionStorage.setItem(KEY, field.value.trim());
    out.hidden = false;
    dialog.close("in");
  });
  document.getElementById("sign-in-cancel").addEventListener("click", () => dialog.close(""));
  dialog.addEventListener("close", () => {
    field.value = "";
    resolve(dialog.returnValue === "in");
    dialog.returnValue = "";
  });
  out.hidden = !sessionStorage.getItem(KEY);
  out.addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  });
}

/** Why a key does not open the service; "" where it does. */
async function refusal(key) {
  if (!/^[\x21-\x7e]+$/.test(key)) return "A key has letters, digits and signs only, and no spaces.";
  try {
    const response = await fetch(`${base}/v1/experiments`, { headers: { "X-API-Key": key } });
    if (response.status === 401) return "This key is wrong.";
    return response.status === 403 ? "This key may not be used here." : "";
  } catch {
    return OFFLINE.detail;
  }
}

setUpSignIn();
