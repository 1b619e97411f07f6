// What this page knows, and how it tells its parts that it knows more. Nothing here asks or draws.

import { epoch } from "./words.js";

export const known = {
  services: new Map(), // by uuid: {service, words, asked}, and the look that fleet() gives
  events: [], // newest first
  protections: [],
  drivers: [],
  phase: "connecting", // connecting | loading | live | away | token
  heard: null, // when the control plane was last heard, on this page's monotonic clock
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

/** Return the database's time; while nobody is heard it stands still, as what is shown does. */
export function now() {
  const here = known.phase === "away" && known.heard !== null ? known.heard : performance.now();
  return here + (offset ?? performance.timeOrigin);
}

/** Take a service as it was answered to a question asked at `asked`; what is older is ignored. */
export function put(service, asked, services = known.services) {
  if ((known.services.get(service.uuid)?.asked ?? -1) > asked) return;
  const { last_seen_up: stamp, verdict } = service;
  if (stamp !== null && verdict.evidence.stamped_ahead === 0) {
    offset = epoch(stamp) + verdict.evidence.report_age * 1000 - performance.now();
  }
  const { host, binary, topic, zone, uuid, disabled_reason: reason, detail } = service;
  const words = [host, binary, topic, zone, uuid, verdict.reason, reason, detail]
    .join("\n")
    .toLowerCase();
  known.observed = verdict.evidence.observed;
  known.heard = performance.now();
  services.set(uuid, { service, words, asked });
}

/** Put events, oldest first, before those that are known. */
export function addEvents(events) {
  known.events = [...events.toReversed(), ...known.events].slice(0, EVENTS_KEPT);
}
