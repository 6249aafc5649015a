// The aiming aid: sharpness with its peak held, exposure, and the size of the bees.

import { byId, html, setText, showText } from "./dom.js";

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const number = (value) => (value >= 10 ? Math.round(value) : Math.round(value * 10) / 10);

export class Aim {
  #peak = 0;
  #sharpness = new Meter("Sharpness");
  #exposure = new Meter("Exposure", "light");
  #size = html("p", { class: "aim-text" });
  #advice = html("p", { class: "advice" });
  #empty = html("p", { class: "quiet" }, "Shown from the first frame on.");
  #body;

  constructor() {
    const reset = html("button", { type: "button", class: "plain", onclick: () => this.#reset() }, "Reset peak");
    this.#body = html(
      "div",
      { hidden: true },
      this.#sharpness.element,
      html("div", { class: "aim-hint" }, html("p", { class: "quiet" }, "Turn the lens until the bar no longer reaches further."), reset),
      this.#exposure.element,
      html("div", { class: "aim-row" }, html("h3", {}, "Size of the bees"), this.#size, this.#advice),
    );
    byId("aim").append(this.#empty, this.#body);
  }

  /** Show `aim` of `/api/state`; null before the first frame. */
  set(aim) {
    this.#empty.hidden = Boolean(aim);
    this.#body.hidden = !aim;
    if (!aim) return;
    this.#peak = Math.max(this.#peak, aim.sharpness);
    const share = (value) => Math.round(value * 100);
    this.#sharpness.set(aim.sharpness, this.#peak, `${share(aim.sharpness)}`, `${sentence(aim.sharpness_text)}; best ${share(this.#peak)}`);
    this.#exposure.set(aim.mean_luma / 255, null, "", sentence(aim.exposure_text));
    const { median } = aim.object_px;
    setText(this.#size, median ? `${number(median)} px in the frame` : "No bee seen yet.");
    showText(this.#advice, sentence(aim.advice ?? "")); // it has the size in the model's input
  }

  #reset() {
    this.#peak = 0;
  }
}

/** A bar from 0 to 1, with a mark at the peak. */
class Meter {
  #fill = html("span", { class: "meter-fill" });
  #peak = html("span", { class: "meter-peak", hidden: true });
  #figure = html("span", { class: "figure" });
  #text = html("p", { class: "aim-text" });
  #bar;

  constructor(name, look = "") {
    this.#bar = html("div", { class: `meter ${look}`, role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100 }, this.#fill, this.#peak);
    this.element = html("div", { class: "aim-row" }, html("div", { class: "aim-head" }, html("h3", {}, name), this.#figure), this.#bar, this.#text);
  }

  set(value, peak, figure, text) {
    const percent = Math.round(Math.min(1, Math.max(0, value)) * 100);
    this.#fill.style.setProperty("--value", `${percent}%`);
    this.#peak.hidden = peak === null;
    this.#peak.style.setProperty("--value", `${Math.min(1, peak ?? 0) * 100}%`);
    this.#bar.setAttribute("aria-valuenow", percent);
    this.#bar.setAttribute("aria-valuetext", text);
    setText(this.#figure, figure);
    setText(this.#text, text);
  }
}
