/** A job's progress as server-sent events, read by fetch: EventSource sends no key. */

import { api } from "../../shared/api.js";
import { ended } from "./job-words.js";
import { pause } from "../../shared/waiting.js";

const SHORTEST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const LONGEST_SILENCE = 40_000; // the service says something every 15 seconds

/** The events of a stream: {id, event, data}. alive: called whenever anything comes */
async function* read(stream, alive) {
  let rest = "";
  for await (const text of chunks(stream.pipeThrough(new TextDecoderStream()))) {
    alive();
    const blocks = (rest + text.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parsed(block);
      if (event.data !== undefined) yield event;
    }
  }
}

// Safari cannot iterate a stream.
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const event = { event: "message" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data" && event.data !== undefined) event.data += `\n${value}`;
    else if (name) event[name] = value;
  }
  return event;
}

/** The events after `last`, until the service closes the stream. @throws where it is lost */
async function* listen(path, last, signal) {
  const quiet = new AbortController();
  let timer = null;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => quiet.abort(), LONGEST_SILENCE);
  };
  alive();
  try {
    const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    const either = AbortSignal.any([signal, quiet.signal]);
    const response = await api(path, { headers, signal: either });
    yield* read(response.body, alive);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Follow a job to its end; a lost connection is made again, from the last event that was heard.
 * @param {object} job as GET /v1/jobs/{id} has it
 * @param {{signal: AbortSignal, heard: (job: object) => void, lost: (yes: boolean) => void}} options
 * @throws {ApiProblem} where the service refuses, or the job is gone
 * @throws {DOMException} AbortError, as soon as the signal says so
 */
export async function follow(job, { signal, heard, lost }) {
  let last = null;
  let wait = SHORTEST_WAIT;
  for (;;) {
    try {
      for await (const event of listen(job.links.events, last, signal)) {
        lost(false);
        last = event.id ?? last;
        wait = SHORTEST_WAIT;
        if (event.event !== "end") heard(JSON.parse(event.data));
      }
      // An end may be that of a run before a retry.
      const now = await api(job.links.self, { as: "json", signal });
      lost(false);
      if (ended(now)) return heard(now);
    } catch (error) {
      if (signal.aborted || (error.status >= 400 && error.status < 500)) throw error;
      lost(true);
    }
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}
