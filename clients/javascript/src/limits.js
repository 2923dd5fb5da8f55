/**
 * How much of anything a token may hold. Knows only numbers and their error.
 *
 * @module
 */

import { LimitExceeded } from "./errors.js";

/**
 * Bounds that are checked before any HMAC is computed. Sizes in characters of text, or in bytes.
 *
 * @typedef {object} Limits
 * @property {number} tokenText characters of one token's text
 * @property {number} bundleText characters of a bundle's text: the token and all its discharges
 * @property {number} caveats caveats in one macaroon
 * @property {number} predicate bytes of one first-party predicate
 * @property {number} ticket bytes of one third-party ticket
 * @property {number} discharges discharges in one bundle
 * @property {number} depth how deep discharges may nest
 */

/** @type {Readonly<Limits>} */
export const LIMITS = {
  tokenText: 16384,
  bundleText: 65536,
  caveats: 64,
  predicate: 1024,
  ticket: 4096,
  discharges: 16,
  depth: 8,
};

/**
 * Throws `LimitExceeded` if there are more than a limit allows. `cause` has its name.
 *
 * @param {keyof Limits} limit
 * @param {number} count
 * @param {Limits} limits
 */
export function atMost(limit, count, limits) {
  if (count > limits[limit]) throw new LimitExceeded(`too large: ${limit} is at most ${limits[limit]}, not ${count}`, { limit });
}
