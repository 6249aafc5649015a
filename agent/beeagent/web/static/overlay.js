// What is drawn over the frame: boxes, tracks, and the places with their counts. One unit is one CSS pixel, so lines and
// letters have the same size on every screen.

import { byId, svg } from "./dom.js";
import { TABLES, centre, clamp, inSign, middle } from "./geometry.js";

const TRAIL_MS = 2_500; // of a track that is shown
const FORGOTTEN_MS = 1_000; // after which a track without a detection is no longer shown
const ARROW = 30;
const SMALL = 560; // CSS pixels of width below which there is room for names only, not for counts
const LETTER = 6.6; // CSS pixels, on average
const NO_PLACES = { lines: {}, zones: {}, masks: {} };

const overlap = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
const percent = (confidence) => `${Math.round(confidence * 100)} %`;

export class Overlay {
  #svg = byId("overlay");
  #layers = Object.fromEntries(
    ["places", "tracks", "boxes", "draft"].map((name) => [name, svg("g", { class: `layer-${name}` })]),
  );
  #size = [0, 0];
  #frame = null;
  #trails = new Map(); // number of a track: its newest points, [x, y, time]
  #preview = null;
  #places = NO_PLACES;
  #counts = {};
  #selected = null;
  #taken = []; // boxes of the frame in which no name may be written: [left, top, right, bottom]

  constructor(stage) {
    this.#svg.append(
      svg(
        "defs",
        {},
        svg(
          "pattern",
          { id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
          svg("rect", { width: 8, height: 8, class: "hatch-ground" }),
          svg("rect", { width: 3, height: 8, class: "hatch-stripe" }),
        ),
      ),
      ...Object.values(this.#layers),
    );
    for (const name of ["boxes", "tracks", "places"]) {
      const button = byId(`show-${name}`);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", shown);
        this.#layers[name].toggleAttribute("hidden", !shown);
      });
    }
    new ResizeObserver(([{ contentRect }]) => {
      this.#size = [contentRect.width, contentRect.height];
      this.#svg.setAttribute("viewBox", `0 0 ${contentRect.width} ${contentRect.height}`);
      this.#svg.classList.toggle("small", contentRect.width < SMALL);
      this.#drawPlaces();
      this.#drawFrame();
    }).observe(stage);
  }

  /** Show the detections of a frame, as `/api/live` has them; null shows none. */
  setFrame(frame) {
    this.#frame = frame;
    const now = Date.now();
    for (const { track, box } of frame?.detections ?? []) {
      if (track === undefined) continue;
      const points = (this.#trails.get(track) ?? []).filter(([, , at]) => now - at < TRAIL_MS);
      this.#trails.set(track, [...points, [box.left + box.width / 2, box.top + box.height / 2, now]]);
    }
    for (const [track, points] of this.#trails) {
      if (!frame || now - points.at(-1)[2] > FORGOTTEN_MS) this.#trails.delete(track);
    }
    this.#drawFrame();
  }

  /** Show which boxes another threshold would add and remove; null shows those of the threshold in use. */
  setPreview(threshold) {
    this.#preview = threshold;
    this.#drawFrame();
  }

  /** Show places, as `/api/places` has them, and the name of the selected one. */
  setPlaces(places, selected) {
    this.#places = { ...NO_PLACES, ...places };
    this.#selected = selected;
    this.#drawPlaces();
  }

  /** Show the counts beside the names, as `/api/state` has them. */
  setCounts(counts) {
    this.#counts = counts;
    this.#drawPlaces();
  }

  /** Show the points of a place that is being drawn; `ends` is where the next would come. */
  setDraft(kind, points, ends) {
    const layer = this.#layers.draft;
    layer.replaceChildren();
    if (!points?.length) return;
    const all = (ends ? [...points, ends] : points).map((point) => this.#at(point));
    const text = all.join(" ");
    layer.append(
      svg("polyline", { points: text, class: "halo" }),
      svg("polyline", { points: text, class: `stroke ${kind}` }),
      ...points.map((point, index) => {
        const [cx, cy] = this.#at(point);
        return svg("circle", { cx, cy, r: index === 0 && points.length > 2 ? 9 : 5, class: "corner" });
      }),
    );
  }

  #at([x, y]) {
    return [x * this.#size[0], y * this.#size[1]].map((value) => Math.round(value * 10) / 10);
  }

  #drawFrame() {
    const { boxes, tracks } = this.#layers;
    const shapes = [];
    const { detections = [], below = [] } = this.#frame ?? {};
    const threshold = this.#preview;
    for (const detection of detections) {
      const goes = threshold !== null && detection.confidence < threshold;
      shapes.push(...this.#box(detection, goes ? "goes" : "kept"));
    }
    if (threshold !== null) {
      for (const detection of below) if (detection.confidence >= threshold) shapes.push(...this.#box(detection, "comes"));
    }
    boxes.replaceChildren(...shapes);
    tracks.replaceChildren(
      ...[...this.#trails.values()]
        .filter((points) => points.length > 1)
        .flatMap((points) => {
          const text = points.map((point) => this.#at(point)).join(" ");
          return [svg("polyline", { points: text, class: "halo" }), svg("polyline", { points: text, class: "trail" })];
        }),
    );
  }

  #box({ label, confidence, box, track }, state) {
    const [x, y] = this.#at([box.left, box.top]);
    const [width, height] = this.#at([box.width, box.height]);
    const shape = { x, y, width, height, rx: 3 };
    const name = track === undefined || this.#preview !== null ? percent(confidence) : `#${track}`;
    const tag = svg("text", { x: x + 2, y: y > 16 ? y - 5 : y + height + 13, class: `tag ${state}` });
    tag.textContent = label === "bee" ? name : `${label} ${name}`;
    return [svg("rect", { ...shape, class: "halo" }), svg("rect", { ...shape, class: `box ${state}` }), tag];
  }

  #drawPlaces() {
    const shapes = [];
    this.#taken = Object.values(this.#places.lines).flatMap(({ points }) => this.#along(points.map((point) => this.#at(point))));
    for (const [kind, table] of [["mask", TABLES.mask], ["zone", TABLES.zone], ["line", TABLES.line]]) {
      for (const [name, place] of Object.entries(this.#places[table])) shapes.push(this.#place(kind, name, place));
    }
    this.#layers.places.replaceChildren(...shapes);
    this.#layers.places.classList.toggle("selecting", this.#selected !== null);
  }

  #place(kind, name, place) {
    const points = place.points.map((point) => this.#at(point));
    const text = points.join(" ");
    const group = svg("g", { class: `place ${kind}${name === this.#selected ? " selected" : ""}`, "data-place": name });
    if (kind === "line") {
      group.append(
        svg("polyline", { points: text, class: "hit" }),
        svg("polyline", { points: text, class: "halo" }),
        svg("polyline", { points: text, class: `stroke ${kind}` }),
        ...this.#arrow(points, inSign(place)),
      );
    } else {
      group.append(
        svg("polygon", { points: text, class: "halo" }),
        svg("polygon", { points: text, class: `stroke ${kind}` }),
      );
    }
    group.append(this.#name(kind, name, points));
    return group;
  }

  #arrow([from, to], sign) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
    const [x, y] = [(-(to[1] - from[1]) / length) * sign, ((to[0] - from[0]) / length) * sign];
    const start = middle(from, to);
    const along = (far, aside) => [start[0] + x * far - y * aside, start[1] + y * far + x * aside].join(" ");
    const path = `M${along(0, 0)}L${along(ARROW, 0)}M${along(ARROW - 9, -7)}L${along(ARROW, 0)}L${along(ARROW - 9, 7)}`;
    const word = svg("text", {
      x: clamp(start[0] + x * (ARROW + 12), 12, this.#size[0] - 12),
      y: clamp(start[1] + y * (ARROW + 12) + 4, 12, this.#size[1] - 4),
      class: "tag way",
    });
    word.textContent = "in";
    return [svg("path", { d: path, class: "halo" }), svg("path", { d: path, class: "stroke way" }), word];
  }

  /** Write the name of a place and its counts at its left end or corner, where it hides neither a line nor another name. */
  #name(kind, name, points) {
    const text = [name, ...this.#countsOf(name)].join(" · ");
    const width = LETTER * text.length;
    const [x, y] = kind === "line" ? points.reduce((left, point) => (point[0] < left[0] ? point : left)) : this.#corner(points);
    const bottom = Math.max(...points.map((point) => point[1])) - y;
    const above = y < 24 ? [] : [-8];
    const rises = kind === "line" ? [20, -10, 36, -26] : [...above, 18, bottom + 18, -24, 34];
    const spots = rises.map((rise) => {
      const left = clamp(x + 4, 6, Math.max(6, this.#size[0] - width - 6));
      const base = clamp(y + rise, 14, Math.max(14, this.#size[1] - 6));
      return { left, base, box: [left, base - 12, left + width, base + 4] };
    });
    const { left, base, box } = spots.find(({ box: spot }) => !this.#taken.some((other) => overlap(spot, other))) ?? spots[0];
    this.#taken.push(box);
    const label = svg("text", { x: left, y: base, class: "tag name" });
    label.textContent = text;
    return label;
  }

  /** Return small boxes along a line. */
  #along([from, to]) {
    const count = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 8) + 1;
    return Array.from({ length: count }, (_, index) => {
      const part = index / Math.max(1, count - 1);
      const [x, y] = [from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])];
      return [x - 3, y - 3, x + 3, y + 3];
    });
  }

  #corner(points) {
    const [, middleY] = centre(points);
    return points.filter(([, y]) => y <= middleY).reduce((left, point) => (point[0] < left[0] ? point : left));
  }

  #countsOf(name) {
    const labels = Object.values(this.#counts[name]?.labels ?? {});
    if (!labels.length || this.#size[0] < SMALL) return [];
    const sum = (key) => labels.reduce((total, counts) => total + (counts[key] ?? 0), 0).toLocaleString();
    const inside = this.#counts[name].kind === "zone" ? [`${sum("inside")} inside`] : [];
    return [...inside, `in ${sum("in")}`, `out ${sum("out")}`];
  }
}
