// The list of places beside the frame, with a form for the selected one: its name, its direction, its corners.

import { byId, html, setText } from "./dom.js";

const WAYS = { up: "upwards", down: "downwards", left: "to the left", right: "to the right" };

export class PlaceList {
  #places;
  #selection;
  #deleted;
  #list = byId("place-list");

  /** Calls `deleted` with the name of a place after the user deleted it. */
  constructor(places, selection, { deleted }) {
    this.#places = places;
    this.#selection = selection;
    this.#deleted = deleted;
  }

  /** Show all places; what has the focus keeps it. */
  show(editable) {
    const focused = document.activeElement?.closest?.("[data-focus]")?.dataset.focus;
    this.#list.replaceChildren(...this.#places.list().map((place) => this.#row(place, editable)));
    if (focused) this.#focus(focused);
  }

  focusRow(name) {
    this.#focus(`row-${name}`);
  }

  #focus(key) {
    this.#list.querySelector(`[data-focus="${key}"]`)?.focus();
  }

  #row(place, editable) {
    const selected = place.name === this.#selection.name;
    const head = [
      html("i", { class: `kind ${place.kind}`, "aria-hidden": "true" }),
      html("span", { class: "place-name" }, place.name),
      html("span", { class: "quiet" }, place.kind),
    ];
    if (!editable) return html("li", {}, html("div", { class: "place-row" }, ...head));
    const button = html(
      "button",
      {
        type: "button",
        class: "place-row",
        "aria-expanded": selected,
        "data-focus": `row-${place.name}`,
        onclick: () => this.#selection.select(selected ? null : place.name),
      },
      ...head,
    );
    return html("li", selected ? { class: "selected" } : {}, button, ...(selected ? [this.#form(place)] : []));
  }

  #form(place) {
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
    return html(
      "div",
      { class: "place-details" },
      html("label", { for: "place-name" }, "Name"),
      input,
      error,
      place.kind === "line" ? html("p", { class: "way-in" }, `The way in is ${WAYS[place.in]}.`) : "",
      html("div", { class: "actions" }, ...this.#actions(place)),
      html("p", { class: "quiet" }, "Drag the points. By keyboard: Tab to a point, then the arrow keys; with Shift in larger steps."),
    );
  }

  #actions(place) {
    const button = (text, attributes, onclick) => html("button", { type: "button", ...attributes, onclick }, text);
    const last = place.points.length - 1;
    const change =
      place.kind === "line"
        ? button("Swap direction", { id: "swap", "data-focus": "swap" }, () => this.#selection.swap())
        : button("Remove corner", { "data-focus": "remove", disabled: last < 3 }, () =>
            this.#selection.removeCorner(this.#selection.corner ?? last),
          );
    const remove = button("Delete", { class: "danger", id: "delete" }, () => {
      this.#selection.delete();
      this.#deleted(place.name);
    });
    return [change, remove];
  }

  #rename(name, input, error) {
    if (!this.#places.find(name)) return; // renamed already, by Enter
    const next = input.value.trim().replace(/\s+/g, "-");
    const refusal = this.#places.refusal(next, name);
    setText(error, refusal);
    input.setAttribute("aria-invalid", Boolean(refusal));
    if (!refusal && next !== name) this.#selection.rename(next);
  }
}
