// The fleet as a table: filtered, sorted, a hundred rows at a time.

import { $, fill, h, memo, say } from "./dom.js";
import { known, now, onChange } from "./store.js";
import { fleet, isPlain, look, ordered, lastReport, view, wanted } from "./view.js";
import { count, epoch, many, mark, since } from "./words.js";

const ROWS = 100;
const FILTERS = ["q", "state", "group", "zone"];
const SWITCHES = ["problems", "flapping", "disabled"];

/** Draw the table after every change, and let its filters and headings change the view. */
export function startTable() {
  onChange(draw);
  for (const name of FILTERS) {
    $(name).addEventListener("input", () => look({ [name]: $(name).value }));
  }
  for (const name of SWITCHES) {
    $(name).addEventListener("click", () => look({ [name]: view[name] ? "" : "1" }));
  }
  $("clear").addEventListener("click", () => {
    look(Object.fromEntries([...FILTERS, ...SWITCHES].map((name) => [name, ""])));
    $("q").focus();
  });
  $("previous").addEventListener("click", () => look({ page: String(page() - 1) }));
  $("next").addEventListener("click", () => look({ page: String(page() + 1) }));
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const sort = button.dataset.sort;
      look({ sort, order: view.sort === sort && view.order === "up" ? "down" : "up" });
    });
  }
  $("rows").addEventListener("keydown", step);
}

const page = () => Math.max(1, Number.parseInt(view.page, 10) || 1);

function draw() {
  if (!$("rows").offsetParent) return; // another page is shown
  const all = fleet();
  const found = ordered(all.filter(wanted(now())));
  const last = Math.max(1, Math.ceil(found.length / ROWS));
  const here = Math.min(page(), last);
  const from = (here - 1) * ROWS;
  fill(
    $("rows"),
    found
      .slice(from, from + ROWS)
      .map(({ service, look: seen }) => row(service.uuid, signature(service, seen), service, seen)),
  );
  const shown =
    found.length > ROWS
      ? `${count(from + 1)}–${count(Math.min(from + ROWS, found.length))} of ${count(found.length)}`
      : many(found.length, "service");
  say($("found"), isPlain() ? shown : `${shown} match, ${count(all.length)} in all`);
  $("pages").hidden = last === 1;
  say($("page"), `Page ${here} of ${last}`);
  $("previous").disabled = here === 1;
  $("next").disabled = here === last;
  $("clear").hidden = isPlain();
  $("none").hidden = found.length > 0 || known.phase === "loading" || known.phase === "connecting";
  say(
    $("none"),
    all.length ? "No service matches these filters." : "No service has registered yet.",
  );
  drawControls(all);
}

function drawControls(all) {
  choices($("group"), "Any group", new Set(all.map((entry) => entry.service.topic)));
  choices($("zone"), "Any zone", new Set(all.map((entry) => entry.service.zone)));
  for (const name of FILTERS) {
    if (document.activeElement !== $(name) || !view[name]) $(name).value = view[name];
  }
  for (const name of SWITCHES) $(name).setAttribute("aria-pressed", String(Boolean(view[name])));
  for (const button of document.querySelectorAll("th button")) {
    const isSorted = view.sort === button.dataset.sort;
    const order = view.order === "down" ? "descending" : "ascending";
    button.closest("th").setAttribute("aria-sort", isSorted ? order : "none");
  }
}

function choices(select, any, names) {
  const wantedNames = ["", ...[...names].toSorted()];
  const there = [...select.options].map((option) => option.value);
  if (there.join("\n") === wantedNames.join("\n")) return;
  select.replaceChildren(...wantedNames.map((name) => h("option", { value: name }, name || any)));
}

const signature = (service, seen) =>
  [
    seen,
    service.incarnation,
    service.verdict.reason,
    service.disabled_reason,
    service.detail,
    service.observed_since,
    service.left_at,
    lastReport(service),
  ].join("\n");

/** Return what the row says of a service's last report. */
function reported(service) {
  const last = lastReport(service);
  if (service.verdict.reason === "forced_down") return "–";
  if (last === null) return "fresh";
  if (last === 0) return "never";
  return since(last, now());
}

const row = memo((service, seen) => {
  const { host, binary, topic, zone, uuid, verdict, disabled_reason: reason } = service;
  const begin = epoch(service.observed_since);
  return h(
    "tr",
    { class: `is-${seen}` },
    h(
      "td",
      { class: "state" },
      mark(seen),
      h("b", {}, verdict.state),
      " ",
      h("span", { class: "reason", title: verdict.sentence }, verdict.reason),
      seen === "flapping" && h("span", { class: "tag" }, "flapping"),
    ),
    h(
      "th",
      { scope: "row", class: "name" },
      h("a", { href: `#/services/${encodeURIComponent(uuid)}` }, host),
      h("span", { class: "small binary" }, binary),
      " ",
      service.mirror && h("span", { class: "tag", title: `from ${service.mirror}` }, "mirrored"),
    ),
    h("td", { class: "name wide" }, binary),
    h("td", { class: "name wide" }, topic),
    h("td", { class: "name wide" }, zone),
    h(
      "td",
      { class: "status wide" },
      service.disabled ? "disabled" : "enabled",
      reason && h("span", { class: "small", title: reason }, reason),
    ),
    h("td", { class: "number" }, begin === null ? "–" : since(begin, now())),
    h("td", { class: "number wide" }, reported(service)),
  );
});

/** Up, Down, Home and End go from row to row, Page Up and Page Down from page to page. */
function step(event) {
  const links = [...$("rows").querySelectorAll("a")];
  const here = links.indexOf(event.target);
  const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: links.length - 1 }[event.key];
  if (to !== undefined) links[Math.max(0, Math.min(links.length - 1, to))].focus();
  else if (event.key === "PageDown" && !$("next").disabled) $("next").click();
  else if (event.key === "PageUp" && !$("previous").disabled) $("previous").click();
  else return;
  event.preventDefault();
  if (to === undefined) $("rows").querySelector("a")?.focus();
}
