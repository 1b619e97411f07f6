// One service: its verdict with everything it follows from, and what happened to it over a time.

import { Refused, ask } from "./api.js";
import { actions } from "./actions.js";
import { $, fill, h, say } from "./dom.js";
import { tell } from "./events.js";
import { onEvent, refresh } from "./live.js";
import { known, now, onChange } from "./store.js";
import { LOOKS, duration, epoch, lookOf, mark, plainLook, since, when } from "./words.js";

const AGAIN = 5000; // milliseconds between two looks at the open service
const HISTORY_AGAIN = 30_000; // the same for its history, which also changes with every event
const SHOWN = 100;

let uuid = null; // which service is open
let answer = null; // {service, explanation}
let back = () => {};

export function startService(leave) {
  back = leave;
  const isSeen = () => uuid && known.phase === "live" && !document.hidden;
  setInterval(() => isSeen() && load(), AGAIN);
  setInterval(() => isSeen() && loadHistory(), HISTORY_AGAIN);
  onEvent((event) => event.uuid === uuid && uuid && Promise.all([load(), loadHistory()]));
  onChange(() => uuid && draw());
  $("period").addEventListener("change", loadHistory);
}

/** Open a service's page, or close it with null. */
export function openService(wanted) {
  [uuid, answer] = [wanted, null];
  for (const id of [
    "service-title",
    "service-state",
    "sentence",
    "otherwise",
    "reason",
    "facts",
    "record",
    "evidence",
    "timeline",
    "from",
    "availability",
    "history",
  ]) {
    $(id).replaceChildren();
  }
  if (uuid) return Promise.all([load(), loadHistory()]);
}

async function load() {
  const asked = uuid;
  const got = await refresh(asked).catch((error) =>
    error instanceof Refused ? undefined : Promise.reject(error),
  );
  if (asked !== uuid || got === undefined) return;
  answer = got;
  draw();
}

function draw() {
  const entry = known.services.get(uuid);
  const isGone = !entry && answer === null && known.phase === "live";
  $("service").classList.toggle("gone", isGone);
  if (isGone) say($("service-state"), "There is no such service any more: it was deleted.");
  if (!entry) return $("actions").replaceChildren();
  const { service } = entry;
  drawVerdict(service);
  facts(
    $("facts"),
    (answer?.explanation.facts ?? []).map((fact) => [fact.name, fact.value]),
  );
  facts($("record"), recordOf(service));
  facts($("evidence"), flat(service.verdict.evidence));
  drawActions(service);
}

function drawVerdict(service) {
  const { verdict } = service;
  const look = lookOf(service, now());
  const begin = epoch(service.observed_since);
  if ($("service-title").textContent !== `${service.host} ${service.binary}`) {
    $("service-title").replaceChildren(`${service.host} `, h("span", {}, service.binary));
  }
  $("service-state").className = `verdict is-${look}`;
  const forHow = begin !== null && [" for ", since(begin, now())];
  const tag = verdict.state !== LOOKS[look] && h("span", { class: "tag" }, LOOKS[look]);
  $("service-state").replaceChildren(
    h("p", {}, mark(look), h("b", {}, verdict.state), forHow, tag),
  );
  say($("sentence"), answer?.explanation.sentence ?? verdict.sentence);
  say($("reason"), verdict.reason);
  say($("otherwise"), answer?.explanation.otherwise ?? "");
}

function drawActions(service) {
  const signature = `${uuid} ${service.disabled} ${service.forced_down} ${known.readOnly}`;
  if ($("actions").dataset.signature === signature && $("actions").childNodes.length) return;
  $("actions").dataset.signature = signature;
  fill(
    $("actions"),
    actions(service, (still) => still ?? back()),
  );
}

function facts(list, pairs) {
  if (list.childNodes.length !== 2 * pairs.length) {
    list.replaceChildren(...pairs.flatMap(() => [h("dt"), h("dd")]));
  }
  for (const [i, [name, value]] of pairs.entries()) {
    say(list.childNodes[2 * i], name);
    say(list.childNodes[2 * i + 1], value);
  }
}

function recordOf(service) {
  const disabled = ["disabled", service.disabled_reason].filter(Boolean).join(": ");
  const stamp = (text) => (text ? `${text.replace("T", " ").slice(0, 19)} UTC` : "never");
  return [
    ["Group", service.topic],
    ["Zone", service.zone],
    ["Status", service.disabled ? disabled : "enabled"],
    ["Version", String(service.version)],
    ["Mirrored from", service.mirror ?? "nothing: it joined"],
    ["Incarnation", `${service.incarnation}, registered ${stamp(service.registered_at)}`],
    ["Created", stamp(service.created_at)],
    ["UUID", service.uuid],
  ];
}

/** Return all of the evidence as name and value, as the API has it. */
function flat(evidence, prefix = "") {
  return Object.entries(evidence).flatMap(([name, value]) => {
    if (Array.isArray(value)) return [[prefix + name, value.join(", ") || "none"]];
    if (value instanceof Object) return flat(value, `${prefix}${name}.`);
    return [[prefix + name, String(value ?? "none")]];
  });
}

async function loadHistory() {
  const asked = uuid;
  const from = new Date(now() - 1000 * $("period").value).toISOString().slice(0, 23);
  try {
    const history = await ask(`services/${encodeURIComponent(asked)}/history?since=${from}`);
    if (asked === uuid && known.services.has(uuid)) drawHistory(history);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say($("availability"), error.message);
  }
}

function drawHistory(history) {
  const {
    availability,
    flaps,
    up_seconds: up,
    down_seconds: down,
    maintenance_seconds: maintenance,
  } = history;
  const percent =
    availability === null ? "unknown" : `${(Math.floor(availability * 1e5) / 1e3).toFixed(3)} %`;
  const times = [
    `up ${duration(up)}`,
    `down ${duration(down)}`,
    maintenance > 0 && `disabled ${duration(maintenance)}`,
  ];
  say(
    $("availability"),
    `Availability ${percent}: ${times.filter(Boolean).join(", ")}. Flaps: ${flaps}.`,
  );
  $("timeline").replaceChildren(...history.spans.map(part));
  $("from").replaceChildren(when(history.since, now()));
  $("timeline").setAttribute(
    "aria-label",
    `Timeline of the last ${$("period").selectedOptions[0].text}. ${$("availability").textContent}`,
  );
  $("history").replaceChildren(
    ...history.events
      .toReversed()
      .slice(0, SHOWN)
      .map((event) => h("li", {}, when(event.at, now()), ...tell(event, false))),
  );
  $("no-history").hidden = history.events.length > 0;
}

/** Return a span as a part of the timeline, as wide as it was long. */
function part({ since: begin, until, state, disabled }) {
  const milliseconds = epoch(until) - epoch(begin);
  const stood = [state ?? "not recorded", disabled && "disabled"].filter(Boolean).join(", ");
  const title = `${stood} for ${duration(milliseconds / 1000)} from ${begin.slice(0, 19)}`;
  const element = h("span", { class: `part look-${plainLook(state, disabled)}`, title });
  element.style.flexGrow = Math.max(1, milliseconds);
  return element;
}
