// What this page knows, and how it tells its parts that it knows more. Nothing here asks or draws.

import { epoch } from "./words.js";

export const known = {
  services: new Map(), // by uuid: {service, words, asked}, and the look that fleet() gives
  events: [], // newest first
  protections: [],
  drivers: [],
  phase: "connecting", // connecting | loading | live | behind | away | token
  heard: null, // when what is shown was last confirmed, on this page's monotonic clock
  asOf: null, // up to when what is shown is right, on the same clock; null: up to now
  trouble: "", // why it is not live, in a sentence
  observed: null, // whether an observer is at work, as the latest answer has it
  readOnly: "", // why this caller may not edit, once it was said
};

const EVENTS_KEPT = 100;
const REST = 120; // milliseconds between two drawings when changes come in a rush
const parts = [];
let due = null;
let drawn = 0;

/** Call a part after something changed, at most once a frame. */
export const onChange = (part) => parts.push(part);

/** Say that something changed; `at once` when a person waits for it. */
export function changed(atOnce = false) {
  if (due !== null && !atOnce) return;
  clearTimeout(due);
  due = setTimeout(draw, atOnce ? 0 : Math.max(0, drawn + REST - performance.now()));
}

function draw() {
  due = null;
  for (const part of parts) part();
  drawn = performance.now();
}

let offset = null; // from this page's monotonic clock to the database's, in milliseconds

/** Return the database's time; while what is shown is not current it stands still, as that does. */
export const now = () => (known.asOf ?? performance.now()) + (offset ?? performance.timeOrigin);

let listed = -1; // when the listing that is known was asked for
const gone = new Map(); // when services were found gone, by uuid, since that listing

/** Take a service as it was answered to a question asked at `asked`; what is older is ignored. */
export function put(service, asked, services = known.services) {
  const { host, binary, topic, zone, uuid, disabled_reason: reason, detail, verdict } = service;
  if (asked < newest(uuid)) return;
  const stamp = service.last_seen_up;
  if (stamp !== null && verdict.evidence.stamped_ahead === 0) {
    offset = epoch(stamp) + verdict.evidence.report_age * 1000 - performance.now();
  }
  const words = [host, binary, topic, zone, uuid, verdict.reason, reason, detail]
    .join("\n")
    .toLowerCase();
  known.observed = verdict.evidence.observed;
  services.set(uuid, { service, words, asked });
}

/** Return when the question was asked whose answer is known: that it is there, or that it is not. */
const newest = (uuid) =>
  Math.max(known.services.get(uuid)?.asked ?? -1, gone.get(uuid) ?? -1, listed);

/** Take it that a service was gone when that was asked. */
export function remove(uuid, asked) {
  if (asked < newest(uuid)) return;
  known.services.delete(uuid);
  gone.set(uuid, asked);
}

/** Take a whole listing that began to be asked for at `began`, but for what is newer than it. */
export function replaceAll(services, began) {
  if (began < listed) return;
  for (const [uuid, entry] of known.services) if (entry.asked > began) services.set(uuid, entry);
  for (const [uuid, asked] of gone) if (asked > began) services.delete(uuid);
  gone.clear();
  [known.services, listed] = [services, began];
}

/** Put events, oldest first, before those that are known. */
export function addEvents(events) {
  known.events = [...events.toReversed(), ...known.events].slice(0, EVENTS_KEPT);
}
