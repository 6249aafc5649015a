// Signing in: by the one-time link's token in the fragment of the address, or by the password. Signing out.

import { byId, setText } from "./dom.js";

const ENDED = "Your session has ended. Open a new link from the agent's log, or sign in with the password.";
const SIGNED_OUT = "You are signed out. Open a new link from the agent's log, or sign in with the password.";
const NO_CONNECTION = "No connection to the agent. Check that it runs and that this device is in its network, then try again.";
const WRONG_PASSWORD = "Wrong password.";
const WRONG_LINK = "That link was used or is too old. Ask the agent for a new one, as said below.";

/** Return the token in a link such as http://hive-7:8080/#token=…, or null. */
function tokenOf(link) {
  const [, fragment] = link.split("#", 2);
  return fragment ? new URLSearchParams(fragment).get("token") : null;
}

/** Calls `onSignedIn()` and `onSignedOut()` as the session begins and ends. */
export class Session {
  #api;
  #onSignedIn;
  #onSignedOut;
  #secret = byId("sign-in-secret");
  #error = byId("sign-in-error");
  #signedIn = false;
  #countdown = 0;

  constructor(api, { onSignedIn, onSignedOut }) {
    this.#api = api;
    this.#onSignedIn = onSignedIn;
    this.#onSignedOut = onSignedOut;
    byId("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId("sign-out").addEventListener("click", () => this.#signOut());
    api.addEventListener("signed-out", () => this.#end(ENDED));
    window.addEventListener("hashchange", () => this.#takeLink());
  }

  /** Use the link in the address, or the session that is there, or ask for one. */
  async start() {
    if (await this.#takeLink()) return;
    try {
      await this.#api.get("/api/session");
      this.#begin();
    } catch (error) {
      this.#show();
      if (error.status !== 401) setText(this.#error, error.status === 0 ? NO_CONNECTION : error.message);
    }
  }

  async #takeLink() {
    const token = tokenOf(location.hash);
    if (!token) return false;
    history.replaceState(null, "", location.pathname);
    await this.#signIn({ token });
    return true;
  }

  async #submit() {
    const text = this.#secret.value.trim();
    if (!text) {
      setText(this.#error, "Enter the password, or paste the link.");
      this.#secret.focus();
      return;
    }
    const token = tokenOf(text);
    await this.#signIn(token ? { token } : { password: text });
  }

  async #signIn(secret) {
    setText(this.#error, "");
    try {
      await this.#api.post("/api/session", secret);
      this.#secret.value = "";
      this.#begin();
    } catch (error) {
      // A link that was used is opened again by the browser that used it: its session is still good.
      if (secret.token && (await this.#hasSession())) return this.#begin();
      this.#show();
      if (error.status === 429) this.#wait(error.retryAfter || 10);
      else if (error.status === 0) setText(this.#error, NO_CONNECTION);
      else if (error.status === 401) setText(this.#error, secret.token ? WRONG_LINK : WRONG_PASSWORD);
      else setText(this.#error, error.message);
      this.#secret.focus();
    }
  }

  async #hasSession() {
    try {
      await this.#api.get("/api/session");
      return true;
    } catch {
      return false;
    }
  }

  #wait(seconds) {
    clearInterval(this.#countdown);
    const button = byId("sign-in-button");
    const until = Date.now() + seconds * 1000;
    setText(this.#error, `Too many attempts. Wait ${seconds} s before the next.`);
    button.disabled = true;
    this.#countdown = setInterval(() => {
      if (Date.now() < until) return;
      clearInterval(this.#countdown);
      button.disabled = false;
      setText(this.#error, "");
    }, 250);
  }

  async #signOut() {
    try {
      await this.#api.request("DELETE", "/api/session");
    } catch (error) {
      if (error.status === 0) return; // the page says so already, and the session is not over
    }
    this.#end(SIGNED_OUT);
  }

  #begin() {
    if (this.#signedIn) return;
    this.#signedIn = true;
    byId("sign-in").hidden = true;
    byId("view").hidden = false;
    this.#onSignedIn();
  }

  #end(reason) {
    if (!this.#signedIn) return;
    this.#signedIn = false;
    setText(byId("sign-in-reason"), reason);
    this.#show();
    this.#secret.focus();
    this.#onSignedOut();
  }

  #show() {
    byId("view").hidden = true;
    byId("sign-in").hidden = false;
  }
}
