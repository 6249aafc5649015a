// The selected place, and the change of its points that is shown but not saved yet.

import { distance, inDirection, inSign, middle, round } from "./geometry.js";

const SETTLED_MS = 500; // after the last arrow key, the change is saved

/** Dispatches `selected` when another place or none is selected, and `moved` when its points on the frame have changed. */
export class Selection extends EventTarget {
  #places;
  #name = null;
  #unsaved = null;
  #timer = 0;

  corner = null; // index of the corner that was used last

  constructor(places) {
    super();
    this.#places = places;
  }

  get name() {
    return this.#name;
  }

  /** The place with its points as they are shown; null without a selection. */
  get place() {
    return this.#unsaved ?? (this.#name ? this.#places.find(this.#name) : null);
  }

  /** Whether its points are shown other than they are saved. */
  get isUnsaved() {
    return this.#unsaved !== null;
  }

  select(name) {
    this.settle();
    this.#name = name;
    this.corner = null;
    this.dispatchEvent(new Event("selected"));
  }

  /** Select none, without saving, where the selected place is gone. */
  check() {
    if (this.#name && !this.#places.find(this.#name)) this.#name = null;
  }

  /** Show a place with other points; `settle` saves it. */
  put(place, points) {
    const changed = { ...place, points };
    // The way in stays on its side of the line, however the line turns.
    if (place.kind === "line" && distance(...points) > 0) changed.in = inDirection(points, inSign(place));
    this.#unsaved = changed;
    this.dispatchEvent(new Event("moved"));
  }

  /** Save what is shown. */
  settle() {
    clearTimeout(this.#timer);
    const place = this.#unsaved;
    this.#unsaved = null;
    if (!place) return;
    if (this.#places.find(place.name)) this.#places.set(place.name, place);
    else this.dispatchEvent(new Event("moved"));
  }

  /** Save what is shown, once nothing has changed it for a while. */
  settleLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.settle(), SETTLED_MS);
  }

  /** Show the points as they are saved. */
  discard() {
    clearTimeout(this.#timer);
    this.#unsaved = null;
    this.dispatchEvent(new Event("moved"));
  }

  /** Add a place and select it. */
  create(place) {
    this.#name = place.name;
    this.#unsaved = null;
    this.#places.set(place.name, place);
  }

  rename(next) {
    const before = this.#name;
    this.settle();
    this.#name = next;
    this.#places.rename(before, next);
  }

  swap() {
    this.settle();
    const line = this.place;
    this.#places.set(line.name, { ...line, in: inDirection(line.points, -inSign(line)) });
  }

  delete() {
    this.discard();
    this.#places.delete(this.#name);
  }

  /** Add a corner in the middle of the edge after a corner. */
  split(index) {
    this.settle();
    const place = this.place;
    this.#places.set(place.name, { ...place, points: withMiddle(place.points, index) });
  }

  removeCorner(index) {
    this.settle();
    const place = this.place;
    if (place.kind === "line" || place.points.length <= 3) return;
    this.corner = null;
    this.#places.set(place.name, { ...place, points: place.points.filter((_, other) => other !== index) });
  }
}

/** Return the points with the middle of the edge after one of them. */
export function withMiddle(points, index) {
  const added = [...points];
  added.splice(index + 1, 0, round(middle(points[index], points[(index + 1) % points.length])));
  return added;
}
