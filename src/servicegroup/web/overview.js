// What comes first: whether this page is current, how many are up, who observes, which signal is
// suspect, and the groups.

import { $, fill, h, memo, say } from "./dom.js";
import { known, now, onChange } from "./store.js";
import { fleet, look, view } from "./view.js";
import { SUSPECT, clockTime, count, duration, epoch, many, mark, since, when } from "./words.js";

const PHASES = {
  connecting: "connecting",
  loading: "loading",
  live: "live",
  behind: "behind",
  away: "reconnecting",
  token: "token needed",
};
const CONTROL_PLANE = "servicegroup"; // the group control planes join themselves

export function startOverview() {
  onChange(draw);
}

/** Say how old what is shown is, where it is not current; each second. */
export function sayHeard() {
  const { phase, asOf } = known;
  const ago = asOf === null ? "" : `${duration((performance.now() - asOf) / 1000)} ago`;
  if (phase === "away") say($("heard"), ago ? `last heard ${ago}` : "never heard");
  else say($("heard"), ago && `as of ${ago}`);
}

function draw() {
  const tally = { up: 0, down: 0, disabled: 0, bad: 0, planes: 0 };
  const groups = new Map();
  for (const { service, look: seen } of fleet()) {
    const group = groups.get(service.topic) ?? { up: 0, down: 0, disabled: 0, bad: 0 };
    groups.set(service.topic, group);
    for (const counts of [tally, group]) {
      counts[service.verdict.state] += 1;
      counts.disabled += service.disabled;
      counts.bad += seen === "down";
    }
    tally.planes += service.topic === CONTROL_PLANE && service.verdict.state === "up";
  }
  for (const name of ["up", "down", "disabled"]) say($(`count-${name}`), count(tally[name]));
  say(
    $("count-off"),
    tally.down > tally.bad ? `, ${count(tally.down - tally.bad)} of them disabled` : "",
  );
  const doubt = known.phase === "live" ? "" : "? ";
  const bad = tally.bad ? `${tally.bad} down · ` : "";
  document.title = `${doubt}${bad}servicegroup`;
  drawConnection(tally);
  fill(
    $("protections"),
    known.protections.map((one) =>
      banner(
        `${one.group} ${one.zone} ${one.signal}`,
        `${one.since} ${one.members} ${one.peak}`,
        one,
      ),
    ),
  );
  fill(
    $("groups"),
    [...groups]
      .toSorted()
      .map(([name, counts]) =>
        card(name, `${Object.values(counts)} ${view.group === name}`, name, counts),
      ),
  );
}

function drawConnection(tally) {
  const { phase, heard, trouble } = known;
  document.body.dataset.phase = phase;
  document.body.classList.toggle("unknown", heard === null); // and a count of nothing is no zero
  say($("phase"), PHASES[phase]);
  sayHeard();
  $("away").hidden = phase !== "away" && phase !== "behind";
  const asOf =
    heard === null
      ? "Nothing is known yet."
      : `What is shown is as of ${clockTime(now(), now())} UTC; what happened since is not known.`;
  say($("away"), `${trouble} ${asOf} Trying again by itself.`);
  const observed = {
    true: "observed",
    false: "no observer: changes show late and are not recorded",
    null: "",
  };
  const drivers = known.drivers.map((driver) =>
    driver.shadow ? `shadow driver ${driver.name}` : `driver ${driver.name}`,
  );
  const planes = tally.planes && `${many(tally.planes, "control plane")} up`;
  say($("who"), [...drivers, observed[known.observed], planes].filter(Boolean).join(" · "));
}

const banner = memo(({ group, zone, signal, since: began, members, peak }) => {
  const { what, todo } = SUSPECT[signal] ?? { what: "lost it together.", todo: "" };
  const most = peak > members ? ` (${count(peak)} at the most)` : "";
  return h(
    "li",
    { class: "banner" },
    mark("held"),
    h(
      "div",
      {},
      h(
        "p",
        {},
        h("b", {}, `Protection: the ${signal} of group ${group}, zone ${zone}, is suspect. `),
        `Since `,
        when(began, now()),
        " UTC (",
        since(epoch(began), now()),
        `), ${many(members, "member")}${most} ${what}`,
      ),
      h("p", {}, todo),
    ),
  );
});

const card = memo((name, { up, down, disabled, bad }) => {
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
  meter.firstChild.style.width = `${(100 * up) / (up + down)}%`;
  const pressed = view.group === name;
  const button = h(
    "button",
    { "aria-pressed": String(pressed), onclick: () => look({ group: pressed ? "" : name }) },
    h("b", { class: "name" }, name),
    meter,
    h(
      "span",
      { class: "counts" },
      `${count(up)} up`,
      down > 0 && [", ", h("span", { class: bad ? "bad" : "" }, `${count(down)} down`)],
      disabled > 0 && `, ${count(disabled)} disabled`,
    ),
  );
  return h("li", {}, button);
});
