// The live view: a long poll for each frame, drawn on a canvas together with its overlay. Nothing is asked for while the
// page is hidden or paused, so that the agent encodes nothing.

import { byId, setText, showText } from "./dom.js";

const TIMEOUT_MS = 20_000; // of a poll, which the agent answers within 10 s
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8_000;
const LABEL_MS = 5_000; // from one new label of the image to the next, for screen readers

export class LiveView {
  asleep = false; // whether it is no fault that there are no frames
  #api;
  #overlay;
  #canvas = byId("frame");
  #context = this.#canvas.getContext("2d");
  #message = byId("stage-message");
  #polling = null; // the AbortController of the loop that runs
  #after = 0;
  #paused = false;
  #running = false;
  #labelled = 0;

  constructor(api, overlay) {
    this.#api = api;
    this.#overlay = overlay;
    const pause = byId("pause");
    pause.addEventListener("click", () => {
      this.#paused = !this.#paused;
      setText(pause, this.#paused ? "Resume" : "Pause");
      this.#update();
    });
    document.addEventListener("visibilitychange", () => this.#update());
    window.addEventListener("online", () => this.#restart());
  }

  start() {
    this.#running = true;
    this.#after = 0;
    this.say("Waiting for the first frame. If none comes, check the camera.");
    this.#update();
  }

  stop() {
    this.#running = false;
    this.#update();
    this.#overlay.setFrame(null);
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    byId("stage").removeAttribute("data-frame");
  }

  /** Show a sentence over the frame; an empty one shows none. */
  say(text) {
    showText(this.#message, text);
  }

  #update() {
    const wanted = this.#running && !this.#paused && !document.hidden;
    if (wanted && !this.#polling) {
      this.#polling = new AbortController();
      this.#poll(this.#polling.signal);
    } else if (!wanted && this.#polling) {
      this.#polling.abort();
      this.#polling = null;
    }
  }

  #restart() {
    this.#polling?.abort();
    this.#polling = null;
    this.#update();
  }

  async #poll(signal) {
    let retry = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        const { data } = await this.#api.get(`/api/live?after=${this.#after}`, { signal, timeout: TIMEOUT_MS });
        retry = FIRST_RETRY_MS;
        if (data) await this.#draw(data, signal);
        else this.say(this.asleep ? "Asleep." : "No new frame for 10 s. Check the camera.");
      } catch {
        if (signal.aborted) return;
        this.#after = 0; // an agent that has restarted counts frames from the beginning
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, retry);
          signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
        });
        retry = Math.min(retry * 2, LAST_RETRY_MS);
      }
    }
  }

  async #draw(live, signal) {
    const bytes = Uint8Array.from(atob(live.jpeg), (character) => character.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    if (!signal.aborted) {
      if (this.#canvas.width !== image.width || this.#canvas.height !== image.height) {
        this.#canvas.width = image.width;
        this.#canvas.height = image.height;
        byId("stage").style.setProperty("--ratio", live.frame.width / live.frame.height);
      }
      this.#context.drawImage(image, 0, 0);
      this.#overlay.setFrame(live);
      this.#after = live.id;
      byId("stage").dataset.frame = live.id;
      this.say("");
      this.#label(live);
    }
    image.close();
  }

  #label(live) {
    const now = Date.now();
    if (now - this.#labelled < LABEL_MS) return;
    this.#labelled = now;
    const counts = Object.entries(live.counts).map(([label, count]) => `${count} ${label}`);
    this.#canvas.setAttribute("aria-label", `Live view: ${counts.join(", ") || "no detections"}`);
  }
}
