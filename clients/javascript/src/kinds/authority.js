/**
 * Effective authority: what all caveats of a token together allow. Judges no request.
 *
 * @module
 */

import { STANDARD } from "./standard.js";

/** @typedef {import("./base.js").Caveat} Caveat */
/** @typedef {import("./scopes.js").ScopePattern} ScopePattern */

/**
 * The most that a token can do, and when. Null means that nothing restricts it.
 *
 * @typedef {object} Authority
 * @property {string | null} user the user of the first `user` caveat
 * @property {string | null} expiresAt the earliest expiry: `YYYY-MM-DDTHH:MM:SSZ`
 * @property {string | null} notBefore the latest start
 * @property {readonly ScopePattern[] | null} scopes what the scope caveats allow, at most 256; never more than they allow
 * @property {Readonly<Record<string, readonly (readonly string[])[]>>} lists lists of words by kind: a request must match
 *   one word of each list. An empty list allows nothing
 * @property {readonly string[]} notes
 * @property {readonly Caveat[]} others caveats that no other field shows
 */

/** @type {Authority} */
const UNRESTRICTED = { user: null, expiresAt: null, notBefore: null, scopes: null, lists: {}, notes: [], others: [] };

/**
 * The authority that all these caveats together leave.
 *
 * @param {readonly Caveat[]} caveats
 * @returns {Authority}
 */
export function effective(caveats) {
  return caveats.reduce(narrowed, UNRESTRICTED);
}

/**
 * For each caveat why it takes nothing away from those before it, as far as its kind can tell; null if it takes something.
 *
 * @param {readonly Caveat[]} caveats
 * @returns {(string | null)[]}
 */
export function repeated(caveats) {
  let before = UNRESTRICTED;
  return caveats.map((caveat) => {
    const because = STANDARD[caveat.kind]?.repeats?.(before, caveat.data) || null;
    before = narrowed(before, caveat);
    return because;
  });
}

/**
 * @param {Authority} authority
 * @param {Caveat} caveat
 * @returns {Authority}
 */
export function narrowed(authority, caveat) {
  const kind = Object.hasOwn(STANDARD, caveat.kind) ? STANDARD[caveat.kind] : undefined;
  if (!kind) return { ...authority, others: [...authority.others, caveat] };
  return kind.narrow ? { ...authority, ...kind.narrow(authority, caveat.data) } : authority;
}
