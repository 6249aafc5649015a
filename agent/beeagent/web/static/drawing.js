// A new place that is being drawn on the frame, by mouse or finger.

import { byId, setText } from "./dom.js";
import { rectangle, round } from "./geometry.js";
import { MIN_DRAG, follow, pixelsIn, pointIn } from "./pointer.js";

const CLOSE = 24; // CSS pixels from the first corner within which a tap closes a polygon
const NOUNS = { line: "Line", zone: "Zone", mask: "Mask" };

export class Drawing {
  #stage;
  #overlay;
  #create;
  #ended;
  #kind = null;
  #points = [];

  /** Calls `create` with kind and points of a finished drawing, and before it, or when cancelled, `ended`. */
  constructor(stage, overlay, { create, ended }) {
    this.#stage = stage;
    this.#overlay = overlay;
    this.#create = create;
    this.#ended = ended;
    byId("drawing-done").addEventListener("click", () => this.#finish());
    byId("drawing-cancel").addEventListener("click", () => this.cancel());
    stage.addEventListener("pointermove", (event) => this.#hover(event));
  }

  get active() {
    return this.#kind !== null;
  }

  begin(kind) {
    this.#kind = kind;
    this.#points = [];
    this.#stage.classList.add("drawing");
    byId("toolbar").hidden = true;
    byId("drawing").hidden = false;
    this.#stage.scrollIntoView({ block: "nearest" });
    this.#stage.focus({ preventScroll: true }); // for Enter and Backspace
    this.#hint();
  }

  cancel() {
    this.#kind = null;
    this.#overlay.setDraft(null, null);
    this.#stage.classList.remove("drawing");
    byId("toolbar").hidden = false;
    byId("drawing").hidden = true;
    this.#ended();
  }

  press(event) {
    const [kind, points] = [this.#kind, this.#points];
    const start = pointIn(this.#stage, event);
    let dragged = false;
    follow(event, {
      move: (next) => {
        const at = pointIn(this.#stage, next);
        dragged ||= pixelsIn(this.#stage, start, at) >= MIN_DRAG;
        if (!dragged) return;
        if (kind === "line" || points.length) this.#overlay.setDraft(kind, kind === "line" ? [points[0] ?? start] : points, at);
        else this.#overlay.setDraft(kind, rectangle(start, at), start);
      },
      done: (next) => {
        if (this.active) this.#release(start, pointIn(this.#stage, next), dragged);
      },
      cancelled: () => this.active && this.#overlay.setDraft(kind, points),
    });
  }

  /** Take Enter and Backspace. */
  key(event) {
    if (event.key === "Enter" && this.#points.length >= 3) this.#finish();
    else if (event.key === "Backspace") {
      this.#points.pop();
      this.#overlay.setDraft(this.#kind, this.#points);
      this.#hint();
    }
  }

  /** Take a tap as a point, and a drag as a line or a rectangle. */
  #release(start, at, dragged) {
    const points = this.#points;
    if (this.#kind === "line") {
      if (dragged && !points.length) points.push(start, at);
      else if (!points.length || pixelsIn(this.#stage, points[0], at) >= MIN_DRAG) points.push(at);
      if (points.length === 2) return this.#finish();
    } else if (!points.length && dragged) {
      points.push(...rectangle(start, at));
      return this.#finish();
    } else if (points.length >= 3 && pixelsIn(this.#stage, points[0], at) <= CLOSE) {
      return this.#finish();
    } else {
      points.push(at);
    }
    this.#overlay.setDraft(this.#kind, points);
    this.#hint();
  }

  #hover(event) {
    if (this.active && this.#points.length && event.pointerType === "mouse" && event.buttons === 0) {
      this.#overlay.setDraft(this.#kind, this.#points, pointIn(this.#stage, event));
    }
  }

  #hint() {
    const kind = this.#kind;
    const count = this.#points.length;
    const line = count ? "Now the other end." : "Drag from one end to the other, or tap both ends.";
    const area =
      count === 0
        ? "Drag a rectangle, or tap corner by corner."
        : count < 3
          ? `${count} of at least 3 corners. Tap the next.`
          : "Tap the next corner, or the first one to close.";
    setText(byId("drawing-hint"), `${NOUNS[kind]}: ${kind === "line" ? line : area}`);
    byId("drawing-done").hidden = kind === "line" || count < 3;
  }

  #finish() {
    const [kind, points] = [this.#kind, this.#points];
    this.cancel();
    this.#create(kind, points.map(round));
  }
}
