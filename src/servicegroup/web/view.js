// What of the fleet a person wants to see: the filters and the order, kept in the page's address,
// so that it can be bookmarked and sent to somebody else.

import { changed, known, now } from "./store.js";
import { epoch, isFlapping, isProblem, lookOf, rankOf } from "./words.js";

const PLAIN = {
  q: "",
  state: "",
  group: "",
  zone: "",
  problems: "",
  flapping: "",
  disabled: "",
  sort: "state",
  order: "up",
  page: "1",
};

export const view = { ...PLAIN };

/** Change the view; whatever narrows or orders it starts again at its first page. */
export function look(changes) {
  Object.assign(view, { page: "1" }, changes);
  history.replaceState(null, "", address());
  changed(true);
}

/** Return the address of the view as it is. */
export function address() {
  const query = new URLSearchParams(
    Object.entries(view).filter(([name, value]) => value !== PLAIN[name]),
  );
  return `#/${query.size ? `?${query}` : ""}`;
}

/** Take the view from an address. */
export function takeAddress(hash) {
  Object.assign(view, PLAIN);
  for (const [name, value] of new URLSearchParams(hash.split("?")[1])) {
    if (name in PLAIN) view[name] = value;
  }
}

export const isPlain = () =>
  Object.keys(PLAIN).every(
    (name) => ["sort", "order", "page"].includes(name) || view[name] === PLAIN[name],
  );

/** Return a function that says whether an entry is wanted at a moment of the database's clock. */
export function wanted(moment) {
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  return ({ service, look: seen, words: said }) =>
    (!view.state || service.verdict.state === view.state) &&
    (!view.group || service.topic === view.group) &&
    (!view.zone || service.zone === view.zone) &&
    (!view.problems || isProblem(seen)) &&
    (!view.flapping || isFlapping(service, moment)) &&
    (!view.disabled || service.disabled) &&
    words.every((word) => said.includes(word));
}

const ENDED = new Set(["silent", "left", "exited"]);

/** Return the stamp of the last report where they have ended, 0 for never, null while they go on.

That they go on is what the verdict says; each of them is not told to this page. */
export function lastReport({ verdict, last_seen_up: stamp }) {
  return ENDED.has(verdict.reason) ? (epoch(stamp) ?? 0) : null;
}

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a, b) =>
  collator.compare(a.topic, b.topic) ||
  collator.compare(a.zone, b.zone) ||
  collator.compare(a.host, b.host) ||
  collator.compare(a.binary, b.binary);

const ORDERS = {
  state: (a, b) => rankOf(a.look) - rankOf(b.look),
  host: (a, b) => collator.compare(a.service.host, b.service.host),
  binary: (a, b) => collator.compare(a.service.binary, b.service.binary),
  group: (a, b) => collator.compare(a.service.topic, b.service.topic),
  zone: (a, b) => collator.compare(a.service.zone, b.service.zone),
  status: (a, b) => b.service.disabled - a.service.disabled,
  since: (a, b) => (epoch(b.service.observed_since) ?? 0) - (epoch(a.service.observed_since) ?? 0),
  report: (a, b) => (lastReport(b.service) ?? Infinity) - (lastReport(a.service) ?? Infinity) || 0,
};

let named = { size: -1, services: null, order: [] };

/** Return all entries by group, zone and host, each with its look at this moment.

They are sorted again only when services came or went. */
export function fleet() {
  const { services } = known;
  const moment = now();
  for (const entry of services.values()) entry.look = lookOf(entry.service, moment);
  if (named.services !== services || named.size !== services.size) {
    const order = [...services.values()]
      .map((entry) => entry.service)
      .toSorted(byName)
      .map((one) => one.uuid);
    named = { services, size: services.size, order };
  }
  return named.order.map((uuid) => services.get(uuid));
}

/** Return entries, given by name, in the order of the view. */
export function ordered(entries) {
  const compare = ORDERS[view.sort] ?? ORDERS.state;
  const sign = view.order === "down" ? -1 : 1;
  return entries.toSorted((a, b) => sign * compare(a, b));
}
