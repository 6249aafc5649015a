// Where a pointer is on the frame, and where it goes until it is released.

import { round } from "./geometry.js";

export const MIN_DRAG = 12; // CSS pixels from which a press that moves is a drag, not a tap

/** Return the point of an element at which an event is, in ratios of its size. */
export function pointIn(element, event) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return round([(event.clientX - left) / width, (event.clientY - top) / height]);
}

/** Return the distance of two points of an element in CSS pixels. */
export function pixelsIn(element, one, other) {
  return Math.hypot((one[0] - other[0]) * element.clientWidth, (one[1] - other[1]) * element.clientHeight);
}

/** Follow a pointer from its press until it is released (`done`), or lost or Escape is pressed (`cancelled`). */
export function follow(event, { move, done, cancelled }) {
  const finished = new AbortController();
  const only = (handler) => (next) => next.pointerId === event.pointerId && handler(next);
  const listen = (type, handler) => window.addEventListener(type, handler, { signal: finished.signal });
  const end = (handler) => (next) => {
    finished.abort();
    handler(next);
  };
  listen("pointermove", only(move));
  listen("pointerup", only(end(done)));
  listen("pointercancel", only(end(cancelled)));
  listen("keydown", (next) => next.key === "Escape" && end(cancelled)());
}
