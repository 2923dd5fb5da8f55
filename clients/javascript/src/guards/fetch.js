/**
 * A guard for handlers of the form `(Request) => Response`: Deno, Bun, Hono, workers. Knows the Fetch standard's Request.
 *
 * @module
 */

import { Problem } from "../http/problems.js";
import { Guard, checkedRules } from "./guard.js";

/** @typedef {import("../verify/grant.js").Grant} Grant */

/**
 * Whatever a platform gives a handler besides the request is passed on.
 *
 * @typedef {(request: Request, ...more: any[]) => Response | Promise<Response>} Handler
 */

/**
 * @typedef {import("./guard.js").GuardOptions & {peer?: (request: Request, ...more: any[]) => string | null | undefined}}
 *   FetchOptions `peer`: the address at the other end of the connection, as the platform knows it; null on a Unix socket
 */

/** @type {WeakMap<Request, Grant>} */
const GRANTS = new WeakMap();

/** A guard in front of Fetch handlers. */
export class TokenGuard {
  #guard;
  #peer;

  /**
   * Throws `TypeError` for options that could never be right: `trustedProxies` without `peer` among them.
   *
   * @param {import("./guard.js").Verifies} verifier
   * @param {FetchOptions} [options]
   */
  constructor(verifier, { peer, ...options } = {}) {
    if (options.trustedProxies?.length && !peer) throw new TypeError("who is trusted is told by peer, which is missing");
    this.#guard = new Guard(verifier, options);
    this.#peer = peer;
  }

  /**
   * The grant for a request that needs these scopes. Throws `Problem`: `problemResponse` makes the answer of it.
   *
   * @param {Request} request
   * @param {readonly string[]} [scopes]
   * @param {{extra?: Readonly<Record<string, unknown>>, more?: readonly any[]}} [given] `extra`: facts for kinds of your own; `more`: what
   *   `peer` is given besides the request
   * @returns {Promise<Grant>}
   */
  async judge(request, scopes = [], { extra, more = [] } = {}) {
    const peer = this.#peer?.(request, ...more);
    const grant = await this.#guard.judge(headOf(request, peer), scopes, extra);
    GRANTS.set(request, grant);
    return grant;
  }

  /**
   * A handler around another one: it is called for requests that their token allows, the others are answered with a problem.
   *
   * @param {Handler} handler
   * @param {import("./guard.js").Rules<[Request, ...any[]]>} [rules]
   * @returns {Handler}
   */
  protect(handler, rules = {}) {
    const { scopes, isPublic, extra } = checkedRules(rules);
    return async (request, ...more) => {
      if (!isPublic(partsOf(request).path, request, ...more)) {
        try {
          await this.judge(request, scopes(request, ...more), { extra: extra(request, ...more), more });
        } catch (error) {
          if (error instanceof Problem) return problemResponse(error);
          throw error;
        }
      }
      return handler(request, ...more);
    };
  }
}

/**
 * The grant of a request that a guard has let through. Throws `TypeError` for one that needed no token.
 *
 * @param {Request} request
 * @returns {Grant}
 */
export function grantOf(request) {
  const grant = GRANTS.get(request);
  if (!grant) throw new TypeError("no token was asked for: this path is public, or no guard is around the handler");
  return grant;
}

/**
 * The answer to a refused request.
 *
 * @param {Problem} problem
 * @returns {Response}
 */
export function problemResponse({ status, headers, body }) {
  return new Response(body, { status, headers });
}

/**
 * @param {Request} request
 * @param {string | null | undefined} peer
 * @returns {import("../http/credentials.js").Head}
 */
function headOf(request, peer) {
  const { host, path, query } = partsOf(request);
  const headers = [...request.headers];
  if (!request.headers.has("host")) headers.push(["host", host]);
  return { method: request.method, path, query, headers, peer };
}

/**
 * Of the request's URL, which the standard has brought into its one form: the app acts on the same.
 *
 * @param {Request} request
 * @returns {{host: string, path: string, query: string}}
 */
function partsOf({ url }) {
  const [, host = "", path = "", query = ""] = /^[a-z]+:\/\/([^/?#]*)([^?#]*)\??([^#]*)/.exec(url) ?? [];
  return { host, path, query };
}

export { Problem };
