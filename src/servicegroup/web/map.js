// The whole fleet at a glance: a cell a service, by group and zone, on one canvas. The table below
// it is its equal for everybody.

import { $, h, say } from "./dom.js";
import { pictures } from "./looks.js";
import { changed, now, onChange } from "./store.js";
import { fleet, wanted } from "./view.js";
import { LOOKS, count, duration, epoch, isProblem, many, mark } from "./words.js";

const CELLS = [22, 18, 15, 13, 11, 10, 9, 8, 7, 6]; // pixels, the gap included
const COLOURS = ["up", "down", "held", "off", "paper", "text"];
const LABEL = 20;
const GAP = 16; // pixels between sections
const FAINT = 0.16; // of what the filters leave out

const canvas = $("map");
const context = canvas.getContext("2d");
let cell = 0;
let entries = [];
let sections = []; // {label, entries, from, x, y, width, columns}
let at = -1; // the index of the entry that is pointed at
let colours = null;
let drawn = {}; // pictures of the looks, by size

/** Draw the map after every change, and call `open` with the uuid of a cell that is chosen. */
export function startMap(open) {
  const choose = (index) => index >= 0 && open(entries[index].service.uuid);
  onChange(draw);
  new ResizeObserver(() => changed()).observe(canvas.parentElement);
  canvas.addEventListener("pointermove", (event) => point(cellAt(event)));
  canvas.addEventListener("pointerleave", () => document.activeElement !== canvas && point(-1));
  canvas.addEventListener("click", (event) => choose(cellAt(event)));
  canvas.addEventListener("focus", () => point(at < 0 ? 0 : at));
  canvas.addEventListener("blur", () => point(-1));
  canvas.addEventListener("keydown", (event) => {
    const row = sectionOf(at)?.columns ?? 1;
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at + row,
      ArrowUp: at - row,
      Home: 0,
      End: entries.length - 1,
    }[event.key];
    if (to !== undefined) point(Math.max(0, Math.min(entries.length - 1, to)));
    else if (event.key === "Enter") choose(at);
    else if (event.key === "Escape") point(-1);
    else return;
    event.preventDefault();
  });
  $("legend").append(...Object.entries(LOOKS).map(([look, word]) => h("li", {}, mark(look), word)));
}

/** Draw in other colours, because the theme is another. */
export function repaint() {
  colours = null;
  changed(true);
}

const sectionOf = (index) => sections.findLast((section) => section.from <= index);
const font = () => `600 12px ${getComputedStyle(canvas).fontFamily}`;
const place = (section, i) => [
  section.x + (i % section.columns) * cell,
  section.y + LABEL + Math.floor(i / section.columns) * cell,
];

function draw() {
  const pointed = entries[at]?.service.uuid;
  entries = fleet();
  canvas.parentElement.hidden = entries.length === 0;
  const width = canvas.parentElement.clientWidth;
  if (!width) return; // another page is shown
  const height = layOut(width);
  if (pointed) point(entries.findIndex((entry) => entry.service.uuid === pointed));
  const ratio = Math.min(devicePixelRatio, 2);
  canvas.width = width * ratio; // also clears it
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  context.scale(ratio, ratio);
  paint(ratio);
  canvas.setAttribute(
    "aria-label",
    `Fleet map, ${many(entries.length, "service")}. Arrow keys move, Enter` +
      " opens a service. The table lists the same.",
  );
}

function paint(ratio) {
  if (!colours) {
    drawn = {};
    colours = Object.fromEntries(
      COLOURS.map((name) => {
        // Only a real property tells what light-dark() is now.
        canvas.style.color = `var(--${name})`;
        return [name, getComputedStyle(canvas).color];
      }),
    );
  }
  drawn[cell] ??= pictures(cell, ratio, colours);
  const isWanted = wanted(now());
  context.font = font();
  context.fillStyle = colours.text;
  for (const section of sections) {
    context.fillText(section.label, section.x, section.y + 13, section.width);
  }
  // Problems come last, on top of their neighbours.
  for (const isLast of [false, true]) {
    for (const section of sections) {
      for (const [i, entry] of section.entries.entries()) {
        if (isProblem(entry.look) !== isLast) continue;
        const [x, y] = place(section, i);
        context.globalAlpha = isWanted(entry) ? 1 : FAINT;
        context.drawImage(drawn[cell][entry.look], x - 1, y - 1, cell + 2, cell + 2);
      }
    }
  }
}

/** Give sections their places, with the largest cells that keep the map low; return its height. */
function layOut(width) {
  const groups = [];
  for (const entry of entries) {
    const { topic, zone } = entry.service;
    const last = groups.at(-1);
    if (last?.topic === topic && last.zone === zone) last.entries.push(entry);
    else groups.push({ topic, zone, entries: [entry] });
  }
  context.font = font();
  for (const group of groups) {
    group.label = `${group.topic} · ${group.zone}  ${count(group.entries.length)}`;
    group.labelWidth = Math.ceil(context.measureText(group.label).width);
  }
  const low = Math.max(220, Math.min(420, innerHeight * 0.38));
  let height = 0;
  for (cell of CELLS) {
    height = shelve(groups, width);
    if (height <= low) break;
  }
  return height;
}

/** Put sections beside each other while there is room, then below; return how high that is. */
function shelve(groups, width) {
  let [x, y, shelf, from] = [1, 2, 0, 0];
  const room = Math.floor((width - 2) / cell);
  sections = groups.map((group) => {
    const n = group.entries.length;
    const columns = Math.max(1, Math.min(n, room, Math.max(12, Math.ceil(Math.sqrt(n * 8)))));
    const wide = Math.min(width - 2, Math.max(columns * cell, group.labelWidth));
    if (x > 1 && x + wide > width) [x, y, shelf] = [1, y + shelf + GAP, 0];
    const section = { ...group, from, x, y, width: wide, columns };
    shelf = Math.max(shelf, LABEL + Math.ceil(n / columns) * cell);
    [x, from] = [x + wide + GAP, from + n];
    return section;
  });
  return y + shelf + 4;
}

function cellAt({ clientX, clientY }) {
  const { left, top } = canvas.getBoundingClientRect();
  for (const { x, y, columns, from, entries: inside } of sections) {
    const [column, row] = [
      Math.floor((clientX - left - x) / cell),
      Math.floor((clientY - top - y - LABEL) / cell),
    ];
    const i = row * columns + column;
    if (column >= 0 && row >= 0 && column < columns && i < inside.length) return from + i;
  }
  return -1;
}

/** Show what a cell is, to eyes and to screen readers. */
function point(index) {
  const entry = entries[index];
  at = entry ? index : -1;
  $("tip").hidden = $("cursor").hidden = !entry;
  canvas.classList.toggle("pointing", Boolean(entry));
  if (!entry) return;
  const { service, look } = entry;
  const begin = epoch(service.observed_since);
  const forHow = begin === null ? "" : ` for ${duration(Math.round((now() - begin) / 1000))}`;
  say(
    $("tip"),
    `${service.host} ${service.binary}: ${LOOKS[look]}${forHow}, ${service.verdict.reason}`,
  );
  const [x, y] = place(sectionOf(at), at - sectionOf(at).from);
  put($("cursor"), x - 3, y - 3, cell + 6);
  put($("tip"), Math.max(0, Math.min(canvas.clientWidth - $("tip").offsetWidth, x)), y + cell + 6);
}

function put({ style }, left, top, size) {
  Object.assign(
    style,
    { left: `${left}px`, top: `${top}px` },
    size && { width: `${size}px`, height: `${size}px` },
  );
}
