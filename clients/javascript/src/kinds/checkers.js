/**
 * Checkers: what each kind asks of a request. Knows requests, knows no keys.
 *
 * An unknown kind refuses, and so does a missing fact. A check answers `true`, or why it refuses; any other answer and any
 * exception refuses as well. A kind of your own is a plain object with `kind`, `read` and `check`:
 *
 *     const album = {
 *       kind: "photos/album",
 *       read(value) {
 *         if (!/^[1-9][0-9]{0,17}$/.test(value)) throw new MalformedCaveat("the number of an album");
 *         return value;
 *       },
 *       check: (number, { extra }) =>
 *         extra?.["photos/album"] === number || { reason: "the request is about another album", hint: `album ${number}` },
 *     };
 *     const checkers = standardCheckers(album);
 *
 * @module
 */

import { checkValue, isKind, nameOf, parsePredicate, quoted } from "./base.js";
import { isInside, parseAddress, parseHost, pathCovers, plainPath } from "./facts.js";
import { parseScope, scopeCovers } from "./scopes.js";
import { METHOD, STANDARD, allowedMethods } from "./standard.js";
import { writeMoment } from "./values.js";

/** @typedef {import("./base.js").Caveat} Caveat */

/**
 * The facts of the request that is judged. A caveat that asks for a fact which is missing here refuses.
 *
 * @typedef {object} Context
 * @property {Date} now
 * @property {string} [audience] the app that verifies
 * @property {readonly string[]} [scopes] what the request is about to do, `resource:action` each. All must be covered
 * @property {string} [method] the HTTP method, upper case
 * @property {string} [path] the HTTP path as it came, without the query
 * @property {string} [host] as in `Host`: a DNS name in any case, with or without a port
 * @property {string} [clientIp] the address of the client
 * @property {string} [user] whom the request claims to come from, if it says so
 * @property {Readonly<Record<string, unknown>>} [extra] facts for plug-in kinds, by name
 */

/**
 * Why a caveat refuses: what the request had, and what would pass.
 *
 * @typedef {object} Unmet
 * @property {string} reason
 * @property {string} hint
 */

/**
 * What a check answers. Anything but `true` itself refuses.
 *
 * @callback Check
 * @param {any} data what its kind has read in the value
 * @param {Readonly<Context>} context
 * @param {string} value as it is written
 * @returns {true | Unmet | false}
 */

/**
 * A kind of an app's own. `read`: see `base.js`. What it accepts must be what the value itself spells.
 *
 * @typedef {object} PluginKind
 * @property {string} kind `vendor/kind`
 * @property {(value: string) => unknown} read throws `MalformedCaveat` for what is not of the kind
 * @property {Check} check
 */

/**
 * The kinds that an app knows, by name.
 *
 * @typedef {Readonly<Record<string, {read: (value: string) => unknown, check: Check}>>} Checkers
 */

/**
 * One caveat that refuses a request.
 *
 * @typedef {object} Failure
 * @property {number} index its place among the caveats that were judged, from 0
 * @property {string} kind
 * @property {string} predicate
 * @property {"issuer" | "holder" | "discharger"} addedBy
 * @property {string} reason what the request had
 * @property {string} hint what would pass
 */

/** @param {string} value */
const oneOf = (value) => `one of: ${value}`;

const UNKNOWN_HINT = "nothing here; an app that knows this kind may accept it";

/** @type {Record<string, Check>} */
const CHECKS = {
  user: (name, { user }) =>
    user == null || user === name || { reason: `the request is made as ${quoted(user)}`, hint: `a request made as ${quoted(name)}` },
  scope(patterns, { scopes = [] }, value) {
    const hint = `a request that needs no more than ${value}`;
    if (!scopes.length) {
      const any = patterns.some((/** @type {{resource: string}} */ one) => !one.resource);
      return any || { reason: "the request names no scope, which only * covers", hint };
    }
    for (const text of scopes) {
      let needed;
      try {
        needed = parseScope(text);
      } catch {
        return { reason: `the request needs ${quoted(text)}, which is not a scope`, hint: "resource:action" };
      }
      const covered = patterns.some((/** @type {import("./scopes.js").ScopePattern} */ one) => scopeCovers(one, needed));
      if (!covered) return { reason: `the request needs ${text}`, hint };
    }
    return true;
  },
  expires: (at, { now }) =>
    now.getTime() < Date.parse(at) || { reason: `it is ${writeMoment(now)}`, hint: `a request before ${at}; ask for a fresh token` },
  "not-before": (at, { now }) =>
    now.getTime() >= Date.parse(at) || { reason: `it is ${writeMoment(now)}`, hint: `a request at ${at} or later` },
  audience(words, { audience }, value) {
    const hint = `an app that is one of: ${value}`;
    if (audience == null) return { reason: "the request has no audience", hint };
    return words.includes(audience) || { reason: `this app is ${quoted(audience)}`, hint };
  },
  method(words, { method }, value) {
    if (method == null) return { reason: "the request has no method", hint: oneOf(value) };
    if (!METHOD.test(method)) return { reason: `${quoted(method)} is no HTTP method in upper case`, hint: oneOf(value) };
    return allowedMethods(words).includes(method) || { reason: `the request's method is ${method}`, hint: oneOf(value) };
  },
  path(names, { path }, value) {
    if (path == null) return { reason: "the request has no path", hint: oneOf(value) };
    const name = plainPath(path);
    if (name === undefined) {
      return { reason: "the request's path is not in plain form", hint: "a path without dot segments or escapes" };
    }
    const covered = names.some((/** @type {string} */ pattern) => pathCovers(pattern, name));
    return covered || { reason: `the request's path is ${path}`, hint: oneOf(value) };
  },
  host(words, { host }, value) {
    if (host == null) return { reason: "the request has no host", hint: oneOf(value) };
    const name = parseHost(host);
    if (!name) return { reason: "the request's host is not a DNS name", hint: oneOf(value) };
    return words.includes(name) || { reason: `the request's host is ${name}`, hint: oneOf(value) };
  },
  "client-ip"(networks, { clientIp }, value) {
    const hint = `a client in: ${value}`;
    if (clientIp == null) return { reason: "the request has no client address", hint };
    const address = parseAddress(clientIp);
    if (!address) return { reason: "the request's client address is not an IP address", hint };
    const inside = networks.some((/** @type {import("./facts.js").Network} */ network) => isInside(network, address));
    return inside || { reason: `the client's address is ${address.text}`, hint };
  },
  note: () => true,
  renewed: () => true,
  parent: () => true,
};

/**
 * The standard kinds, and an app's own. Throws `TypeError` for a name that is malformed or taken.
 *
 * @param {...PluginKind} plugins
 * @returns {Checkers}
 */
export function standardCheckers(...plugins) {
  /** @type {Record<string, {read: (value: string) => unknown, check: Check}>} */
  const checkers = Object.create(null);
  for (const [kind, { read }] of Object.entries(STANDARD)) checkers[kind] = { read, check: CHECKS[kind] };
  for (const { kind, read, check } of plugins) {
    if (!isKind(kind)) throw new TypeError(`${quoted(kind)} names no kind`);
    if (kind in checkers) throw new TypeError(`the kind ${quoted(kind)} is already there`);
    checkers[kind] = { read: (value) => read(checkValue(value)), check };
  }
  return Object.freeze(checkers);
}

/**
 * Every caveat that refuses this request, explained. Empty if all hold. Never throws.
 *
 * Of several `user` caveats all must name the first one's user.
 *
 * @param {readonly Caveat[]} caveats
 * @param {Context} context
 * @param {{checkers?: Checkers, addedBy?: readonly Failure["addedBy"][]}} [options] `addedBy`: who added each caveat; the
 *   holder for those beyond its end
 * @returns {Failure[]}
 */
export function unsatisfied(caveats, context, { checkers = standardCheckers(), addedBy = [] } = {}) {
  /** @type {Failure[]} */
  const failures = [];
  /** @type {string | undefined} */
  let user;
  const facts = Object.freeze({ ...context });
  caveats.forEach((given, index) => {
    const caveat = given.unknown === null ? given : parsePredicate(given.predicate, checkers);
    let unmet = null;
    if (caveat.kind === "user") {
      const name = caveat.data;
      user ??= name;
      if (user !== name) {
        unmet = { reason: `the token's user is ${quoted(/** @type {string} */ (user))}`, hint: "nothing: a token has one user" };
      }
    }
    unmet ??= answer(caveat, facts, checkers);
    if (unmet) {
      const { kind, text: predicate } = caveat;
      failures.push({ index, kind, predicate, addedBy: addedBy[index] ?? "holder", ...unmet });
    }
  });
  return failures;
}

/**
 * Null if the check of a caveat's kind answers true, otherwise why it refuses.
 *
 * @param {Caveat} caveat
 * @param {Readonly<Context>} context
 * @param {Checkers} checkers
 * @returns {Unmet | null}
 */
function answer(caveat, context, checkers) {
  if (caveat.unknown !== null) {
    return { reason: caveat.unknown, hint: UNKNOWN_HINT };
  }
  if (!(caveat.kind in checkers)) return { reason: "no check for this kind is known here", hint: UNKNOWN_HINT };
  /** @type {unknown} */
  let said;
  try {
    said = checkers[caveat.kind].check(caveat.data, context, caveat.value);
  } catch (error) {
    return { reason: `its check failed: ${nameOf(error)}`, hint: "nothing, until the check works" };
  }
  if (said === true) return null;
  if (said instanceof Promise) {
    said.catch(() => {});
    return { reason: "its check is asynchronous, which nothing awaits", hint: "nothing, until the check is a function" };
  }
  const { reason, hint } = /** @type {Partial<Unmet>} */ (said ?? {});
  if (typeof reason === "string" && typeof hint === "string") return { reason, hint };
  return { reason: "its check did not answer True", hint: "another request" };
}
