// What the pages of one browser share: one line to the control plane, and so one connection, however
// many pages are open (F-8). Browsers open six to one address, and a stream holds its own for good.
//
// Pages with different tokens share nothing but this file: each token has a line of its own, which is
// forgotten with its last page.

import { Line } from "./line.js";

const STREAMS = 3; // at the same time; more tokens than that are told of news by questions alone
const GONE = 60_000; // milliseconds without an answer after which a page is closed, or asleep

const lines = new Map(); // by token: {line, pages}; pages: when each last answered, by its port

addEventListener("connect", ({ ports: [port] }) => {
  port.addEventListener("message", ({ data }) => take(port, data));
  port.start();
});

/** Take what a page says: that it is there, with its token; that it heard; or that it closes. */
function take(port, { kind, token }) {
  const known = [...lines].find(([, { pages }]) => pages.has(port));
  if (kind === "bye" || (kind === "hello" && known && known[0] !== token)) drop(port);
  if (kind === "heard") known?.[1].pages.set(port, performance.now());
  if (kind === "hello") join(port, token);
}

function join(port, token) {
  const known = lines.get(token);
  const pages = known?.pages ?? new Map();
  pages.set(port, performance.now());
  if (known) known.line.hurry();
  else lines.set(token, { pages, line: open(token, pages) });
}

function open(token, pages) {
  const tell = (message) => {
    for (const [port, answered] of pages) {
      if (performance.now() - answered < GONE) port.postMessage(message);
      else {
        port.postMessage({ kind: "dropped" }); // what it reads first when it wakes up
        drop(port);
      }
    }
    if (line.isEnded) lines.delete(token); // the token was refused; a page may say hello again
  };
  const line = new Line(token, tell, () => streams() < STREAMS);
  return line;
}

function drop(port) {
  for (const [token, { line, pages }] of lines) {
    if (!pages.delete(port) || pages.size) continue;
    line.end();
    lines.delete(token);
  }
}

const streams = () => [...lines.values()].filter(({ line }) => line.isStreaming).length;
