// The control plane's API: one way to ask it and one way to listen. There are no cookies: a token,
// if there is one, goes in a header and lives as long as this tab.

const ROOT = new URL("../v1/", location.href);
const TIMEOUT = 20_000;
const SILENCE = 20_000; // the stream says something every 15 s; without that it is dead
const KEPT = "servicegroup-token";

/** The answer was an error; status 0 means that there was no answer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT)),
};

/** Return the JSON of an answer, null when it has no body; raises Refused. */
export async function ask(path, method = "GET", body = undefined) {
  const answer = await fetched(path, {
    method,
    headers: method === "GET" ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUT),
  });
  try {
    return answer.status === 204 ? null : await answer.json();
  } catch {
    throw new Refused(0, "The control plane's answer broke off.");
  }
}

/** Give the events after an id as they come; `heard` is called for every sign of life.

Ends when the control plane ends it; raises Refused when it breaks or is silent for too long. */
export async function* listen(after, heard) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE);
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": String(after) };
    const answer = await fetched("events/stream", { headers, signal: silence.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    heard();
    for (let text = ""; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
      heard();
      const blocks = (text + value).split(/\r?\n\r?\n/);
      text = blocks.pop();
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
      }
    }
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(0, "The control plane does not answer.");
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

async function fetched(path, { headers, ...options }) {
  const all = token.get() ? { ...headers, "X-Auth-Token": token.get() } : headers;
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
