// The register's words for people: looks of services, kinds of events, durations, stamps.

import { h } from "./dom.js";

/** How a service looks, worst first: each has its word and its pattern, not only a colour. */
export const LOOKS = {
  down: "down",
  deaf: "deaf",
  held: "held",
  flapping: "flapping",
  unsure: "not confirmed",
  off: "down, disabled",
  disabled: "up, disabled",
  up: "up",
};

const RANKS = Object.fromEntries(Object.keys(LOOKS).map((look, rank) => [look, rank]));
const UNSURE = new Set(["unconfirmed", "joining"]);

/** Return the look of a state and a status alone; "none" where no state was recorded. */
export function plainLook(state, disabled) {
  if (disabled) return state === "down" ? "off" : "disabled";
  return state ?? "none";
}

/** Return which of the looks a service has at a moment of the database's clock. */
export function lookOf(service, now) {
  const { state, reason } = service.verdict;
  const plain = plainLook(state, service.disabled);
  if (plain !== "up") return plain;
  if (reason === "deaf" || reason === "held") return reason;
  if (isFlapping(service, now)) return "flapping";
  return UNSURE.has(reason) ? "unsure" : "up";
}

export const rankOf = (look) => RANKS[look];

/** A problem is what somebody may have to act on: not what an operator disabled. */
export const isProblem = (look) => RANKS[look] <= RANKS.flapping;

export const isFlapping = (service, now) =>
  service.flapping_until !== null && epoch(service.flapping_until) > now;

/** What happened, in a word or two; the same kinds as servicegroup.events.EventKind. */
export const KINDS = {
  "service-up": "is up",
  "service-down": "is down",
  "service-join": "registered",
  "service-restart": "registered again",
  "service-leave": "was stopped and left",
  "service-exit": "exited",
  "service-delete": "was deleted",
  "service-enable": "was enabled",
  "service-disable": "was disabled",
  "service-force-down": "was forced down",
  "service-unforce": "is no longer forced down",
  "service-deaf": "does not answer questions any more",
  "service-answers": "answers questions again",
  "service-mirror": "is another where it is mirrored from",
  "token-create": "A token was made",
  "token-rotate": "A token got a new secret",
  "token-revoke": "A token was ended",
  "protection-on": "Protection began",
  "protection-off": "Protection ended",
  gap: "Older events are not kept",
};

/** What to do when a signal is suspect; a newer release may know of more. */
export const SUSPECT = {
  presence: {
    what:
      "vanished from the driver's backend together while their reports go on:" +
      " the backend is suspect, and reports decide.",
    todo:
      "Check the backend first (is it up, was it restarted or emptied, can hosts reach it?)," +
      " before any single service. A service that also stops reporting still goes down.",
  },
  reports: {
    what:
      "stopped reporting together while they are present:" +
      " the way to the control plane is suspect, and presence decides.",
    todo:
      "Check what their reports have in common (network, load balancer, a token, the database)" +
      " before any single service. A service that also vanishes still goes down.",
  },
};

/** The mark of a look; its word stands beside it. */
export const mark = (look) => h("span", { class: `look look-${look}`, "aria-hidden": "true" });

/** Return a stamp of the API, naive UTC, in milliseconds since 1970; null for none. */
export const epoch = (stamp) => (stamp === null ? null : Date.parse(`${stamp}Z`));

const HOUR = 3600;
const LARGE = [
  ["d", 24 * HOUR, "h", HOUR],
  ["h", HOUR, "min", 60],
];

/** Return seconds for people, as the command line does: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [unit, size, smaller, below] of LARGE) {
    if (whole >= size) {
      return `${Math.floor(whole / size)} ${unit} ${Math.floor((whole % size) / below)} ${smaller}`;
    }
  }
  return whole >= 120 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole} s`;
}

export const count = (number) => number.toLocaleString("en");
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Return the time of day of a moment, in UTC, with the date when it is not today's. */
export function clockTime(moment, now) {
  const text = new Date(moment).toISOString();
  return text.slice(0, 10) === new Date(now).toISOString().slice(0, 10)
    ? text.slice(11, 19)
    : `${text.slice(5, 10)} ${text.slice(11, 16)}`;
}

/** A moment as an element, the whole stamp at hand. */
export function when(stamp, now) {
  const text = new Date(epoch(stamp)).toISOString();
  return h(
    "time",
    { datetime: text, title: `${stamp.replace("T", " ")} UTC` },
    clockTime(epoch(stamp), now),
  );
}

/** How long ago a moment is; whoever shows it calls `tick` each second. */
export const since = (moment, now) =>
  h("span", { "data-since": moment }, duration(Math.max(0, Math.round((now - moment) / 1000))));

export function tick(now) {
  for (const element of document.querySelectorAll("[data-since]")) {
    const text = duration(Math.max(0, Math.round((now - element.dataset.since) / 1000)));
    if (element.textContent !== text) element.textContent = text;
  }
}
