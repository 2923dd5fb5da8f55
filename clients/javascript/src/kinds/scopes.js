/**
 * Scope patterns: `resource:action`, covered segment by segment. Knows text, knows no tokens.
 *
 * A resource covers itself and all below it: `photos:read` covers `photos/42:read`, never `photosX:read`. `photos/*` covers
 * only what is below. `*` as the action covers every action. `*` alone covers everything but the service's own namespace
 * `caveats`.
 *
 * @module
 */

import { MalformedCaveat } from "../errors.js";
import { quoted } from "./base.js";

const PATTERN =
  /^((?!\.{1,2}[/:])[A-Za-z0-9._@~+-]+(?:\/(?!\.{1,2}[/:])[A-Za-z0-9._@~+-]+)*)(\/\*)?:(\*|[A-Za-z0-9._-]+)$/;

/** The most patterns that an intersection keeps. It leaves out more: what is shown is then too small, never too large. */
export const MOST_PATTERNS = 256;

/**
 * A parsed pattern. `resource` is empty for `*` alone.
 *
 * @typedef {object} ScopePattern
 * @property {string} resource
 * @property {boolean} below whether only what is below the resource is meant
 * @property {string} action
 * @property {string} text
 */

/**
 * The pattern in a text of at most 1024 characters. Throws `MalformedCaveat`.
 *
 * @param {string} text
 * @returns {ScopePattern}
 */
export function parseScope(text) {
  if (text === "*") return patternOf("", false, "*");
  if (text.length > 1024) throw new MalformedCaveat("a scope has at most 1024 characters");
  const found = PATTERN.exec(text);
  if (!found) throw new MalformedCaveat(`not a scope: ${quoted(text)} (expected resource:action, or *)`);
  return patternOf(found[1], !!found[2], found[3]);
}

/**
 * @param {string} resource
 * @param {boolean} below
 * @param {string} action
 * @returns {ScopePattern}
 */
function patternOf(resource, below, action) {
  return { resource, below, action, text: resource ? `${resource}${below ? "/*" : ""}:${action}` : "*" };
}

/**
 * Whether a pattern allows everything that another one allows.
 *
 * @param {ScopePattern} pattern
 * @param {ScopePattern} other
 * @returns {boolean}
 */
export function scopeCovers(pattern, other) {
  if (!pattern.resource) return !/^caveats(\/|$)/.test(other.resource);
  if (pattern.action !== "*" && pattern.action !== other.action) return false;
  if (other.resource === pattern.resource) return other.below || !pattern.below;
  return other.resource.startsWith(`${pattern.resource}/`);
}

/**
 * The patterns that both sides allow. Each has a resource of one side, and an action that both allow.
 *
 * @param {readonly ScopePattern[]} left
 * @param {readonly ScopePattern[]} right
 * @returns {ScopePattern[]}
 */
export function intersectScopes(left, right) {
  return reduceScopes([...meets(left, right), ...meets(right, left)]);
}

/**
 * The patterns of `deeper` that `wider` allows: whole, or narrowed to an action or to what is below.
 *
 * @param {readonly ScopePattern[]} deeper
 * @param {readonly ScopePattern[]} wider
 * @returns {Generator<ScopePattern>}
 */
function* meets(deeper, wider) {
  let left = 2 * MOST_PATTERNS;
  for (const pattern of deeper) {
    if (wider.some((other) => scopeCovers(other, pattern))) {
      yield pattern;
      continue;
    }
    for (const ancestor of ancestors(pattern.resource)) {
      for (const other of wider.filter(({ resource }) => resource === ancestor).slice(0, left)) {
        left--;
        const below = pattern.below || (other.below && ancestor === pattern.resource);
        const cut = patternOf(pattern.resource, below, pattern.action === "*" ? other.action : pattern.action);
        if (scopeCovers(other, cut)) yield cut;
      }
    }
  }
}

/**
 * The resources that a resource lies below, highest first, and the resource itself.
 *
 * @param {string} resource
 * @returns {string[]}
 */
function ancestors(resource) {
  const segments = resource.split("/");
  return segments.map((_, at) => segments.slice(0, at + 1).join("/"));
}

/**
 * The patterns that no other covers, sorted; at most 256.
 *
 * @param {ScopePattern[]} patterns
 * @returns {ScopePattern[]}
 */
export function reduceScopes(patterns) {
  // A pattern comes before those that it covers, and equal ones cover each other.
  const order = [...patterns].sort(by(({ resource, below, action }) => `${resource} ${Number(below)} ${action}`));
  /** @type {ScopePattern[]} */
  const kept = [];
  for (const pattern of order) {
    if (kept.length < MOST_PATTERNS && !kept.some((one) => scopeCovers(one, pattern))) kept.push(pattern);
  }
  return kept.sort(by(({ text }) => text));
}

/**
 * An order of patterns: that of their texts, in ASCII.
 *
 * @param {(pattern: ScopePattern) => string} text
 * @returns {(one: ScopePattern, other: ScopePattern) => number}
 */
function by(text) {
  return (one, other) => Number(text(one) > text(other)) - Number(text(one) < text(other));
}
