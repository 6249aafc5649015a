// The handles of the selected place: buttons on its points, to be dragged, or moved by the arrow keys.

import { byId, html } from "./dom.js";
import { centre, middle, round, shifted } from "./geometry.js";
import { follow, pixelsIn, pointIn } from "./pointer.js";
import { withMiddle } from "./selection.js";

const ROOM_FOR_MIDDLE = 96; // CSS pixels of an edge from which its middle has a handle
const STEP = 0.01; // of the frame, by an arrow key
const LARGE_STEP = 0.05; // with Shift
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

const percent = ([x, y]) => `${Math.round(x * 100)} % from the left, ${Math.round(y * 100)} % from the top`;
const indexOf = (key) => Number(key.split("-")[1]);

export class Handles {
  #stage;
  #selection;
  #layer = byId("handles");
  #dragging = false;

  constructor(stage, selection) {
    this.#stage = stage;
    this.#selection = selection;
  }

  /** Show the handles of a place; null shows none. */
  show(place) {
    this.#layer.hidden = !place;
    if (!place) {
      this.#layer.replaceChildren();
      return;
    }
    this.#layer.setAttribute("aria-label", `Points of ${place.name}. Arrow keys move the focused point.`);
    const present = new Map([...this.#layer.children].map((handle) => [handle.dataset.handle, handle]));
    for (const [key, { type, label, at }] of this.#wanted(place)) {
      const handle = present.get(key) ?? this.#handle(key, type);
      present.delete(key);
      handle.setAttribute("aria-label", label);
      handle.style.left = `${at[0] * 100}%`;
      handle.style.top = `${at[1] * 100}%`;
      this.#layer.append(...(handle.isConnected ? [] : [handle]));
    }
    for (const handle of present.values()) handle.remove();
  }

  focus(key) {
    this.#layer.querySelector(`[data-handle="${key}"]`)?.focus({ preventScroll: true });
  }

  /** Drag the point of a handle, or the selected place as a whole, from the press of a pointer on. */
  grab(event, key) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.#selection.settle();
    const place = this.#selection.place;
    const start = pointIn(this.#stage, event);
    const added = key.startsWith("middle-");
    const points = added ? withMiddle(place.points, indexOf(key)) : place.points;
    const index = indexOf(key) + (added ? 1 : 0);
    const end = (then) => () => {
      this.#dragging = false;
      then();
    };
    this.#dragging = true;
    follow(event, {
      move: (next) => {
        const at = pointIn(this.#stage, next);
        const by = [at[0] - start[0], at[1] - start[1]];
        const moved = key === "move" ? shifted(points, by) : points.map((point, other) => (other === index ? at : point));
        this.#selection.put(place, moved);
      },
      done: end(() => this.#selection.settle()),
      cancelled: end(() => this.#selection.discard()),
    });
    this.#selection.put(place, points);
    if (key !== "move") this.focus(`point-${index}`);
  }

  #wanted({ kind, name, points }) {
    const noun = kind === "line" ? "end" : "corner";
    const wanted = points.map((at, index) => [
      `point-${index}`,
      { type: "point", at, label: `${name}, ${noun} ${index + 1} of ${points.length}, ${percent(at)}` },
    ]);
    if (kind !== "line") {
      points.forEach((point, index) => {
        const next = points[(index + 1) % points.length];
        if (pixelsIn(this.#stage, point, next) < ROOM_FOR_MIDDLE) return;
        wanted.push([`middle-${index}`, { type: "middle", at: middle(point, next), label: `Add a corner after corner ${index + 1}` }]);
      });
    }
    wanted.push(["move", { type: "move", at: centre(points), label: `Move ${name} as a whole` }]);
    return wanted;
  }

  #handle(key, type) {
    return html("button", {
      type: "button",
      class: `handle ${type}`,
      "data-handle": key,
      onpointerdown: (event) => this.grab(event, key),
      onkeydown: (event) => this.#key(event, key),
      onclick: (event) => event.detail === 0 && type === "middle" && this.#split(indexOf(key)),
      onfocus: () => type === "point" && (this.#selection.corner = indexOf(key)),
      onblur: () => this.#dragging || this.#selection.settle(),
    });
  }

  #split(index) {
    this.#selection.split(index);
    this.focus(`point-${index + 1}`);
  }

  #key(event, key) {
    const index = key.startsWith("point-") ? indexOf(key) : null;
    const arrow = ARROWS[event.key];
    if (arrow && !key.startsWith("middle-")) {
      event.preventDefault();
      const step = arrow.map((value) => value * (event.shiftKey ? LARGE_STEP : STEP));
      const place = this.#selection.place;
      const points =
        index === null
          ? shifted(place.points, step)
          : place.points.map((point, other) => (other === index ? round([point[0] + step[0], point[1] + step[1]]) : point));
      this.#selection.put(place, points);
      this.#selection.settleLater();
    } else if ((event.key === "Delete" || event.key === "Backspace") && index !== null) {
      event.preventDefault();
      this.#selection.removeCorner(index);
      this.focus(`point-${Math.max(0, index - 1)}`);
    }
  }
}
