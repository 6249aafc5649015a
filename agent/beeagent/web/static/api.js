// The agent's HTTP interface: JSON in and out, one class of error, and whether the agent can be reached.

const TIMEOUT_MS = 10_000;

export class ApiError extends Error {
  /** `status` is 0 where the agent could not be reached. */
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Dispatches `signed-out` when the session is missing or over, and `lost` and `found` as the connection goes and comes. */
export class Api extends EventTarget {
  connected = true;

  /** Return `{status, data, etag}`; `data` is null without a body. */
  async request(method, path, { body, etag, signal, timeout = TIMEOUT_MS } = {}) {
    const headers = {};
    if (method !== "GET") headers["Content-Type"] = "application/json";
    if (etag) headers["If-Match"] = etag;
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), timeout);
    const cancel = () => abort.abort();
    signal?.addEventListener("abort", cancel, { once: true });
    let response;
    let data = null;
    try {
      response = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: abort.signal,
        credentials: "same-origin",
        cache: "no-store",
      });
      const text = await response.text();
      if (text && response.headers.get("Content-Type")?.startsWith("application/json")) data = JSON.parse(text);
    } catch (error) {
      if (signal?.aborted) throw error;
      this.#reached(false);
      throw new ApiError(0, "no connection to the agent");
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
    }
    this.#reached(true);
    if (!response.ok) {
      const signingIn = method === "POST" && path === "/api/session"; // a wrong password ends no session
      if (response.status === 401 && !signingIn) this.dispatchEvent(new Event("signed-out"));
      const retryAfter = Number(response.headers.get("Retry-After")) || 0;
      throw new ApiError(response.status, data?.error ?? `the agent answered ${response.status}`, retryAfter);
    }
    return { status: response.status, data, etag: response.headers.get("ETag") };
  }

  get(path, options) {
    return this.request("GET", path, options);
  }

  put(path, body, options) {
    return this.request("PUT", path, { ...options, body });
  }

  post(path, body, options) {
    return this.request("POST", path, { ...options, body });
  }

  #reached(connected) {
    if (connected === this.connected) return;
    this.connected = connected;
    this.dispatchEvent(new Event(connected ? "found" : "lost"));
  }
}
