// Drawing, moving, naming and deleting places: what is shown of them, and what keys and pointers do.

import { byId, setText, showText } from "./dom.js";
import { Drawing } from "./drawing.js";
import { clamp, rectangle, round } from "./geometry.js";
import { Handles } from "./handles.js";
import { PlaceList } from "./place-list.js";
import { Selection } from "./selection.js";

const EMPTY = "No places yet. A line counts bees that cross it; a zone, those that come and go; a mask hides a spot that is always wrong.";

export class Editor {
  #places;
  #overlay;
  #selection;
  #handles;
  #drawing;
  #list;
  #stage = byId("stage");
  #pressedDrawing = false; // whether the click that follows belongs to drawing
  #editable = false;
  #note = "";

  constructor(places, overlay) {
    this.#places = places;
    this.#overlay = overlay;
    this.#selection = new Selection(places);
    this.#handles = new Handles(this.#stage, this.#selection);
    this.#list = new PlaceList(places, this.#selection, { deleted: (name) => this.#showDeleted(name) });
    this.#drawing = new Drawing(this.#stage, overlay, {
      create: (kind, points) => this.#create(kind, points),
      ended: () => this.#showHandles(),
    });
    places.addEventListener("changed", () => this.#show());
    places.addEventListener("error", ({ detail }) => setText(byId("places-error"), detail));
    this.#selection.addEventListener("selected", () => this.#show());
    this.#selection.addEventListener("moved", () => this.#showSelected());
    for (const kind of ["line", "zone", "mask"]) {
      // A click without a pointer comes from a keyboard or a screen reader, which cannot draw on the frame.
      byId(`add-${kind}`).addEventListener("click", (event) => (event.detail === 0 ? this.#insert(kind) : this.#draw(kind)));
    }
    byId("undo").addEventListener("click", () => this.#undo());
    this.#stage.addEventListener("pointerdown", (event) => this.#press(event));
    this.#stage.addEventListener("click", (event) => this.#tap(event));
    document.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#showHandles()).observe(this.#stage);
  }

  /** Allow editing or not, and say why not. */
  allow(editable, note) {
    if (editable === this.#editable && note === this.#note) return;
    this.#editable = editable;
    this.#note = note;
    if (!editable) {
      this.#drawing.cancel();
      this.#selection.select(null);
    }
    this.#show();
  }

  // ---- what is shown

  #show() {
    this.#selection.check();
    const { isFull, canUndo } = this.#places;
    byId("add").hidden = !this.#editable;
    for (const button of byId("add").children) button.disabled = isFull;
    byId("undo").hidden = !this.#editable || !canUndo;
    const empty = this.#places.list().length === 0;
    showText(byId("places-note"), this.#note || (isFull ? "No more places are possible." : empty ? EMPTY : ""));
    this.#list.show(this.#editable);
    this.#showSelected();
  }

  #showSelected() {
    const { place, name, isUnsaved } = this.#selection;
    const content = this.#places.content;
    if (isUnsaved) {
      const table = `${place.kind}s`;
      const { points, in: direction } = place;
      const changed = direction ? { points, in: direction } : { points };
      this.#overlay.setPlaces({ ...content, [table]: { ...content[table], [place.name]: changed } }, name);
    } else {
      this.#overlay.setPlaces(content, name);
    }
    this.#showHandles();
  }

  #showHandles() {
    this.#handles.show(this.#editable && !this.#drawing.active ? this.#selection.place : null);
  }

  #showDeleted(name) {
    byId("undo").focus();
    this.#announce(`${name} is deleted. Undo brings it back.`);
  }

  #announce(text) {
    showText(byId("places-note"), text);
  }

  #undo() {
    this.#selection.discard();
    this.#places.undo();
    if (byId("undo").hidden) byId("places").focus();
  }

  // ---- by mouse and finger

  #press(event) {
    if (!this.#editable || event.button !== 0) return;
    this.#pressedDrawing = this.#drawing.active;
    if (this.#drawing.active) {
      event.preventDefault();
      this.#drawing.press(event);
      return;
    }
    const name = event.target.closest?.("[data-place]")?.dataset.place;
    const selected = this.#selection.name;
    if (name && name === selected) this.#handles.grab(event, "move");
    else if (event.pointerType === "mouse" && (name || selected)) this.#selection.select(name ?? null);
  }

  /** Select by finger on release only: a finger that presses may begin to scroll. */
  #tap(event) {
    const name = event.target.closest?.("[data-place]")?.dataset.place;
    if (this.#editable && !this.#pressedDrawing && event.pointerType !== "mouse" && name) this.#selection.select(name);
  }

  // ---- new places

  #draw(kind) {
    this.#selection.select(null);
    this.#drawing.begin(kind);
  }

  /** Add a place in the middle of the frame and focus its first point, to be moved by keyboard. */
  #insert(kind) {
    this.#drawing.cancel();
    const aside = 0.04 * (this.#places.list().length % 6);
    const top = clamp(0.4 + aside, 0, 0.7);
    this.#create(kind, kind === "line" ? [[0.25, top], [0.75, top]].map(round) : rectangle([0.35, top - 0.1], [0.65, top + 0.15]));
    this.#handles.focus("point-0");
  }

  #create(kind, points) {
    const name = this.#places.freeName(kind);
    const upright = Math.abs(points[1][0] - points[0][0]) < Math.abs(points[1][1] - points[0][1]);
    this.#selection.create({ name, kind, points, in: upright ? "right" : "up" });
    this.#announce(kind === "line" ? `The arrow of ${name} shows the way in. Swap it if bees come in the other way.` : "");
  }

  // ---- keys anywhere on the page

  #key(event) {
    if (!this.#editable) return;
    const { name, isUnsaved } = this.#selection;
    if (event.key === "Escape") {
      if (this.#drawing.active) this.#drawing.cancel();
      else if (isUnsaved) this.#selection.discard();
      else if (name) {
        this.#selection.select(null);
        this.#list.focusRow(name);
      }
    } else if (this.#drawing.active && event.target === this.#stage) {
      this.#drawing.key(event);
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
      if (event.target.matches?.("input:not([type=range])")) return;
      event.preventDefault();
      this.#undo();
    }
  }
}
