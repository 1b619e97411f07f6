// Keeps what is known true: one listing, then the stream of events, and after each event a question
// about that service alone. What is lost in between is noticed as a gap and listed again. A reason
// may change where no state does, and no event tells: hence a listing now and then, the rarer the
// longer.

import { Refused, ask, listen } from "./api.js";
import { addEvents, changed, known, put } from "./store.js";

const PAGE = 2000; // services one question lists
const FEW = 40; // services that are asked one by one; more than that are listed
const TOGETHER = 5; // questions at the same time
const REST = 2000; // milliseconds between two listings
const MAY_NOT = new Set([401, 403]);
const BACK_OFF = [500, 15_000]; // milliseconds, the first and the longest
const AGAIN = 10_000; // milliseconds between looks for what no event tells
const EACH = 10; // milliseconds for each service that a listing waits after the one before
const UNSETTLED = new Set(["joining", "unconfirmed", "held"]); // reasons that do not last

let cursor = null; // the last event seen; null: list first
let gap = []; // the event that told of a gap, until everything is listed again
let wake = () => {};
const gone = new Map(); // when services were found gone, by uuid, since the last listing
const told = []; // called with each event

export const onEvent = (listener) => told.push(listener);

/** Try again at once: there is a token now, or somebody asked to. */
export const retry = () => wake();

/** Follow the register for as long as the page lives. */
export async function follow() {
  setInterval(lookAgain, AGAIN);
  for (let pause = BACK_OFF[0]; ;) {
    try {
      // An id that was never given means that the register is another one now, restored or new.
      if (cursor !== null && (await ask("events?limit=1")).last < cursor) cursor = null;
      if (cursor === null) await begin();
      for await (const event of listen(cursor, heard)) {
        pause = BACK_OFF[0];
        take(event);
        if (cursor === null) break;
      }
      if (cursor === null) continue;
      lost(new Refused(0, "The control plane closed the stream."));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      lost(error);
    }
    const wait = known.phase === "token" ? 2 ** 31 - 1 : pause * (0.7 + 0.6 * Math.random());
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, wait);
    });
    pause = Math.min(pause * 2, BACK_OFF[1]);
  }
}

/** Ask about one service again, and return what was answered; null when it is gone. */
export async function refresh(uuid) {
  const asked = performance.now();
  try {
    const answer = await ask(`services/${encodeURIComponent(uuid)}`);
    put(answer.service, asked);
    changed();
    return answer;
  } catch (error) {
    if (error.status !== 404) throw error;
    known.services.delete(uuid);
    gone.set(uuid, asked);
    changed();
    return null;
  }
}

async function begin() {
  if (known.heard === null) known.phase = "loading";
  const log = await ask("events?limit=50"); // before the list, so that nothing falls in between
  known.events = [];
  addEvents([...gap, ...log.events]);
  gap = [];
  await list();
  await facts();
  cursor = log.last;
}

/** List every service anew; a first listing shows as it comes, later ones replace at their end. */
async function list() {
  const first = known.services.size === 0;
  const services = first ? known.services : new Map();
  const began = performance.now();
  for (let marker = ""; marker !== null;) {
    const asked = performance.now();
    const page = await ask(
      `services?limit=${PAGE}${marker && `&marker=${encodeURIComponent(marker)}`}`,
    );
    for (const service of page.services) put(service, asked, services);
    marker = page.next;
    if (first) changed();
  }
  // What was asked about one by one meanwhile is newer than its page.
  for (const [uuid, entry] of known.services) if (entry.asked > began) services.set(uuid, entry);
  for (const [uuid, asked] of gone) if (asked > began) services.delete(uuid);
  gone.clear();
  known.services = services;
  listed = performance.now();
  changed();
}

async function facts() {
  [known.protections, known.drivers] = await Promise.all([
    ask("protection").then((answer) => answer.protections),
    ask("drivers").then((answer) => answer.drivers),
  ]);
  changed();
}

function heard() {
  known.heard = performance.now();
  if (known.phase === "live") return;
  Object.assign(known, { phase: "live", trouble: "" });
  catchUp(askAgain);
  changed(true);
}

function lost(error) {
  const phase = MAY_NOT.has(error.status) ? "token" : "away";
  if (error.status === 400 || error.status === 404) cursor = null; // another register answers now
  Object.assign(known, { phase, trouble: error.message });
  changed(true);
}

function take(event) {
  if (event.kind === "gap") [cursor, gap] = [null, [event]];
  else cursor = event.id;
  addEvents([event]);
  for (const listener of told) listener(event);
  if (event.kind.startsWith("protection")) {
    catchUp(facts);
    everything = true; // a hold changes the reasons of many, without an event for each
  }
  if (event.uuid !== null) stale.add(event.uuid);
  catchUp(askAgain);
  changed();
}

const stale = new Set(); // services that an event was about
let everything = false;
let asking = false;
let listed = -REST;

async function askAgain() {
  if (asking) return;
  asking = true;
  try {
    while (stale.size || everything) {
      if (everything || stale.size > FEW) {
        await new Promise((resolve) => setTimeout(resolve, listed + REST - performance.now()));
        everything = false;
        stale.clear();
        await list();
      } else {
        const some = [...stale].slice(0, TOGETHER);
        for (const uuid of some) stale.delete(uuid);
        await Promise.all(some.map(refresh));
      }
    }
  } finally {
    asking = false;
  }
}

/** Look whether anybody observes, at those whose reason will not last, and in time at everybody. */
function lookAgain() {
  if (known.phase !== "live" || document.hidden) return;
  const unsettled = [...known.services.values()].filter(({ service }) =>
    UNSETTLED.has(service.verdict.reason),
  );
  if (unsettled.length <= FEW) for (const { service } of unsettled) stale.add(service.uuid);
  everything ||= performance.now() - listed > Math.max(AGAIN, EACH * known.services.size);
  const asked = performance.now();
  catchUp(async () => {
    for (const service of (await ask("services?limit=1")).services) put(service, asked);
    await askAgain();
    changed();
  });
}

/** Do what the stream led to; when that fails, the whole list is asked for after reconnecting. */
function catchUp(work) {
  work().catch((error) => {
    if (!(error instanceof Refused)) throw error;
    everything = true;
    if (MAY_NOT.has(error.status)) lost(error);
    else setTimeout(() => known.phase === "live" && catchUp(askAgain), BACK_OFF[1]);
  });
}
