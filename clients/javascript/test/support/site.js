/**
 * A small HTTP server for tests: whoever is at a path answers with status, headers and body, or writes the answer itself.
 *
 * @module
 */

import { createServer } from "node:http";

/**
 * A request as it arrived.
 *
 * @typedef {object} Asked
 * @property {string} method
 * @property {string} path
 * @property {URLSearchParams} query
 * @property {import("node:http").IncomingHttpHeaders} headers
 * @property {string} body
 * @property {URLSearchParams} form
 */

/** @typedef {[status: number, headers: Record<string, string>, body: string | Uint8Array]} Answer */
/** @typedef {Answer | ((response: import("node:http").ServerResponse) => unknown)} Said what is said, or who says it */
/** @typedef {(asked: Asked) => Said | Promise<Said>} Place */

/**
 * An answer in JSON.
 *
 * @param {unknown} members
 * @param {number} [status]
 * @param {Record<string, string>} [headers]
 * @returns {Answer}
 */
export function said(members, status = 200, headers = {}) {
  return [status, { "Content-Type": "application/json", ...headers }, JSON.stringify(members)];
}

/** A server. Stop it in the end. */
export class Site {
  /** @type {Map<string, Place>} */
  places = new Map();
  /** @type {Asked[]} */
  asked = [];
  url = "";
  #server = createServer((request, response) => void this.#answer(request, response));

  /**
   * A server that has begun, and ends with its test.
   *
   * @param {import("node:test").TestContext} context
   * @returns {Promise<Site>}
   */
  static async for(context) {
    const site = new Site();
    await new Promise((resolve) => site.#server.listen(0, "127.0.0.1", () => resolve(null)));
    const { port } = /** @type {import("node:net").AddressInfo} */ (site.#server.address());
    site.url = `http://127.0.0.1:${port}`;
    context.after(() => {
      site.#server.closeAllConnections();
      site.#server.close();
    });
    return site;
  }

  /** The paths that were asked, in this order. */
  get paths() {
    return this.asked.map(({ path }) => path);
  }

  /**
   * The same answer at a path, or at every path.
   *
   * @param {Said} answer
   * @param {string} [path]
   */
  say(answer, path = "*") {
    this.places.set(path, () => answer);
  }

  /**
   * @param {import("node:http").IncomingMessage} request
   * @param {import("node:http").ServerResponse} response
   */
  async #answer(request, response) {
    const { pathname: path, searchParams: query } = new URL(request.url ?? "/", this.url);
    let body = "";
    for await (const chunk of request.setEncoding("utf-8")) body += chunk;
    const { method = "GET", headers } = request;
    const asked = { method, path, query, headers, body, form: new URLSearchParams(body) };
    this.asked.push(asked);
    const place = this.places.get(path) ?? this.places.get("*");
    const answer = place ? await place(asked) : said({}, 404);
    if (typeof answer === "function") answer(response);
    else response.writeHead(answer[0], answer[1]).end(answer[2]);
  }
}
