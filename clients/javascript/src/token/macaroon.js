/**
 * The macaroon as a value: its parts, and a new one under a root key. Knows the chain, judges nothing.
 *
 * @module
 */

import { InvalidKey, MalformedToken } from "../errors.js";
import { utf8 } from "../bytes.js";
import { run } from "../hmac.js";
import { LIMITS, atMost } from "../limits.js";
import { derive, extend } from "./chain.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../hmac.js").Hmac} Hmac */
/** @typedef {import("../limits.js").Limits} Limits */

/**
 * A third-party caveat: where to ask, the sealed key (72 bytes), and the ticket to show there.
 *
 * @typedef {object} ThirdPartyCaveat
 * @property {string} location
 * @property {Bytes} vid
 * @property {Bytes} ticket
 */

/**
 * A chained-HMAC token. What it says is a claim until it has been authenticated.
 *
 * @typedef {object} Macaroon
 * @property {string} location a hint, which is never authenticated
 * @property {Bytes} identifier from which the issuer finds the root key
 * @property {readonly (Bytes | ThirdPartyCaveat)[]} caveats a first-party caveat is the bytes of its predicate
 * @property {Bytes} signature 32 bytes: a live credential. It is not enumerable, so that no log and no JSON shows it
 */

/**
 * A macaroon and the discharges bound to it, in any order.
 *
 * @typedef {object} Bundle
 * @property {Macaroon} macaroon
 * @property {readonly Macaroon[]} discharges
 */

/**
 * A frozen macaroon of these parts.
 *
 * @param {string} location
 * @param {Bytes} identifier
 * @param {(Bytes | ThirdPartyCaveat)[]} caveats
 * @param {Bytes} signature
 * @returns {Macaroon}
 */
export function macaroonOf(location, identifier, caveats, signature) {
  const parts = { location, identifier, caveats: Object.freeze(caveats) };
  return Object.freeze(Object.defineProperty(/** @type {Macaroon} */ (parts), "signature", { value: signature }));
}

/**
 * The macaroon with more caveats, and the signature after them. Throws `LimitExceeded`.
 *
 * @param {Macaroon} macaroon
 * @param {(Bytes | ThirdPartyCaveat)[]} caveats
 * @param {Limits} limits
 * @returns {import("../hmac.js").Steps<Macaroon>}
 */
export function* append(macaroon, caveats, limits) {
  for (const caveat of caveats) {
    if (caveat instanceof Uint8Array) atMost("predicate", caveat.length, limits);
  }
  const all = [...macaroon.caveats, ...caveats];
  atMost("caveats", all.length, limits);
  let { signature } = macaroon;
  for (const caveat of caveats) signature = yield* extend(signature, caveat);
  return macaroonOf(macaroon.location, macaroon.identifier, all, signature);
}

/**
 * `rootKey` itself, if it can be one: bytes, not empty and not all zero. Throws `InvalidKey`.
 *
 * @param {Bytes} rootKey
 * @returns {Bytes}
 */
export function checkRootKey(rootKey) {
  if (!(rootKey instanceof Uint8Array) || !rootKey.some(Boolean)) {
    throw new InvalidKey("a root key is bytes, not empty and not all zero");
  }
  return rootKey;
}

/**
 * A new macaroon. Throws `InvalidKey`, `MalformedToken`.
 *
 * @param {Bytes} rootKey any length, not empty and not all zero
 * @param {Bytes | string} identifier not empty
 * @param {{location?: string, hmac?: Hmac}} [options] `location`: a hint, which is not authenticated
 * @returns {Promise<Macaroon>}
 */
export async function mint(rootKey, identifier, { location = "", hmac } = {}) {
  const named = typeof identifier === "string" ? utf8(identifier) : identifier;
  if (!named.length) throw new MalformedToken("a macaroon has an identifier");
  if (/\p{Cs}/u.test(location)) throw new MalformedToken("a location must be text that UTF-8 can encode");
  checkRootKey(rootKey);
  return run(
    (function* () {
      return macaroonOf(location, named, [], yield* extend(yield* derive(rootKey), named));
    })(),
    hmac,
  );
}

/**
 * The macaroon with predicates as they are, whatever they say. Throws `LimitExceeded`.
 *
 * @param {Macaroon} macaroon
 * @param {Bytes[]} predicates
 * @param {{hmac?: Hmac, limits?: Limits}} [options]
 * @returns {Promise<Macaroon>}
 */
export async function appendPredicates(macaroon, predicates, { hmac, limits = LIMITS } = {}) {
  return run(append(macaroon, predicates, limits), hmac);
}
