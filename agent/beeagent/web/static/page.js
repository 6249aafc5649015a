// The page: its parts, and the state of the agent that is asked for once a second.

import { Aim } from "./aim.js";
import { Api } from "./api.js";
import { byId, html, setText, showText } from "./dom.js";
import { Editor } from "./editor.js";
import { LiveView } from "./live.js";
import { Overlay } from "./overlay.js";
import { Places } from "./places.js";
import { Session } from "./session.js";
import { Threshold } from "./threshold.js";
import { TrafficChart } from "./traffic.js";

const STATE_MS = 1_000;
const PLACES_MS = 10_000; // from one look at the places, which another page may change, to the next
const SPOKEN_MS = 60_000; // from one reading of the counts by a screen reader to the next

const api = new Api();
const overlay = new Overlay(byId("stage"));
const live = new LiveView(api, overlay);
const places = new Places(api);
const editor = new Editor(places, overlay);
const threshold = new Threshold(api, overlay);
const traffic = new TrafficChart(api);
const aim = new Aim();

let state = null;
let timer = 0;
let placesLoaded = 0;
let spoken = Date.now();

const session = new Session(api, {
  onSignedIn() {
    live.start();
    traffic.start();
    places.forget();
    poll();
  },
  onSignedOut() {
    clearTimeout(timer);
    timer = 0;
    live.stop();
    traffic.stop();
  },
});

api.addEventListener("lost", showHealth);
api.addEventListener("found", showHealth);
document.addEventListener("visibilitychange", () => !document.hidden && timer && poll());
session.start();

async function poll() {
  clearTimeout(timer);
  timer = -1;
  if (!document.hidden) {
    try {
      const { data } = await api.get("/api/state");
      state = data;
      show();
      if (state.places_file && (!places.loaded || Date.now() - placesLoaded > PLACES_MS)) {
        placesLoaded = Date.now();
        await places.load();
        allowEditing();
      }
    } catch (error) {
      if (error.status === 401) return;
      if (!(error.status >= 0)) throw error;
    }
  }
  if (timer === -1) timer = setTimeout(poll, STATE_MS);
}

function show() {
  const editable = state.role === "editor";
  document.title = `${state.camera} – beeagent`;
  setText(byId("camera"), state.camera);
  setText(byId("device"), state.device);
  byId("role").hidden = editable;
  setText(byId("model"), state.model);
  setText(byId("readout"), readout());
  live.asleep = state.state === "asleep";
  aim.set(state.aim);
  threshold.set(state.threshold, editable);
  overlay.setCounts(state.places);
  allowEditing();
  showCounts();
  showHealth();
}

function allowEditing() {
  const editable = state.role === "editor";
  // A place that is drawn before the others are loaded would be lost.
  const writable = state.places_file && !state.places_problem;
  editor.allow(editable && writable && places.loaded, placesNote(editable));
}

function readout() {
  const age = state.frame_age_s;
  return [
    `${state.frames_per_s.toFixed(1)} frames/s`,
    state.inference_ms !== null && `${Math.round(state.inference_ms)} ms inference`,
    age !== null && `${age < 10 ? age.toFixed(1) : Math.round(age)} s old`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function placesNote(editable) {
  if (!state.places_file) return "To draw lines and zones here, start the agent with --track.";
  return editable ? (state.places_problem ?? "") : "You are signed in as viewer: to draw, sign in as editor.";
}

function showHealth() {
  const pill = byId("health");
  const notice = byId("notice");
  const known = { online: "Online", degraded: "Degraded", asleep: "Asleep" };
  const name = api.connected ? (state?.state ?? "unknown") : "lost";
  pill.dataset.state = name;
  setText(pill, name === "lost" ? "No connection" : (known[name] ?? "Connecting"));
  byId("stage").classList.toggle("stale", name === "lost");
  if (name === "lost") setText(byId("readout"), ""); // its age is no longer true
  let lines = [];
  if (name === "lost") {
    lines = ["No connection to the agent: what you see is old. Check that it runs and that this device is in its network. The page tries again by itself."];
  } else if (name === "asleep") {
    lines = ["The agent is asleep: no frames are processed until it wakes up.", ...state.reasons];
  } else if (name === "degraded") {
    lines = state.reasons;
  }
  const text = lines.join("\n");
  if (notice.dataset.text !== text) {
    notice.dataset.text = text;
    notice.replaceChildren(...lines.map((line) => html("p", {}, line)));
  }
  notice.dataset.state = name;
  notice.hidden = !lines.length;
}

function showCounts() {
  const rows = Object.entries(state.places).flatMap(([name, { kind, labels }]) => {
    const several = Object.keys(labels).length > 1;
    const counted = Object.keys(labels).length ? Object.entries(labels) : [["", { in: 0, out: 0 }]];
    return counted.map(([label, counts]) => ({ name: several ? `${name}, ${label}` : name, kind, ...counts }));
  });
  const body = byId("counts");
  const key = rows.map(({ name, kind }) => `${kind} ${name}`).join("\n");
  if (body.dataset.rows !== key || !body.childElementCount) {
    body.dataset.rows = key;
    body.replaceChildren(rows.length ? countsTable(rows) : html("p", { class: "quiet" }, uncounted()));
  }
  for (const [index, row] of rows.entries()) {
    for (const way of ["in", "out", "inside"]) {
      const cell = body.querySelector(`[data-count="${index}-${way}"]`);
      const text = (row[way] ?? 0).toLocaleString();
      if (!cell || cell.textContent === text) continue;
      const before = cell.textContent;
      cell.textContent = text;
      if (before && way !== "inside") cell.animate?.({ color: [getComputedStyle(body).color, getComputedStyle(cell).color] }, 900);
    }
  }
  if (rows.length && Date.now() - spoken > SPOKEN_MS) {
    spoken = Date.now();
    setText(byId("counts-spoken"), rows.map((row) => `${row.name}: ${row.in} in, ${row.out} out`).join(". "));
  }
}

function uncounted() {
  if (!state.tracking) return "Nothing is counted. To count bees, start the agent with --track and draw a line here.";
  if (state.role !== "editor") return "Nothing is counted yet. An editor can draw a line or a zone.";
  return "Nothing is counted yet. Draw a line where bees walk in and out, or a zone around the entrance.";
}

function countsTable(rows) {
  const inside = rows.some(({ kind }) => kind === "zone");
  const columns = ["in", "out", ...(inside ? ["inside"] : [])];
  return html(
    "table",
    { class: "counts" },
    html("caption", { class: "hidden" }, "Counts since midnight"),
    html("thead", {}, html("tr", {}, html("td", {}), ...columns.map((way) => html("th", { scope: "col" }, way === "inside" ? "inside now" : way)))),
    html(
      "tbody",
      {},
      ...rows.map(({ name, kind }, index) =>
        html(
          "tr",
          {},
          html("th", { scope: "row" }, html("i", { class: `kind ${kind}`, "aria-hidden": "true" }), html("span", {}, name)),
          ...columns.map((way) => html("td", way === "inside" && kind !== "zone" ? {} : { class: `count ${way}`, "data-count": `${index}-${way}` })),
        ),
      ),
    ),
  );
}
