// This page's end of the line: the one that all pages of the browser share, or, where a browser
// cannot share, one of its own that only asks and so holds no connection.

import { token } from "./api.js";
import { Line } from "./line.js";

const SILENT = 15; // seconds; a line says something every eight

let listener = () => {};
let port = null; // to the shared worker
let own = null; // this page's own line
let silence = 0; // seconds, counted: a machine that slept was not silent

/** Call `told` with all that the line says, see line.js, from now on. */
export function connect(told) {
  listener = told;
  share();
  addEventListener("pagehide", () => port?.postMessage({ kind: "bye" }));
  addEventListener("pageshow", ({ persisted }) => persisted && hello());
  document.addEventListener("visibilitychange", () => document.hidden || own?.hurry());
  setInterval(passSecond, 1000);
}

/** Say that this page is there, with the token that it has now; the line answers at once. */
export function hello() {
  if (own) {
    own.end();
    own = new Line(token.get(), hear, () => false);
  } else port.postMessage({ kind: "hello", token: token.get() });
}

function share() {
  try {
    const address = new URL("worker.js", import.meta.url);
    const worker = new SharedWorker(address, { type: "module", name: "servicegroup" });
    worker.addEventListener("error", alone);
    port = worker.port;
    port.addEventListener("message", ({ data }) => hear(data));
    port.start();
    hello();
  } catch {
    alone();
  }
}

/** Ask alone from now on: there is no shared worker, or it does not run. */
function alone() {
  port?.close();
  port = null;
  own ??= new Line(token.get(), hear, () => false);
}

function hear(message) {
  silence = 0;
  if (message.kind === "heard") port?.postMessage({ kind: "heard" });
  if (message.kind === "dropped") hello();
  else listener(message);
}

function passSecond() {
  silence += 1;
  if (port && silence === SILENT) hello();
  if (port && silence > 2 * SILENT) alone();
}
