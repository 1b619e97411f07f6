// How a look is drawn on the map. Each has a pattern of its own, so that the map reads without
// colours; style.css has the same patterns for the marks beside words.

import { h } from "./dom.js";
import { LOOKS, isProblem } from "./words.js";

const SMALL = 10; // pixels below which a cell is easily overlooked

/** Return a picture of each look for cells of a size, in the colours given by name. */
export function pictures(cell, ratio, colours) {
  return Object.fromEntries(
    Object.keys(LOOKS).map((look) => {
      const gap = cell < SMALL ? 1 : 2;
      // Larger than its cell, a problem is found among thousands.
      const bleed = cell < SMALL && isProblem(look) ? 1 : 0;
      const size = bleed ? cell + 2 * bleed : cell - gap;
      const picture = h("canvas", { width: (cell + 2) * ratio, height: (cell + 2) * ratio });
      const pen = picture.getContext("2d");
      pen.scale(ratio, ratio);
      pen.translate(1 - bleed, 1 - bleed);
      pen.lineWidth = Math.max(1, size / 7);
      PATTERNS[look](pen, size, colours);
      return [look, picture];
    }),
  );
}

const PATTERNS = {
  up: (pen, size, { up }) => box(pen, up, 0, 0, size, size),
  down: (pen, size, { down, paper }) => {
    box(pen, down, 0, 0, size, size);
    cross(pen, size, paper);
  },
  deaf: (pen, size, { held, paper }) => {
    box(pen, held, 0, 0, size, size);
    box(pen, paper, size * 0.4, 0, size * 0.2, size);
  },
  held: (pen, size, { held, paper }) => {
    box(pen, held, 0, 0, size, size);
    box(pen, paper, size * 0.15, size * 0.15, size * 0.7, size * 0.35);
  },
  flapping: (pen, size, { held, paper }) => {
    box(pen, held, 0, 0, size, size);
    line(pen, size, paper, [0, 0.7], [0.3, 0.3], [0.7, 0.7], [1, 0.3]);
  },
  unsure: (pen, size, { up, paper }) => {
    box(pen, up, 0, 0, size, size);
    box(pen, paper, size * 0.32, size * 0.32, size * 0.36, size * 0.36);
  },
  off: (pen, size, { off, paper }) => {
    hollow(pen, size, off, paper);
    cross(pen, size, off);
  },
  disabled: (pen, size, { off, paper }) => {
    hollow(pen, size, off, paper);
    line(pen, size, off, [0, 1], [1, 0]);
  },
};

function box(pen, colour, ...place) {
  pen.fillStyle = colour;
  pen.fillRect(...place);
}

function hollow(pen, size, colour, paper) {
  const edge = pen.lineWidth;
  box(pen, colour, 0, 0, size, size);
  box(pen, paper, edge, edge, size - 2 * edge, size - 2 * edge);
}

function line(pen, size, colour, ...points) {
  pen.strokeStyle = colour;
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x * size, y * size);
  pen.stroke();
}

function cross(pen, size, colour) {
  line(pen, size, colour, [0.24, 0.24], [0.76, 0.76]);
  line(pen, size, colour, [0.24, 0.76], [0.76, 0.24]);
}
