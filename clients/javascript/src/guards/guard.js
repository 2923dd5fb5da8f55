/**
 * What the guards share: read a request's head, have its token verified, turn errors into problems.
 *
 * Knows heads, problems and verifiers. Knows no framework and opens nothing.
 *
 * @module
 */

import { hex, utf8 } from "../bytes.js";
import { UnsatisfiedCaveats } from "../errors.js";
import { pathCovers, pathPattern, plainPath } from "../kinds/facts.js";
import { parseScope } from "../kinds/scopes.js";
import { checkUrl, tokenOf } from "../http/credentials.js";
import { problemOf } from "../http/problems.js";
import { TrustedProxies } from "../http/proxies.js";
import { Grant } from "../verify/grant.js";

/** @typedef {import("../http/credentials.js").Head} Head */

/**
 * What grants or refuses: a `Verifier`, or what `follow` gives.
 *
 * @typedef {object} Verifies
 * @property {string} [audience]
 * @property {(token: string, facts: import("../verify/verifier.js").Facts) => Promise<Grant>} verify throws the errors
 */

/**
 * @typedef {object} GuardOptions
 * @property {string} [audience] of this app; the verifier's own if left out
 * @property {readonly string[]} [trustedProxies] networks of proxies whose headers are believed, and `unix` for Unix sockets
 * @property {() => Date} [now] the time; the system's clock if left out
 */

/**
 * The scopes that the requests of an app need, and which need no token. Functions are given what the framework gives.
 *
 * @template {any[]} Native
 * @typedef {object} Rules
 * @property {string | readonly string[] | ((...native: Native) => readonly string[])} [scopes] what a request needs: all
 *   of them. Without any, only a token with a bare `*` passes
 * @property {readonly string[] | ((...native: Native) => boolean)} [public] paths that need no token: `/healthz`, `/static/*`
 * @property {(...native: Native) => Readonly<Record<string, unknown>>} [extra] facts for kinds of your own, by name
 */

const PARAMETER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/** Judges requests. Make one when the app starts. */
export class Guard {
  #verifier;
  #audience;
  #proxies;
  #now;

  /**
   * Throws `TypeError` for what is no network, and for an audience that is not the verifier's.
   *
   * @param {Verifies} verifier
   * @param {GuardOptions} [options]
   */
  constructor(verifier, { audience, trustedProxies = [], now = () => new Date() } = {}) {
    if (audience !== undefined && verifier.audience !== undefined && verifier.audience !== audience) {
      throw new TypeError(`this verifier verifies tokens of audience ${verifier.audience}, and none of ${audience}`);
    }
    this.#verifier = verifier;
    this.#audience = audience;
    this.#proxies = new TrustedProxies(trustedProxies);
    this.#now = now;
  }

  /**
   * The grant for a request. Throws `Problem`. An error that says nothing of a token is a bug of the program: it is thrown
   * unchanged, and the request is not granted.
   *
   * @param {Head} head
   * @param {readonly string[]} scopes
   * @param {Readonly<Record<string, unknown>>} [extra]
   * @returns {Promise<Grant>}
   */
  async judge(head, scopes, extra) {
    checkUrl(head);
    const token = tokenOf(head.headers);
    const { method, path } = head;
    const facts = { now: this.#now(), audience: this.#audience, scopes, method, path, extra };
    const host = this.#proxies.host(head);
    const clientIp = this.#proxies.clientAddress(head);
    let grant;
    try {
      grant = await this.#verifier.verify(token, { ...facts, host, clientIp });
    } catch (error) {
      throw problemOf(this.#explained(error, head)) ?? error;
    }
    if (!(grant instanceof Grant)) throw new TypeError("a verifier answers with a Grant or throws");
    return grant;
  }

  /**
   * The error, with what to set where a caveat asks for a fact that only a proxy tells.
   *
   * @param {unknown} error
   * @param {Head} head
   * @returns {unknown}
   */
  #explained(error, head) {
    const hint = error instanceof UnsatisfiedCaveats ? this.#proxies.hint(head) : "";
    if (!hint) return error;
    const { message, cause } = /** @type {UnsatisfiedCaveats} */ (error);
    const { failures } = /** @type {{failures: import("../kinds/checkers.js").Failure[]}} */ (cause);
    const explained = failures.map((failure) =>
      failure.kind === "host" || failure.kind === "client-ip" ? { ...failure, hint: `${failure.hint}; ${hint}` } : failure,
    );
    return new UnsatisfiedCaveats(message, { failures: explained });
  }
}

/**
 * The rules of an app, checked. Throws `MalformedCaveat` for what is no scope or path, `TypeError` for a scope with a
 * parameter, which no route fills here.
 *
 * @template {any[]} Native
 * @param {Rules<Native>} rules
 */
export function checkedRules({ scopes = [], public: open = [], extra = () => ({}) }) {
  const needed = typeof scopes === "function" ? scopes : checkedScopes(scopes);
  if (Array.isArray(needed) && needed.some((scope) => scope.search(PARAMETER) >= 0)) {
    throw new TypeError("no route fills the parameter of a scope here: give a function that returns the scopes");
  }
  const patterns = typeof open === "function" ? [] : open.map(pathPattern);
  return {
    /** @param {Native} native */
    scopes: (...native) => (typeof needed === "function" ? needed(...native) : needed),
    /**
     * Whether a request needs no token. Only a plain path is ever public.
     *
     * @param {string | undefined} path below the app's mount
     * @param {Native} native
     */
    isPublic(path, ...native) {
      if (typeof open === "function") return open(...native) === true;
      const name = plainPath(path ?? "");
      return name !== undefined && patterns.some((pattern) => pathCovers(pattern, name));
    },
    extra,
  };
}

/**
 * Scopes, from one text with single spaces between them or from several; `{name}` in one is a parameter of the route. Throws `MalformedCaveat` for what is no scope, so that a typing
 * error is found when the app starts.
 *
 * @param {string | readonly string[]} scopes
 * @returns {readonly string[]}
 */
export function checkedScopes(scopes) {
  const listed = typeof scopes === "string" ? scopes.split(" ") : scopes;
  for (const scope of listed) parseScope(String(scope).replace(PARAMETER, "x"));
  return listed;
}

/**
 * The scopes with the route's parameters filled in. A value fills one segment: with a slash, a colon or a star in it, the scope
 * is one that no token covers. Throws `TypeError` for a parameter that the route does not have.
 *
 * @param {readonly string[]} scopes
 * @param {Readonly<Record<string, unknown>>} parameters
 * @returns {string[]}
 */
export function filledScopes(scopes, parameters) {
  return scopes.map((scope) =>
    scope.replace(PARAMETER, (_, name) => {
      if (!Object.hasOwn(parameters, name) || parameters[name] === undefined) {
        throw new TypeError(`a scope names {${name}}, which the route does not have`);
      }
      return String(parameters[name]).replace(/[^A-Za-z0-9._@~+-]+/g, (text) => hex(utf8(text)).replace(/../g, "%$&"));
    }),
  );
}
