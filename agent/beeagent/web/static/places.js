// The places of the camera as the page has them: loaded, changed, saved one change after the other, and undone.

import { KINDS, TABLES } from "./geometry.js";

const MAX_PLACES = 32;
const NAME = /^[A-Za-z0-9_-]{1,32}$/;
const copy = (value) => JSON.parse(JSON.stringify(value));
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Dispatches `changed` after each change, by the user or by loading, and `error` with a sentence in `detail`. */
export class Places extends EventTarget {
  #api;
  #content = { lines: {}, zones: {}, masks: {} };
  #saved = null;
  #etag = null;
  #undone = [];
  #saving = Promise.resolve();

  constructor(api) {
    super();
    this.#api = api;
    api.addEventListener("found", () => this.#save());
  }

  get content() {
    return this.#content;
  }

  get loaded() {
    return this.#saved !== null;
  }

  get canUndo() {
    return this.#undone.length > 0;
  }

  get isFull() {
    return this.list().length >= MAX_PLACES;
  }

  /** Return all places as `{kind, name, points, in}`, in the order of the file. */
  list() {
    return KINDS.flatMap((kind) =>
      Object.entries(this.#content[TABLES[kind]]).map(([name, place]) => ({ kind, name, ...place })),
    );
  }

  find(name) {
    return this.list().find((place) => place.name === name) ?? null;
  }

  /** Return the first free name such as line-2. */
  freeName(kind) {
    for (let number = 1; ; number += 1) if (!this.find(`${kind}-${number}`)) return `${kind}-${number}`;
  }

  /** Return why a name cannot be given to a place, or an empty text. */
  refusal(name, present) {
    if (!NAME.test(name)) return "Use 1 to 32 letters, digits, - or _.";
    if (name !== present && this.find(name)) return `There is a place ${name} already.`;
    return "";
  }

  /** Drop what is not saved; the next `load` has all. */
  forget() {
    this.#saved = null;
  }

  /** Load what the agent has, unless a change of this page is not saved yet. */
  async load() {
    if (this.#saved && !same(this.#content, this.#saved)) return;
    const before = this.#content;
    const { data, etag } = await this.#api.get("/api/places");
    if (this.#content !== before || (this.#saved && etag === this.#etag)) return;
    this.#etag = etag;
    this.#saved = this.#content = { lines: data.lines ?? {}, zones: data.zones ?? {}, masks: data.masks ?? {} };
    this.#undone = [];
    this.dispatchEvent(new Event("changed"));
  }

  /** Add a place, or put it in the place of another of that name, and save. */
  set(name, { kind, points, in: direction }) {
    this.#change((content) => {
      content[TABLES[kind]][name] = kind === "line" ? { points, in: direction } : { points };
    });
  }

  rename(name, next) {
    const { kind } = this.find(name);
    this.#change((content) => {
      const entries = Object.entries(content[TABLES[kind]]);
      content[TABLES[kind]] = Object.fromEntries(entries.map(([key, place]) => [key === name ? next : key, place]));
    });
  }

  delete(name) {
    const { kind } = this.find(name);
    this.#change((content) => delete content[TABLES[kind]][name]);
  }

  undo() {
    if (!this.canUndo) return;
    this.#content = this.#undone.pop();
    this.dispatchEvent(new Event("changed"));
    this.#save();
  }

  #change(edit) {
    const next = copy(this.#content);
    edit(next);
    if (same(next, this.#content)) return;
    this.#undone.push(this.#content);
    this.#content = next;
    this.dispatchEvent(new Event("changed"));
    this.#save();
  }

  #save() {
    this.#saving = this.#saving.then(() => this.#put());
    return this.#saving;
  }

  async #put() {
    const content = this.#content;
    if (!this.#saved || same(content, this.#saved)) return;
    try {
      const { etag } = await this.#api.put("/api/places", content, { etag: this.#etag });
      this.#etag = etag;
      this.#saved = content;
      this.#say("");
    } catch (error) {
      await this.#refused(error);
    }
  }

  async #refused(error) {
    if (error.status === 401) this.forget(); // loaded anew after the next sign-in
    else if (error.status === 0) this.#say("Not saved yet: no connection to the agent. It is saved when the agent is back.");
    else if (error.status === 409) {
      this.forget();
      await this.load().catch(() => {});
      this.#say("Someone else changed the places. They are loaded again; your last change was not kept.");
    } else {
      this.#content = this.#saved;
      this.#undone = [];
      this.dispatchEvent(new Event("changed"));
      this.#say(`Not saved: ${error.message}`);
    }
  }

  #say(text) {
    this.dispatchEvent(new CustomEvent("error", { detail: text }));
  }
}
