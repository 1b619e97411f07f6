// What happened, newest first, and the newest changes said aloud to those who cannot see them.

import { $, fill, h, memo, say } from "./dom.js";
import { onEvent } from "./live.js";
import { known, now, onChange } from "./store.js";
import { KINDS, duration, mark, when } from "./words.js";

const SHOWN = 40;
const REST = 3000; // milliseconds between two announcements

export function startEvents() {
  onChange(() => {
    fill(
      $("events"),
      known.events.slice(0, SHOWN).map((event) => line(String(event.id), signature(event), event)),
    );
    $("no-events").hidden = known.events.length > 0;
  });
  onEvent(announce);
}

/** Return what an event says: a mark, what happened to whom, and its circumstances. */
export function tell(event, named = true) {
  const { kind, uuid, host, binary, group, zone, before, seconds, actor, detail, reason } = event;
  const isNamed = uuid !== null && named;
  const who = isNamed && [
    h("a", { href: `#/services/${encodeURIComponent(uuid)}`, class: "name" }, host),
    " ",
  ];
  const place = kind.startsWith("protection") && ` for ${group}, ${zone}`;
  const more = [
    isNamed && binary,
    reason,
    before && seconds !== null && `after ${duration(seconds)} ${before}`.replaceAll(" ", "\u00a0"),
    actor && `by ${actor}`,
    detail,
  ];
  return [
    mark(MARKS[kind] ?? "none"),
    h(
      "span",
      {},
      who,
      KINDS[kind] ?? kind,
      place,
      h("span", { class: "small" }, more.filter(Boolean).join(" · ")),
    ),
  ];
}

const MARKS = {
  "service-up": "up",
  "service-down": "down",
  "service-deaf": "deaf",
  "service-answers": "up",
  "protection-on": "held",
  "service-disable": "disabled",
  "service-force-down": "off",
  "service-exit": "off",
  "service-leave": "off",
  "service-delete": "off",
};

// Another register gives the same ids anew.
const signature = ({ at, kind, uuid }) => `${at} ${kind} ${uuid}`;

const line = memo((event) => h("li", {}, when(event.at, now()), ...tell(event)));

const ALOUD = new Set(["service-up", "service-down", "protection-on", "protection-off"]);
let unsaid = [];

/** Say changes of state in one sentence, however many there were in the meantime. */
function announce(event) {
  if (!ALOUD.has(event.kind)) return;
  unsaid.push(event);
  if (unsaid.length > 1) return; // the first one waits for the others
  setTimeout(() => {
    const [down, up] = ["service-down", "service-up"].map(
      (kind) => unsaid.filter((one) => one.kind === kind).length,
    );
    const last = sentence(unsaid.at(-1));
    say(
      $("announcer"),
      unsaid.length === 1 ? last : `${down} went down, ${up} came up; last: ${last}`,
    );
    unsaid = [];
  }, REST);
}

const sentence = ({ kind, host, binary, group, zone }) =>
  host === null
    ? `${KINDS[kind] ?? kind} for ${group}, ${zone}`
    : `${host} ${binary} ${KINDS[kind] ?? kind}`;
