/**
 * A guard for servers of `node:http`, and for Express as a middleware. Knows Node's IncomingMessage and ServerResponse, and
 * imports nothing of Node's.
 *
 * @module
 */

import { Problem } from "../http/problems.js";
import { Guard, checkedRules, checkedScopes, filledScopes } from "./guard.js";

/** @typedef {import("../verify/grant.js").Grant} Grant */
/** @typedef {import("node:http").IncomingMessage} IncomingMessage */
/** @typedef {import("node:http").ServerResponse} ServerResponse */

/**
 * What Express adds to Node's request.
 *
 * @typedef {IncomingMessage & {baseUrl?: string, originalUrl?: string, params?: Record<string, unknown>}} NodeRequest
 */

/**
 * @callback Middleware
 * @param {NodeRequest} request
 * @param {ServerResponse} response
 * @param {(error?: unknown) => void} next
 * @returns {Promise<void>}
 */

/** @type {WeakMap<IncomingMessage, Grant>} */
const GRANTS = new WeakMap();

/** A guard in front of Node's handlers. */
export class TokenGuard {
  #guard;

  /**
   * Throws `TypeError` for options that could never be right.
   *
   * @param {import("./guard.js").Verifies} verifier
   * @param {import("./guard.js").GuardOptions} [options]
   */
  constructor(verifier, options) {
    this.#guard = new Guard(verifier, options);
  }

  /**
   * The grant for a request that needs these scopes. Throws `Problem`: `sendProblem` answers with it.
   *
   * @param {NodeRequest} request
   * @param {readonly string[]} [scopes]
   * @param {Readonly<Record<string, unknown>>} [extra] facts for kinds of your own
   * @returns {Promise<Grant>}
   */
  async judge(request, scopes = [], extra) {
    const grant = await this.#guard.judge(headOf(request), scopes, extra);
    GRANTS.set(request, grant);
    return grant;
  }

  /**
   * A middleware for one route of Express: `guard.requires("photos/{id}:read")`. `{id}` is filled from the path.
   *
   * @param {...string} scopes all are needed
   * @returns {Middleware}
   */
  requires(...scopes) {
    const checked = checkedScopes(scopes);
    return this.#middleware(async (request) => {
      await this.judge(request, filledScopes(checked, request.params ?? {}));
    });
  }

  /**
   * A middleware for a whole app or router of Express.
   *
   * @param {import("./guard.js").Rules<[NodeRequest]>} [rules]
   * @returns {Middleware}
   */
  middleware(rules = {}) {
    const { scopes, isPublic, extra } = checkedRules(rules);
    return this.#middleware(async (request) => {
      if (isPublic(partsOf(request.url).path, request)) return;
      await this.judge(request, scopes(request), extra(request));
    });
  }

  /**
   * A listener for `http.createServer` around another one. It answers 500 to an error that is a bug of the program, and gives
   * that to `onError`.
   *
   * @param {(request: IncomingMessage, response: ServerResponse) => unknown} listener
   * @param {import("./guard.js").Rules<[NodeRequest]> & {onError?: (error: unknown) => void}} [rules]
   * @returns {(request: IncomingMessage, response: ServerResponse) => Promise<void>}
   */
  protect(listener, { onError = console.error, ...rules } = {}) {
    const guarded = this.middleware(rules);
    return (request, response) =>
      guarded(request, response, (error) => {
        if (error === undefined) return void listener(request, response);
        sendProblem(response, new Problem(500, "internal"));
        onError(error);
      });
  }

  /**
   * @param {(request: NodeRequest) => Promise<void>} judge
   * @returns {Middleware}
   */
  #middleware(judge) {
    return async (request, response, next) => {
      try {
        await judge(request);
      } catch (error) {
        if (error instanceof Problem) return sendProblem(response, error);
        return next(error ?? new TypeError("nothing was thrown"));
      }
      next();
    };
  }
}

/**
 * The grant of a request that a guard has let through. Throws `TypeError` for one that needed no token.
 *
 * @param {IncomingMessage} request
 * @returns {Grant}
 */
export function grantOf(request) {
  const grant = GRANTS.get(request);
  if (!grant) throw new TypeError("no token was asked for: this path is public, or no guard is before the handler");
  return grant;
}

/**
 * Answer with a problem.
 *
 * @param {ServerResponse} response
 * @param {Problem} problem
 */
export function sendProblem(response, { status, headers, body }) {
  response.writeHead(status, headers);
  response.end(body);
}

/**
 * @param {NodeRequest} request
 * @returns {import("../http/credentials.js").Head}
 */
function headOf(request) {
  /** @type {[string, string][]} */
  const headers = [];
  const { rawHeaders, socket } = request;
  for (let at = 0; at < rawHeaders.length; at += 2) headers.push([rawHeaders[at].toLowerCase(), rawHeaders[at + 1]]);
  const authority = headers.find(([name]) => name === ":authority"); // what HTTP/2 has in place of Host
  if (authority && !headers.some(([name]) => name === "host")) headers.push(["host", authority[1]]);
  const { path, query } = servedParts(request);
  return { method: request.method, path, query, headers, peer: socket.remoteAddress || null };
}

/**
 * Path and query as the app acts on them: as they were sent or, where something before the guard rewrote them, as that
 * did. A router of Express below a mount has the rest of the path in `url`; without `baseUrl` the mount is not known.
 *
 * @param {NodeRequest} request
 * @returns {{path: string | undefined, query: string}}
 */
function servedParts({ url = "", baseUrl, originalUrl = url }) {
  const sent = partsOf(originalUrl);
  if (baseUrl === undefined) return url === originalUrl ? sent : { path: undefined, query: sent.query };
  const served = partsOf(`${baseUrl}${url}`);
  // At the mount itself Express puts a slash behind it.
  return served.path === `${sent.path}/` ? { ...served, path: sent.path } : served;
}

/**
 * @param {string} [target] of the request line
 * @returns {{path: string, query: string}}
 */
function partsOf(target = "") {
  const [, path, query = ""] = /** @type {RegExpExecArray} */ (/^([^?]*)\??([^]*)/.exec(target));
  // A byte beyond ASCII is in no plain path. It must not be taken for a letter.
  return { path: path.replace(/[^\0-\x7f]/g, "\\"), query };
}

export { Problem };
