// One request to the control plane, the same from a page and from the worker that pages share. There
// are no cookies: a token, if there is one, goes in a header. Every request has a limit of time.

const ROOT = new URL("../v1/", location.href);
const TIMEOUT = 20_000; // milliseconds for an answer, whole
const SILENCE = 20_000; // milliseconds; a stream says something every 15 s, or else it is dead

/** The answer was an error; status 0 means that there was no answer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Return the JSON of an answer, null when it has no body; raises Refused. */
export async function send(token, path, { method = "GET", body, timeout = TIMEOUT } = {}) {
  const answer = await fetched(token, path, {
    method,
    headers: method === "GET" ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(timeout),
  });
  try {
    return answer.status === 204 ? null : await answer.json();
  } catch {
    throw new Refused(0, "The control plane's answer broke off.");
  }
}

/** Give the events after an id as they come, those that came together at once.

Ends when the control plane ends it; raises Refused when it breaks, is silent for too long or is
ended by `signal`. */
export async function* listen(token, after, signal) {
  const silence = new AbortController();
  const end = () => silence.abort();
  signal.addEventListener("abort", end);
  let timer = setTimeout(end, SILENCE);
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": String(after) };
    const answer = await fetched(token, "events/stream", { headers, signal: silence.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(end, SILENCE);
      const blocks = (text + value).split(/\r?\n\r?\n/);
      text = blocks.pop();
      const events = blocks.map(eventOf).filter(Boolean);
      if (events.length) yield events;
    }
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(0, "The control plane does not answer.");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    end();
  }
}

function eventOf(block) {
  const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return data.length ? JSON.parse(data.map((line) => line.slice(5)).join("\n")) : null;
}

async function fetched(token, path, { headers, ...options }) {
  const all = token ? { ...headers, "X-Auth-Token": token } : headers;
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { ...options, headers: all, cache: "no-store" });
  } catch {
    throw new Refused(0, "The control plane does not answer.");
  }
  if (answer.ok) return answer;
  const fault = await answer.json().catch(() => ({}));
  const message =
    Object.values(fault)[0]?.message ?? `The control plane answered ${answer.status}.`;
  throw new Refused(answer.status, message);
}
