// The traffic of the last hours: in above the axis, out below it; and the same as a table.

import { byId, html, setText, showText, svg } from "./dom.js";

const REFRESH_MS = 60_000;
const MIN_BAR = 5; // CSS pixels a bar and its gap take at least
const STEPS_S = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 86400];
const TICKS_S = [3600, 7200, 10800, 21600, 43200, 86400];
const HEIGHT = 200;
const MARGIN = { left: 34, right: 2, top: 8, bottom: 22 };

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });

/** Return the least of 1, 2, 4, 5 times a power of ten that is not less: an axis to its half has whole numbers. */
function limit(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(2, value)));
  return [1, 2, 4, 6, 8, 10].map((factor) => factor * power).find((nice) => nice >= value && nice >= 2);
}

export class TrafficChart {
  #api;
  #chart = byId("traffic-chart");
  #place = byId("traffic-place");
  #hours = byId("traffic-hours");
  #data = null;
  #bars = [];
  #timer = 0;
  #width = 0;

  constructor(api) {
    this.#api = api;
    this.#hours.addEventListener("change", () => this.load());
    this.#place.addEventListener("change", () => this.#draw());
    this.#chart.addEventListener("pointermove", (event) => this.#point(event));
    this.#chart.addEventListener("pointerleave", () => this.#point(null));
    new ResizeObserver(([{ contentRect }]) => {
      if (!contentRect.width || contentRect.width === this.#width) return; // a hidden chart keeps its width
      this.#width = contentRect.width;
      this.#draw();
    }).observe(this.#chart);
  }

  start() {
    this.load();
    this.#timer = setInterval(() => document.hidden || this.load(), REFRESH_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#data = null;
  }

  async load() {
    const hours = Number(this.#hours.value);
    try {
      const { data } = await this.#api.get(`/api/traffic?hours=${hours}`);
      this.#data = { ...data, hours };
      this.#draw();
    } catch (error) {
      if (error.status > 0 && error.status !== 401) this.#say(`No traffic: ${error.message}.`);
    }
  }

  #say(text) {
    showText(byId("traffic-note"), text);
  }

  #draw() {
    if (!this.#data || !this.#width) return;
    const { rows } = this.#data;
    const places = [...new Set(rows.map(({ place }) => place))].sort();
    this.#offer(places);
    const empty = !rows.length;
    byId("traffic-legend").hidden = byId("traffic-details").hidden = empty;
    this.#chart.toggleAttribute("hidden", empty);
    this.#say(empty ? "No counts in this period. Lines and zones count from the moment they are drawn; the chart follows once a minute." : "");
    if (empty) return;
    this.#bars = this.#sums(this.#place.value);
    this.#drawChart();
    this.#drawTable();
    this.#point(null);
  }

  #offer(places) {
    if (places.join("\n") === [...this.#place.options].map(({ value }) => value).join("\n")) return;
    const present = this.#place.value;
    this.#place.replaceChildren(...places.map((place) => html("option", { value: place }, place)));
    if (places.includes(present)) this.#place.value = present;
    this.#place.hidden = places.length < 2;
  }

  /** Return `{at, in, out}` for each step of the period, as long as a bar has room. */
  #sums(place) {
    const { rows, step_s: given, hours, from } = this.#data;
    const room = (this.#width - MARGIN.left - MARGIN.right) / MIN_BAR;
    const step = STEPS_S.find((seconds) => seconds >= given && (hours * 3600) / seconds <= room) ?? STEPS_S.at(-1);
    const shift = new Date().getTimezoneOffset() * 60; // bars of a day begin at midnight here
    const floor = (seconds) => Math.floor((seconds - shift) / step) * step + shift;
    const first = floor(Date.parse(from ?? rows[0].at) / 1000);
    const last = floor(Math.max(Date.now(), Date.parse(rows.at(-1).at)) / 1000);
    const sums = new Map();
    for (let at = first; at <= last; at += step) sums.set(at, { at, step, in: 0, out: 0 });
    for (const row of rows) {
      const sum = row.place === place && sums.get(floor(Date.parse(row.at) / 1000));
      if (!sum) continue;
      sum.in += row.in;
      sum.out += row.out;
    }
    return [...sums.values()];
  }

  #drawChart() {
    const bars = this.#bars;
    const top = limit(Math.max(1, ...bars.flatMap((bar) => [bar.in, bar.out])));
    const inner = this.#width - MARGIN.left - MARGIN.right;
    const half = (HEIGHT - MARGIN.top - MARGIN.bottom) / 2;
    const axis = MARGIN.top + half;
    const each = inner / bars.length;
    const width = Math.max(1, each - Math.max(1, Math.min(3, each * 0.2)));
    const left = (index) => MARGIN.left + index * each + (each - width) / 2;
    const y = (value) => axis - (value / top) * half;
    const right = this.#width - MARGIN.right;
    const grid = [top, top / 2, 0, -top / 2, -top].flatMap((value) => {
      const label = svg("text", { x: MARGIN.left - 8, y: y(value) + 4, class: "axis-text y" });
      label.textContent = Math.abs(value).toLocaleString();
      return [svg("line", { x1: MARGIN.left, x2: right, y1: y(value), y2: y(value), class: value ? "grid" : "axis" }), label];
    });
    const columns = bars.flatMap((bar, index) =>
      ["in", "out"].filter((way) => bar[way]).map((way) => {
        const height = Math.max(1, (bar[way] / top) * half);
        return svg("rect", { x: left(index), y: way === "in" ? axis - height : axis, width, height, rx: Math.min(2, width / 3), class: `bar-${way}` });
      }),
    );
    this.#chart.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#chart.replaceChildren(...grid, ...columns, ...this.#ticks(bars, inner), svg("rect", { class: "cursor", y: MARGIN.top, height: 2 * half, width: each, hidden: true }));
    this.#chart.setAttribute("aria-label", `Traffic at ${this.#place.value}, last ${this.#hours.selectedOptions[0].text}: ${this.#total()}. The table below has all numbers.`);
  }

  #ticks(bars, inner) {
    const [first, end] = [bars[0].at, bars.at(-1).at + bars[0].step];
    const step = TICKS_S.find((seconds) => ((end - first) / seconds) * 48 <= inner) ?? TICKS_S.at(-1);
    const shift = new Date().getTimezoneOffset() * 60;
    const ticks = [];
    for (let at = Math.ceil((first - shift) / step) * step + shift; at < end; at += step) {
      const x = MARGIN.left + ((at - first) / (end - first)) * inner;
      if (x < MARGIN.left + 16 || x > this.#width - 18) continue;
      const label = svg("text", { x, y: HEIGHT - 6, class: "axis-text x" });
      label.textContent = (step >= 86400 ? day : clock).format(at * 1000);
      ticks.push(label);
    }
    return ticks;
  }

  #total() {
    const sum = (way) => this.#bars.reduce((total, bar) => total + bar[way], 0).toLocaleString();
    return `${sum("in")} in, ${sum("out")} out`;
  }

  #when({ at, step }) {
    if (step >= 86400) return day.format(at * 1000);
    const period = `${clock.format(at * 1000)}–${clock.format((at + step) * 1000)}`;
    return this.#data.hours > 24 ? `${day.format(at * 1000)}, ${period}` : period;
  }

  #drawTable() {
    const rows = this.#bars.filter((bar) => bar.in || bar.out).reverse();
    const head = ["Time", "In", "Out"].map((name) => html("th", { scope: "col" }, name));
    byId("traffic-table").replaceChildren(
      html("caption", { class: "hidden" }, `Traffic at ${this.#place.value}`),
      html("thead", {}, html("tr", {}, ...head)),
      html("tbody", {}, ...rows.map((bar) => html("tr", {}, html("th", { scope: "row" }, this.#when(bar)), html("td", {}, bar.in), html("td", {}, bar.out)))),
    );
  }

  /** Show the numbers of the bar under the pointer, or the sums. */
  #point(event) {
    const cursor = this.#chart.querySelector(".cursor");
    if (!cursor) return;
    const inner = this.#width - MARGIN.left - MARGIN.right;
    const x = event ? event.clientX - this.#chart.getBoundingClientRect().left - MARGIN.left : -1;
    const index = Math.floor((x / inner) * this.#bars.length);
    const bar = this.#bars[index];
    cursor.toggleAttribute("hidden", !bar);
    if (bar) cursor.setAttribute("x", MARGIN.left + (index * inner) / this.#bars.length);
    setText(byId("traffic-at"), bar ? `${this.#when(bar)}: ${bar.in} in, ${bar.out} out` : this.#total());
  }
}
