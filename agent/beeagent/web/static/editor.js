// Drawing, moving, naming and deleting places: on the frame by mouse and finger, and by keyboard on the points' buttons.

import { byId, html, setText, showText } from "./dom.js";
import { centre, clamp, distance, inDirection, inSign, middle, rectangle, round, shifted } from "./geometry.js";

const MIN_DRAG = 12; // CSS pixels from which a press that moves is a drag, not a tap
const CLOSE = 24; // CSS pixels from the first corner within which a tap closes a polygon
const ROOM_FOR_MIDDLE = 96; // CSS pixels of an edge from which its middle has a handle
const STEP = 0.01; // of the frame, by an arrow key
const LARGE_STEP = 0.05; // with Shift
const SETTLED_MS = 500; // after the last arrow key, the change is saved
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const WAYS = { up: "upwards", down: "downwards", left: "to the left", right: "to the right" };
const NOUNS = { line: "Line", zone: "Zone", mask: "Mask" };

const percent = ([x, y]) => `${Math.round(x * 100)} % from the left, ${Math.round(y * 100)} % from the top`;

export class Editor {
  #places;
  #overlay;
  #stage = byId("stage");
  #handles = byId("handles");
  #list = byId("place-list");
  #selected = null; // name of a place
  #shown = null; // the selected place as it is dragged, before it is saved
  #drawing = null; // {kind, points}
  #corner = null; // index of the corner that was used last
  #settle = 0;
  #dragging = false;
  #pressedDrawing = false; // whether the click that follows belongs to drawing
  #editable = false;
  #note = "";

  constructor(places, overlay) {
    this.#places = places;
    this.#overlay = overlay;
    places.addEventListener("changed", () => this.#show());
    places.addEventListener("error", ({ detail }) => setText(byId("places-error"), detail));
    for (const kind of ["line", "zone", "mask"]) {
      // A click without a pointer comes from a keyboard or a screen reader, which cannot draw on the frame.
      byId(`add-${kind}`).addEventListener("click", (event) => (event.detail === 0 ? this.#insert(kind) : this.#draw(kind)));
    }
    byId("undo").addEventListener("click", () => this.#undo());
    byId("drawing-done").addEventListener("click", () => this.#finish());
    byId("drawing-cancel").addEventListener("click", () => this.#cancel());
    this.#stage.addEventListener("pointerdown", (event) => this.#press(event));
    this.#stage.addEventListener("pointermove", (event) => this.#hover(event));
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
      this.#cancel();
      this.#selected = null;
    }
    this.#show();
  }

  // ---- what is shown

  #show() {
    if (this.#selected && !this.#places.find(this.#selected)) this.#selected = null;
    const list = this.#places.list();
    byId("add").hidden = !this.#editable;
    for (const button of byId("add").children) button.disabled = this.#places.isFull;
    byId("undo").hidden = !this.#editable || !this.#places.canUndo;
    const empty = "No places yet. A line counts bees that cross it; a zone, those that come and go; a mask hides a spot that is always wrong.";
    showText(byId("places-note"), this.#note || (this.#places.isFull ? "No more places are possible." : list.length ? "" : empty));
    const focused = document.activeElement?.closest?.("[data-focus]")?.dataset.focus;
    this.#list.replaceChildren(...list.map((place) => this.#row(place)));
    if (focused) this.#list.querySelector(`[data-focus="${focused}"]`)?.focus();
    this.#showSelected();
  }

  #showSelected() {
    const place = this.#current();
    const content = this.#places.content;
    if (place && this.#shown) {
      const table = `${place.kind}s`;
      const { points, in: direction } = place;
      const changed = direction ? { points, in: direction } : { points };
      this.#overlay.setPlaces({ ...content, [table]: { ...content[table], [place.name]: changed } }, this.#selected);
    } else {
      this.#overlay.setPlaces(content, this.#selected);
    }
    this.#showHandles();
  }

  #current() {
    return this.#shown ?? (this.#selected ? this.#places.find(this.#selected) : null);
  }

  #row(place) {
    const selected = place.name === this.#selected;
    const head = [
      html("i", { class: `kind ${place.kind}`, "aria-hidden": "true" }),
      html("span", { class: "place-name" }, place.name),
      html("span", { class: "quiet" }, place.kind),
    ];
    if (!this.#editable) return html("li", {}, html("div", { class: "place-row" }, ...head));
    const button = html(
      "button",
      {
        type: "button",
        class: "place-row",
        "aria-expanded": selected,
        "data-focus": `row-${place.name}`,
        onclick: () => this.#select(selected ? null : place.name),
      },
      ...head,
    );
    return html("li", selected ? { class: "selected" } : {}, button, ...(selected ? [this.#details(place)] : []));
  }

  #details(place) {
    const error = html("p", { class: "field-error", id: "name-error", role: "alert" });
    const input = html("input", {
      id: "place-name",
      value: place.name,
      maxlength: 32,
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: "false",
      "aria-describedby": "name-error",
      "data-focus": "name",
      onchange: () => this.#rename(place.name, input, error),
      onkeydown: (event) => event.key === "Enter" && this.#rename(place.name, input, error),
    });
    const actions = [
      place.kind === "line" &&
        html(
          "button",
          { type: "button", id: "swap", "data-focus": "swap", onclick: () => this.#swap(place.name) },
          "Swap direction",
        ),
      place.kind !== "line" &&
        html(
          "button",
          {
            type: "button",
            "data-focus": "remove",
            disabled: place.points.length <= 3,
            onclick: () => this.#removeCorner(this.#corner ?? place.points.length - 1),
          },
          "Remove corner",
        ),
      html("button", { type: "button", class: "danger", id: "delete", onclick: () => this.#delete(place.name) }, "Delete"),
    ].filter(Boolean);
    return html(
      "div",
      { class: "place-details" },
      html("label", { for: "place-name" }, "Name"),
      input,
      error,
      place.kind === "line" ? html("p", { class: "way-in" }, `The way in is ${WAYS[place.in]}.`) : "",
      html("div", { class: "actions" }, ...actions),
      html("p", { class: "quiet" }, "Drag the points. By keyboard: Tab to a point, then the arrow keys; with Shift in larger steps."),
    );
  }

  #showHandles() {
    const place = this.#editable && !this.#drawing ? this.#current() : null;
    this.#handles.hidden = !place;
    if (!place) {
      this.#handles.replaceChildren();
      return;
    }
    this.#handles.setAttribute("aria-label", `Points of ${place.name}. Arrow keys move the focused point.`);
    const wanted = this.#wantedHandles(place);
    const present = new Map([...this.#handles.children].map((handle) => [handle.dataset.handle, handle]));
    for (const [key, { type, label, at }] of wanted) {
      const handle = present.get(key) ?? this.#handle(key, type);
      present.delete(key);
      handle.setAttribute("aria-label", label);
      handle.style.left = `${at[0] * 100}%`;
      handle.style.top = `${at[1] * 100}%`;
      this.#handles.append(...(handle.isConnected ? [] : [handle]));
    }
    for (const handle of present.values()) handle.remove();
  }

  #wantedHandles({ kind, name, points }) {
    const noun = kind === "line" ? "end" : "corner";
    const wanted = points.map((at, index) => [
      `point-${index}`,
      { type: "point", at, label: `${name}, ${noun} ${index + 1} of ${points.length}, ${percent(at)}` },
    ]);
    if (kind !== "line") {
      const [width, height] = [this.#stage.clientWidth, this.#stage.clientHeight];
      points.forEach((point, index) => {
        const next = points[(index + 1) % points.length];
        if (Math.hypot((next[0] - point[0]) * width, (next[1] - point[1]) * height) < ROOM_FOR_MIDDLE) return;
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
      onpointerdown: (event) => this.#grab(event, key),
      onkeydown: (event) => this.#handleKey(event, key),
      onclick: (event) => event.detail === 0 && type === "middle" && this.#split(Number(key.split("-")[1])),
      onfocus: () => type === "point" && (this.#corner = Number(key.split("-")[1])),
      onblur: () => this.#dragging || this.#settleNow(),
    });
  }

  // ---- selection and the panel

  #select(name) {
    this.#settleNow();
    this.#selected = name;
    this.#corner = null;
    this.#show();
  }

  #rename(name, input, error) {
    if (!this.#places.find(name)) return; // renamed already, by Enter
    const next = input.value.trim().replace(/\s+/g, "-");
    const refusal = this.#places.refusal(next, name);
    setText(error, refusal);
    input.setAttribute("aria-invalid", Boolean(refusal));
    if (refusal || next === name) return;
    this.#settleNow();
    this.#selected = next;
    this.#places.rename(name, next);
  }

  #swap(name) {
    this.#settleNow();
    const line = this.#places.find(name);
    this.#places.set(name, { ...line, in: inDirection(line.points, -inSign(line)) });
  }

  #delete(name) {
    this.#shown = null;
    this.#places.delete(name);
    byId("undo").focus();
    this.#announce(`${name} is deleted. Undo brings it back.`);
  }

  #undo() {
    this.#shown = null;
    clearTimeout(this.#settle);
    this.#places.undo();
    if (byId("undo").hidden) byId("places").focus();
  }

  #announce(text) {
    showText(byId("places-note"), text);
  }

  // ---- changes of points

  /** Show a place with other points; `#settleNow` saves it. */
  #put(place, points) {
    const changed = { ...place, points };
    // The way in stays on its side of the line, however the line turns.
    if (place.kind === "line" && distance(...points) > 0) changed.in = inDirection(points, inSign(place));
    this.#shown = changed;
    this.#showSelected();
  }

  #settleNow() {
    clearTimeout(this.#settle);
    const place = this.#shown;
    this.#shown = null;
    if (!place) return;
    if (this.#places.find(place.name)) this.#places.set(place.name, place);
    else this.#showSelected();
  }

  #split(index) {
    this.#settleNow();
    const place = this.#current();
    const points = [...place.points];
    points.splice(index + 1, 0, round(middle(points[index], points[(index + 1) % points.length])));
    this.#places.set(place.name, { ...place, points });
    this.#focusHandle(`point-${index + 1}`);
  }

  #removeCorner(index) {
    this.#settleNow();
    const place = this.#current();
    if (place.kind === "line" || place.points.length <= 3) return;
    this.#corner = null;
    this.#places.set(place.name, { ...place, points: place.points.filter((_, other) => other !== index) });
  }

  #focusHandle(key) {
    this.#handles.querySelector(`[data-handle="${key}"]`)?.focus({ preventScroll: true });
  }

  #handleKey(event, key) {
    const index = key.startsWith("point-") ? Number(key.split("-")[1]) : null;
    const arrow = ARROWS[event.key];
    if (arrow && !key.startsWith("middle-")) {
      event.preventDefault();
      const step = arrow.map((value) => value * (event.shiftKey ? LARGE_STEP : STEP));
      const place = this.#current();
      const points =
        index === null
          ? shifted(place.points, step)
          : place.points.map((point, other) => (other === index ? round([point[0] + step[0], point[1] + step[1]]) : point));
      this.#put(place, points);
      clearTimeout(this.#settle);
      this.#settle = setTimeout(() => this.#settleNow(), SETTLED_MS);
    } else if ((event.key === "Delete" || event.key === "Backspace") && index !== null) {
      event.preventDefault();
      this.#removeCorner(index);
      this.#focusHandle(`point-${Math.max(0, index - 1)}`);
    }
  }

  // ---- by mouse and finger

  #at(event) {
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    return round([(event.clientX - left) / width, (event.clientY - top) / height]);
  }

  #pixels(one, other) {
    return Math.hypot((one[0] - other[0]) * this.#stage.clientWidth, (one[1] - other[1]) * this.#stage.clientHeight);
  }

  /** Follow a pointer until it is released or Escape is pressed. */
  #follow(event, { move, done, cancelled }) {
    const finished = new AbortController();
    const only = (handler) => (next) => next.pointerId === event.pointerId && handler(next);
    const listen = (type, handler) => window.addEventListener(type, handler, { signal: finished.signal });
    const end = (handler) => (next) => {
      finished.abort();
      this.#dragging = false;
      handler(next);
    };
    this.#dragging = true;
    listen("pointermove", only(move));
    listen("pointerup", only(end(done)));
    listen("pointercancel", only(end(cancelled)));
    listen("keydown", (next) => next.key === "Escape" && end(cancelled)());
  }

  #grab(event, key) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.#settleNow();
    const place = this.#current();
    const start = this.#at(event);
    let { points } = place;
    let index = Number(key.split("-")[1]);
    if (key.startsWith("middle-")) {
      points = [...points];
      points.splice(index + 1, 0, round(middle(points[index], points[(index + 1) % points.length])));
      index += 1;
    }
    this.#follow(event, {
      move: (next) => {
        const at = this.#at(next);
        const by = [at[0] - start[0], at[1] - start[1]];
        this.#put(place, key === "move" ? shifted(points, by) : points.map((point, other) => (other === index ? at : point)));
      },
      done: () => this.#settleNow(),
      cancelled: () => {
        this.#shown = null;
        this.#showSelected();
      },
    });
    this.#put(place, points);
    if (key !== "move") this.#focusHandle(`point-${index}`);
  }

  #press(event) {
    if (!this.#editable || event.button !== 0) return;
    this.#pressedDrawing = this.#drawing !== null;
    if (this.#drawing) {
      event.preventDefault();
      this.#pressDrawing(event);
      return;
    }
    const name = event.target.closest?.("[data-place]")?.dataset.place;
    if (name && name === this.#selected) this.#grab(event, "move");
    else if (event.pointerType === "mouse" && (name || this.#selected)) this.#select(name ?? null);
  }

  /** Select by finger on release only: a finger that presses may begin to scroll. */
  #tap(event) {
    const name = event.target.closest?.("[data-place]")?.dataset.place;
    if (this.#editable && !this.#pressedDrawing && event.pointerType !== "mouse" && name) this.#select(name);
  }

  #pressDrawing(event) {
    const { kind, points } = this.#drawing;
    const start = this.#at(event);
    let dragged = false;
    this.#follow(event, {
      move: (next) => {
        const at = this.#at(next);
        dragged ||= this.#pixels(start, at) >= MIN_DRAG;
        if (!dragged) return;
        if (kind === "line" || points.length) this.#overlay.setDraft(kind, kind === "line" ? [points[0] ?? start] : points, at);
        else this.#overlay.setDraft(kind, rectangle(start, at), start);
      },
      done: (next) => {
        if (this.#drawing) this.#release(start, this.#at(next), dragged);
      },
      cancelled: () => this.#drawing && this.#overlay.setDraft(kind, points),
    });
  }

  /** Take a tap as a point, and a drag as a line or a rectangle. */
  #release(start, at, dragged) {
    const { kind, points } = this.#drawing;
    if (kind === "line") {
      if (dragged && !points.length) points.push(start, at);
      else if (!points.length || this.#pixels(points[0], at) >= MIN_DRAG) points.push(at);
      if (points.length === 2) return this.#finish();
    } else if (!points.length && dragged) {
      points.push(...rectangle(start, at));
      return this.#finish();
    } else if (points.length >= 3 && this.#pixels(points[0], at) <= CLOSE) {
      return this.#finish();
    } else {
      points.push(at);
    }
    this.#overlay.setDraft(kind, points);
    this.#hint();
  }

  #hover(event) {
    if (this.#drawing?.points.length && event.pointerType === "mouse" && event.buttons === 0) {
      this.#overlay.setDraft(this.#drawing.kind, this.#drawing.points, this.#at(event));
    }
  }

  // ---- new places

  #draw(kind) {
    this.#select(null);
    this.#drawing = { kind, points: [] };
    this.#stage.classList.add("drawing");
    byId("toolbar").hidden = true;
    byId("drawing").hidden = false;
    this.#stage.scrollIntoView({ block: "nearest" });
    this.#stage.focus({ preventScroll: true }); // for Enter and Backspace
    this.#hint();
  }

  #hint() {
    const { kind, points } = this.#drawing;
    const count = points.length;
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
    const { kind, points } = this.#drawing;
    this.#cancel();
    this.#create(kind, points.map(round));
  }

  #cancel() {
    this.#drawing = null;
    this.#overlay.setDraft(null, null);
    this.#stage.classList.remove("drawing");
    byId("toolbar").hidden = false;
    byId("drawing").hidden = true;
    this.#showHandles();
  }

  /** Add a place in the middle of the frame and focus its first point, to be moved by keyboard. */
  #insert(kind) {
    this.#cancel();
    const aside = 0.04 * (this.#places.list().length % 6);
    const top = clamp(0.4 + aside, 0, 0.7);
    this.#create(kind, kind === "line" ? [[0.25, top], [0.75, top]].map(round) : rectangle([0.35, top - 0.1], [0.65, top + 0.15]));
    this.#focusHandle("point-0");
  }

  #create(kind, points) {
    const name = this.#places.freeName(kind);
    this.#selected = name;
    this.#shown = null;
    const upright = Math.abs(points[1][0] - points[0][0]) < Math.abs(points[1][1] - points[0][1]);
    this.#places.set(name, { kind, points, in: upright ? "right" : "up" });
    this.#announce(kind === "line" ? `The arrow of ${name} shows the way in. Swap it if bees come in the other way.` : "");
  }

  // ---- keys anywhere on the page

  #key(event) {
    if (!this.#editable) return;
    if (event.key === "Escape") {
      if (this.#drawing) this.#cancel();
      else if (this.#shown) {
        clearTimeout(this.#settle);
        this.#shown = null;
        this.#showSelected();
      } else if (this.#selected) {
        const row = `row-${this.#selected}`;
        this.#select(null);
        this.#list.querySelector(`[data-focus="${row}"]`)?.focus();
      }
    } else if (this.#drawing && event.target === this.#stage) {
      if (event.key === "Enter" && this.#drawing.points.length >= 3) this.#finish();
      else if (event.key === "Backspace") {
        this.#drawing.points.pop();
        this.#overlay.setDraft(this.#drawing.kind, this.#drawing.points);
        this.#hint();
      }
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
      if (event.target.matches?.("input:not([type=range])")) return;
      event.preventDefault();
      this.#undo();
    }
  }
}
