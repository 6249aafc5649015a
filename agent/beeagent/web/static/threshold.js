// The threshold as a slider: what another value would change is shown before it is kept.

import { byId, setText, showText } from "./dom.js";

const SETTLED_MS = 250; // of the slider, before the agent is asked
const SOURCES = { model: "the model's", settings: "the settings'", page: "set on this page" };

const shown = (value) => value.toFixed(2);

export class Threshold {
  #api;
  #overlay;
  #slider = byId("threshold-slider");
  #keep = byId("threshold-keep");
  #cancel = byId("threshold-cancel");
  #reset = byId("threshold-reset");
  #present = null;
  #chosen = null; // a value that is not kept yet
  #asked = 0;
  #timer = 0;
  #editable = false;

  constructor(api, overlay) {
    this.#api = api;
    this.#overlay = overlay;
    this.#slider.addEventListener("input", () => this.#choose(Number(this.#slider.value)));
    this.#slider.addEventListener("keydown", (event) => event.key === "Escape" && this.#choose(null));
    this.#keep.addEventListener("click", () => this.#put(this.#chosen));
    this.#cancel.addEventListener("click", () => {
      this.#choose(null);
      this.#slider.focus();
    });
    this.#reset.addEventListener("click", () => this.#put(null));
  }

  /** Show `threshold` of `/api/state`. */
  set(threshold, editable) {
    this.#present = threshold;
    this.#editable = editable;
    this.#show();
  }

  #show() {
    const { value, default: initial, source, lowest } = this.#present;
    const chosen = this.#chosen ?? value;
    this.#slider.disabled = !this.#editable;
    this.#slider.min = Math.ceil(Math.min(lowest, value) * 100) / 100; // below, no candidates are known
    this.#slider.value = chosen;
    this.#slider.setAttribute("aria-valuetext", shown(chosen));
    setText(byId("threshold-value"), shown(chosen));
    const origin = source === "page" ? `${SOURCES.page}; without that it is ${shown(initial)}` : SOURCES[source];
    setText(byId("threshold-note"), `Detections count from a confidence of ${shown(value)} (${origin}).`);
    const changed = this.#chosen !== null;
    this.#keep.hidden = this.#cancel.hidden = !changed;
    setText(this.#keep, `Keep ${shown(chosen)}`);
    this.#reset.hidden = changed || source !== "page" || !this.#editable;
    setText(this.#reset, `Back to ${shown(initial)}`);
  }

  #choose(value) {
    this.#chosen = value === this.#present.value ? null : value;
    this.#overlay.setPreview(this.#chosen);
    this.#show();
    clearTimeout(this.#timer);
    this.#asked += 1;
    setText(byId("threshold-error"), "");
    if (this.#chosen === null) setText(byId("threshold-preview"), "");
    else this.#timer = setTimeout(() => this.#ask(this.#chosen, this.#asked), SETTLED_MS);
  }

  async #ask(value, asked) {
    let text;
    try {
      const { data } = await this.#api.post("/api/threshold/preview", { value });
      text = sentence(data);
    } catch (error) {
      text = `No preview: ${error.message}.`;
    }
    if (asked === this.#asked) setText(byId("threshold-preview"), text);
  }

  async #put(value) {
    try {
      const { data } = await this.#api.put("/api/threshold", { value });
      this.#present = data;
      this.#choose(null);
      this.#slider.focus();
    } catch (error) {
      setText(byId("threshold-error"), `Not kept: ${error.message}.`);
    }
  }
}

function sentence({ frames, now, then, at_least: partial }) {
  if (!frames) return "No frames yet to compare with.";
  const rate = ({ per_frame: value }) => value.toFixed(1);
  const change = [then.added && `${then.added} boxes more`, then.removed && `${then.removed} boxes fewer`].filter(Boolean);
  const difference = change.length ? change.join(", ") : "no difference";
  const least = partial ? "at least " : "";
  const why = partial ? " With --regions, only parts of each frame are processed: it may be more." : "";
  return `In the last ${frames} frames: ${rate(now)} boxes per frame now, ${least}${rate(then)} then (${least}${difference}).${why}`;
}
