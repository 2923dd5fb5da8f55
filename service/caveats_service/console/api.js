// Asks the service at /v1. Knows its address, how bodies and problems look, and that the session's cookie travels by itself.

/** The service's address, with a slash at the end: this module is in its folder `console`. */
export const ROOT = new URL("../", import.meta.url).href;

/** What the service answered instead of what was asked for (RFC 9457). */
export class Problem extends Error {
  /** @param {number} status @param {Record<string, any>} body */
  constructor(status, body) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.name = "Problem";
    this.status = status;
    /** A stable word; docs/http.md lists them. @type {string} */
    this.code = body.code ?? "unknown";
    /** What it is in general. @type {string} */
    this.title = body.title ?? "The service could not do that";
    this.members = body;
  }
}

/** The service could not be reached at all. */
export class Unreachable extends Problem {
  constructor() {
    super(0, { code: "unreachable", title: "The service does not answer", detail: "Check the connection, then try again." });
  }
}

/**
 * Asks, and returns what the answer holds; undefined for one without a body. Raises `Problem`.
 * @param {string} method
 * @param {string} path below the service's address, such as `v1/tokens`
 * @param {object} [options]
 * @param {unknown} [options.body]
 * @param {boolean} [options.withSession] whether the session's cookie goes along
 * @param {string} [options.token] a token to ask with, in place of the session
 * @param {boolean} [options.keepalive] whether the request outlives the page
 * @returns {Promise<any>}
 */
export async function ask(method, path, { body, withSession = true, token, keepalive = false } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(ROOT + path, {
      method,
      body: body === undefined ? null : JSON.stringify(body),
      headers,
      credentials: withSession && token === undefined ? "same-origin" : "omit",
      redirect: "error",
      keepalive,
    });
  } catch (cause) {
    throw Object.assign(new Unreachable(), { cause });
  }
  if (answer.status === 204) return undefined;
  const text = await answer.text();
  /** @type {any} */
  let read = {};
  try {
    read = JSON.parse(text);
  } catch {
    if (answer.ok) throw new Problem(answer.status, { title: "The service's answer could not be read" });
  }
  if (!answer.ok) throw new Problem(answer.status, read);
  return read;
}

/**
 * All rows of a listing that comes in pages, at most so many.
 * @param {string} path without a query @param {string} member the rows' name in the answer @param {number} [most]
 * @returns {Promise<{rows: any[], more: boolean}>}
 */
export async function all(path, member, most = 2000) {
  /** @type {any[]} */
  const rows = [];
  let after = "";
  do {
    const page = await ask("GET", `${path}?limit=500&after=${encodeURIComponent(after)}`);
    rows.push(...page[member]);
    after = page.next ?? "";
  } while (after !== "" && rows.length < most);
  return { rows, more: after !== "" };
}

/** A part of a path. @param {string} text */
export const segment = (text) => encodeURIComponent(text);
