// Keeps what is known true: one listing, then the line's events, and after each event a question
// about that service alone. What is lost in between is noticed as a gap and listed again. A reason
// may change where no state does, and no event tells: hence a listing now and then, the rarer the
// longer.
//
// The page is live while two things hold: the line is heard, and every question that it led to has
// been answered in time (F-8).

import { Refused, ask } from "./api.js";
import { connect, hello } from "./channel.js";
import { FACTS, LIST, OBSERVED, isService, oldest, owe, owed, pay } from "./debts.js";
import { addEvents, changed, known, put, remove, replaceAll } from "./store.js";

const PAGE = 2000; // services one question lists
const FEW = 40; // services that are asked one by one; more than that are listed
const TOGETHER = 5; // questions at the same time
const REST = 2000; // milliseconds between two listings
const MAY_NOT = new Set([401, 403]);
const AGAIN = 10_000; // milliseconds between looks for what no event tells
const EACH = 10; // milliseconds for each service that a listing waits after the one before
const SILENT = 12_000; // milliseconds without a sign of the line after which nothing is current
const LATE = 10_000; // milliseconds after which a question that is not answered is owed too long
const UNSETTLED = new Set(["joining", "unconfirmed", "held"]); // reasons that do not last

let cursor = null; // the last event seen; null: list first
let early = []; // events that came while everything was listed for the first time
let gap = []; // the event that told of a gap, until everything is listed again
let trouble = null; // the error that keeps this page from knowing
let isBeginning = false;
let isSettling = false;
let listed = -REST;
const told = []; // called with each event

export const onEvent = (listener) => told.push(listener);

/** Try again at once: there is a token now, or somebody asked to. */
export function retry() {
  trouble = null;
  hello();
}

/** Follow the register for as long as the page lives. */
export function follow() {
  setInterval(lookAgain, AGAIN);
  setInterval(judge, 1000);
  connect(({ kind, ...message }) => HEAR[kind](message));
}

const HEAR = {
  heard() {
    trouble = null;
    if (cursor === null) begin();
    else {
      known.heard = performance.now();
      settle();
    }
    judge();
  },
  events({ events }) {
    if (cursor === null) early.push(...events);
    else events.forEach(take);
  },
  anew() {
    [cursor, early] = [null, []];
    judge();
  },
  lost({ status, message }) {
    trouble = new Refused(status, message);
    judge();
    changed(); // another token may be refused in the same words
  },
};

/** Say how current the page is. */
function judge() {
  const was = `${known.phase} ${known.trouble}`;
  known.phase = phaseNow();
  known.trouble = WHY[known.phase]?.() ?? "";
  const shown = { away: Math.min(known.heard, oldest()), behind: oldest() }[known.phase];
  known.asOf = known.heard === null ? null : (shown ?? null);
  if (was !== `${known.phase} ${known.trouble}`) changed(true);
}

const WHY = {
  away: () => trouble?.message ?? "The control plane is not heard.",
  behind: () => "The control plane told of changes, and does not answer what they are.",
  token: () => trouble?.message ?? known.trouble,
};

function phaseNow() {
  if (MAY_NOT.has(trouble?.status)) return "token";
  if (trouble) return "away";
  if (cursor === null) return isBeginning ? "loading" : known.phase;
  const moment = performance.now();
  if (moment - known.heard > SILENT) return "away";
  return moment - oldest() > LATE ? "behind" : "live";
}

/** Ask about one service again, and return what was answered; null when it is gone. */
export async function refresh(uuid) {
  const asked = performance.now();
  let answer = null;
  try {
    answer = await ask(`services/${encodeURIComponent(uuid)}`);
    put(answer.service, asked);
  } catch (error) {
    if (error.status !== 404) {
      owe(uuid);
      throw error;
    }
    remove(uuid, asked);
  }
  pay(uuid, asked);
  changed();
  return answer;
}

/** List everything from the start, for as long as the register is another one meanwhile. */
async function begin() {
  if (isBeginning) return;
  isBeginning = true;
  early = [];
  const mine = early; // another array, once another register answers
  try {
    const log = await ask("events?limit=50"); // before the list, so that nothing falls in between
    known.events = [];
    addEvents([...gap, ...log.events]);
    await list();
    await facts();
    if (mine !== early) return; // the line will be heard again, and then begins this again
    [gap, cursor, known.heard] = [[], log.last, performance.now()];
    early = [];
    mine.forEach(take);
  } catch (error) {
    fail(error);
  } finally {
    isBeginning = false;
    judge();
    changed(true);
  }
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
    known.heard ??= performance.now();
    if (first) changed();
  }
  replaceAll(services, began);
  pay(LIST, began);
  listed = performance.now();
  changed();
}

async function facts() {
  const asked = performance.now();
  [known.protections, known.drivers] = await Promise.all([
    ask("protection").then((answer) => answer.protections),
    ask("drivers").then((answer) => answer.drivers),
  ]);
  pay(FACTS, asked);
  changed();
}

/** Ask for any service: each says whether anybody observes. */
async function observed() {
  const asked = performance.now();
  for (const service of (await ask("services?limit=1")).services) put(service, asked);
  pay(OBSERVED, asked);
  changed();
}

function take(event) {
  if (cursor === null) return early.push(event);
  if (event.id <= cursor) return; // the listing was newer
  // Ids have no holes: after one, something was not told, here or to all.
  const isMissing = event.kind === "gap" || event.id > cursor + 1;
  cursor = isMissing ? null : event.id;
  if (event.kind === "gap") gap = [event];
  addEvents([event]);
  for (const listener of told) listener(event);
  if (event.kind.startsWith("protection")) {
    owe(FACTS);
    owe(LIST); // a hold changes the reasons of many, without an event for each
  }
  if (event.uuid !== null) owe(event.uuid);
  if (isMissing) begin();
  else settle();
  changed();
}

/** Ask until nothing is owed; what fails stays owed, and is asked again when the line is heard. */
async function settle() {
  if (isSettling) return;
  isSettling = true;
  const failed = new Set();
  const attempt = (what, question) =>
    question(what).catch((error) => {
      failed.add(what);
      fail(error);
    });
  try {
    for (;;) {
      const due = owed().filter((what) => !failed.has(what));
      const some = due.filter(isService);
      if (failed.has(LIST) || !due.length) break;
      if (due.includes(LIST) || some.length > FEW) {
        await new Promise((resolve) => setTimeout(resolve, listed + REST - performance.now()));
        await attempt(LIST, list);
      } else if (some.length) {
        await Promise.all(some.slice(0, TOGETHER).map((uuid) => attempt(uuid, refresh)));
      } else await attempt(due[0], QUESTIONS[due[0]]);
    }
  } finally {
    isSettling = false;
    judge();
  }
}

const QUESTIONS = { [FACTS]: facts, [OBSERVED]: observed };

function fail(error) {
  if (!(error instanceof Refused)) throw error;
  if (MAY_NOT.has(error.status) || cursor === null) trouble = error;
}

/** Look whether anybody observes, at those whose reason will not last, and in time at everybody. */
function lookAgain() {
  if (known.phase !== "live" || document.hidden) return;
  const unsettled = [...known.services.values()].filter(({ service }) =>
    UNSETTLED.has(service.verdict.reason),
  );
  if (unsettled.length <= FEW) for (const { service } of unsettled) owe(service.uuid);
  if (performance.now() - listed > Math.max(AGAIN, EACH * known.services.size)) owe(LIST);
  owe(OBSERVED);
  settle();
}
