// One line to the control plane: what happens there, in order, and whether that is still heard.
//
// A question every few seconds is what the line stands on: it tells what happened since, that the
// control plane answers, and that it still is the same register. A stream, where there is one, only
// tells sooner. So a stream that hangs, is buffered by a proxy or cannot be had costs seconds, and
// nobody takes it for news.

import { Refused, listen, send } from "./http.js";

const CHECK = 3000; // milliseconds between two questions beside a stream
const POLL = 2000; // the same without one
const PROMPT = 5000; // milliseconds in which they have to be answered
const BACK_OFF = [500, 8000]; // milliseconds after a failure, the first and the longest
const MUCH = 1000; // events that one question takes
const MAY_NOT = new Set([401, 403]);
const ANOTHER = new Set([400, 404]); // it never gave that id: it is not the register it was

/** Follows events for a token from the start on, until it is ended or the token is refused.

`tell` is called with {kind: "events", events}; with {kind: "heard"} after each answer, when all that
had happened has been told; with {kind: "anew"} when another register answers; and with {kind:
"lost", status, message} when none does. */
export class Line {
  #token;
  #tell;
  #streams; // () => whether a stream may be opened now
  #place = null; // {last, event}: the newest id and its event; null: not known
  #stream = null; // what ends the stream that is open
  #isEnded = false;
  #wake = () => {};

  constructor(token, tell, streams) {
    this.#token = token;
    this.#tell = tell;
    this.#streams = streams;
    this.#run();
  }

  get isStreaming() {
    return this.#stream !== null;
  }

  get isEnded() {
    return this.#isEnded;
  }

  /** Ask at once: somebody waits for it. */
  hurry() {
    this.#wake();
  }

  end() {
    this.#isEnded = true;
    this.#stream?.abort();
    this.#wake();
  }

  async #run() {
    for (let failures = 0; !this.#isEnded;) {
      try {
        await this.#ask();
        failures = 0;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (this.#isEnded) return;
        failures += 1;
        this.#lose(error);
      }
      if (this.#isEnded) return;
      await this.#rest(failures);
    }
  }

  async #ask() {
    for (let isAll = false; !isAll;) {
      isAll = this.#place === null ? await this.#begin() : await this.#goOn(this.#place);
      if (this.#isEnded) return;
    }
    this.#tell({ kind: "heard" });
    if (this.#stream === null && this.#streams()) this.#open();
  }

  async #begin() {
    const { events, last } = await this.#events("limit=1");
    this.#place = { last, event: events.at(-1) ?? null };
    return true;
  }

  async #goOn(place) {
    const page = await this.#events(`after=${Math.max(0, place.last - 1)}&limit=${MUCH}`);
    const news = following(page, place);
    if (news === null) {
      this.#forget();
      return false;
    }
    this.#take(news);
    return page.next === page.last;
  }

  #events(range) {
    return send(this.#token, `events?${range}`, { timeout: PROMPT });
  }

  #forget() {
    this.#place = null;
    this.#stream?.abort();
    this.#tell({ kind: "anew" });
  }

  #lose({ status, message }) {
    if (ANOTHER.has(status) && this.#place !== null) this.#forget();
    if (MAY_NOT.has(status)) this.end();
    this.#tell({ kind: "lost", status, message });
  }

  /** Tell events that were not told before, whether the stream or an answer brought them first. */
  #take(events) {
    const news = events.filter((event) => event.id > this.#place.last);
    if (this.#isEnded || !news.length) return;
    this.#place = { last: news.at(-1).id, event: news.at(-1) };
    this.#tell({ kind: "events", events: news });
  }

  async #open() {
    const ending = new AbortController();
    this.#stream = ending;
    const began = performance.now();
    try {
      for await (const events of listen(this.#token, this.#place.last, ending.signal)) {
        if (ending.signal.aborted) return;
        this.#take(events);
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    } finally {
      if (this.#stream === ending) this.#stream = null;
      // Why it ended, the next answer tells; one that ends again and again has to wait for it.
      if (performance.now() - began > CHECK) this.#wake();
    }
  }

  #rest(failures) {
    const usual = this.#stream === null ? POLL : CHECK;
    const pause = failures
      ? Math.min(BACK_OFF[1], BACK_OFF[0] * 2 ** (failures - 1)) * (0.7 + 0.6 * Math.random())
      : usual;
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, pause);
    });
  }
}

/** Return the events of an answer that came after a place; null when it is another register's.

The answer begins with the event of that place, which has to be the same. Where it is purged by now,
a gap says so. */
function following({ events }, place) {
  if (place.last === 0) return events;
  const [first, ...rest] = events;
  if (first === undefined) return null;
  if (first.kind === "gap") return first.id > place.last ? events : rest;
  return place.event === null || isSame(first, place.event) ? rest : null;
}

const isSame = (a, b) => ["id", "at", "kind", "uuid"].every((name) => a[name] === b[name]);
