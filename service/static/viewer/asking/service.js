/** Asking the service. */

import { readPixels } from "../drawing/pixels.js";

const VERSIONED = /\/static\/[0-9a-f]{12}\/viewer\//; // addresses that may be kept for ever
const ABOVE = VERSIONED.test(import.meta.url) ? "../../../.." : "../../..";

/** Where these files come from. */
export const OWN_SERVICE = new URL(ABOVE, import.meta.url).href;

const OFFLINE = { code: "offline", title: "The service cannot be reached" };
const PASSING = [429, 502, 503, 504]; // such refusals pass: it is tried again

/** A refusal by the service, or (code "offline") no answer at all. */
export class Problem extends Error {
  constructor(status, { code = "unknown", title: name, detail, errors = [] }, retryAfter = 0) {
    const heading = name ?? `The service answered ${status}`;
    super(detail || heading);
    Object.assign(this, { status, code, title: heading, detail: this.message, errors, retryAfter });
  }

  /** Whether the service is at fault or out of reach, and not what it was asked for. */
  get isTheServices() {
    return this.passes || this.status >= 500;
  }

  /** Whether the same request may go well a little later. */
  get passes() {
    return this.code === "offline" || PASSING.includes(this.status);
  }
}

/** Requests to one service, with the same headers. */
export class Service {
  constructor(base, headers) {
    this.base = new URL(base, document.baseURI).href.replace(/\/$/, "");
    this.headers = headers;
  }

  /** The answer to a request for a path below the service. Raises Problem. */
  async ask(path, init = {}) {
    let response;
    try {
      const headers = { ...this.headers, ...init.headers };
      response = await fetch(this.base + path, { ...init, headers });
    } catch (error) {
      throw new Problem(0, { ...OFFLINE, detail: `No answer from ${this.base}: ${error.message}` });
    }
    if (response.ok) return response;
    const retryAfter = Number(response.headers.get("Retry-After")) || 0; // s
    throw new Problem(response.status, await response.json().catch(() => ({})), retryAfter);
  }

  /** POST /v1/explanations for a file, or (null) for the image that the fields name. */
  explain(fields, file, accept) {
    const init = { method: "POST", headers: { Accept: accept } };
    if (file) {
      init.body = new FormData();
      init.body.append("image", file, file.name ?? "image");
      for (const [name, value] of Object.entries(fields)) init.body.append(name, String(value));
    } else {
      init.headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(fields);
    }
    return this.ask("/v1/explanations", init);
  }

  /** The pixels beneath an explanation's overlays; kind: "original" or "enhanced". */
  async pixels(digest, kind) {
    const path = `/v1/explanations/${digest}/image?enhanced=${kind === "enhanced"}`;
    const response = await this.ask(path, { headers: { Accept: "image/png" } });
    return readPixels(await response.blob());
  }

  /** All classes of a model; null where they cannot be had: a view token is not good for them. */
  async classesOf(model) {
    if (/^bearer gvt_/i.test(this.headers.Authorization ?? "")) return null;
    try {
      const id = model.split("/").map(encodeURIComponent).join("/");
      const answer = await this.ask(`/v1/models/${id}`);
      return (await answer.json()).classes ?? null;
    } catch {
      return null; // the most probable classes stay on offer
    }
  }
}

/** Whether an error says that what was computed is no longer there. */
export const isGone = (error) => [404, 410].includes(error.status);
