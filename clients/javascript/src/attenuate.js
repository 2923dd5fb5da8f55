/**
 * Narrowing: a token with more caveats, made without a key and without a network. Knows kinds by their table.
 *
 * @module
 */

import { append } from "./token/macaroon.js";
import { MalformedCaveat, MalformedToken } from "./errors.js";
import { run } from "./hmac.js";
import { LIMITS } from "./limits.js";
import { parseDuration } from "./durations.js";
import { bundleOf, encode } from "./token/bundle.js";
import { isKind, parsePredicate, predicateOf, quoted } from "./kinds/base.js";
import { STANDARD, splitPaths } from "./kinds/standard.js";
import { readMoment, writeMoment } from "./kinds/values.js";
import { utf8 } from "./bytes.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./token/macaroon.js").Macaroon} Macaroon */

/**
 * How to narrow a token. A list of words becomes one caveat, which allows any of them; to require two of them, narrow twice.
 *
 * @typedef {object} Narrowing
 * @property {string | readonly string[]} [scope] what it allows: `photos/42:read`
 * @property {string | number} [expiresIn] for how long: `10m`, or whole seconds
 * @property {Date | string} [expires] until when: a Date, or ISO 8601 with its zone
 * @property {Date | string} [notBefore] from when on
 * @property {string | readonly string[]} [audience] which apps may take it
 * @property {string | readonly string[]} [method] HTTP methods: `GET`
 * @property {string | readonly string[]} [path] HTTP paths: `/a/b`, or `/a/*` for all below
 * @property {string | readonly string[]} [host] hosts that a request may be made to: `photos.example`
 * @property {string | readonly string[]} [clientIp] who may present it: `10.0.0.0/8`
 * @property {string | readonly string[]} [note] labels for people, each a caveat of its own
 * @property {readonly (string | Uint8Array)[]} [caveats] predicates: `vendor/kind = value`; bytes are taken as they are
 */

/**
 * A narrower copy of a token: text for text, a macaroon for a macaroon.
 *
 * No request is sent, and the token itself does not change. Nobody can remove a caveat again. A token with discharges has to
 * be narrowed first and bound then.
 *
 * Throws `MalformedToken`, `MalformedCaveat`, `MalformedDuration`, `LimitExceeded`.
 *
 * @template {string | Macaroon} T
 * @param {T} token
 * @param {Narrowing} narrowing
 * @param {{now?: Date, hmac?: import("./hmac.js").Hmac, limits?: import("./limits.js").Limits}} [options]
 *   `now`: for `expiresIn`; `hmac`: in place of WebCrypto
 * @returns {Promise<T extends string ? string : Macaroon>}
 */
export async function attenuate(token, narrowing, { now = new Date(), hmac, limits = LIMITS } = {}) {
  const { macaroon, discharges } = bundleOf(/** @type {string | Macaroon} */ (token), limits);
  if (discharges.length) {
    throw new MalformedToken("this token has discharges bound to it: narrow it first, then bind them to it");
  }
  const narrower = await run(append(macaroon, predicatesOf(narrowing, now), limits), hmac);
  return /** @type {any} */ (typeof token === "string" ? encode(narrower) : narrower);
}

/**
 * The predicates that narrow a token in this way, in the order of the standard kinds. Throws `MalformedCaveat` for a member
 * that is not known or has no value, so that none is left out, and if there is none at all; `MalformedDuration`.
 *
 * @param {Narrowing} narrowing
 * @param {Date} now
 * @returns {Bytes[]}
 */
export function predicatesOf(narrowing, now) {
  const { expiresIn, caveats = [], ...given } = /** @type {Record<string, any>} */ (narrowing);
  /** @type {Bytes[]} */
  const predicates = [];
  for (const [kind, { asks, as: name = kind, read, typed = same }] of Object.entries(STANDARD)) {
    if (kind === "expires" && "expiresIn" in narrowing) {
      predicates.push(predicateOf(kind, writeMoment(now.getTime() + parseDuration(expiresIn) * 1000)));
    }
    if (!asks || !(name in given)) continue;
    /** @type {string[]} */
    let values = [given[name]].flat();
    delete given[name];
    if (asks === "moment") values = values.map(momentOf);
    if (asks === "words" && values.length) {
      const words = values.join(" ");
      values = [(kind === "path" ? splitPaths(words) : words.split(" ")).map((word) => typed(word)).join(" ")];
    }
    if (!values.length || values.some((value) => typeof value !== "string")) {
      throw new MalformedCaveat(`${name} has no value to narrow the token by`);
    }
    for (const value of values) {
      read(value);
      predicates.push(predicateOf(kind, value));
    }
  }
  for (const name in given) throw new MalformedCaveat(`a token is not narrowed by ${quoted(name)}`);
  predicates.push(...caveats.map(rawPredicate));
  if (!predicates.length) throw new MalformedCaveat("no caveat given: say how to narrow the token");
  return predicates;
}

/** @param {string} word */
const same = (word) => word;

/**
 * The bytes of a predicate that was given whole: of a known kind, or of a plug-in's.
 *
 * @param {string | Bytes} predicate
 * @returns {Bytes}
 */
function rawPredicate(predicate) {
  if (predicate instanceof Uint8Array) return predicate;
  const { unknown, text } = parsePredicate(utf8(predicate), STANDARD);
  const [kind, value] = predicate.split(/ = (.*)/s);
  if (unknown !== null) {
    if (value === undefined || !kind.includes("/") || !isKind(kind)) throw new MalformedCaveat(`${quoted(text)}: ${unknown}`);
    return predicateOf(kind, value);
  }
  return predicateOf(kind, value);
}

/**
 * The canonical form of a moment. Throws `MalformedCaveat` for a text without a time and a zone.
 *
 * @param {unknown} moment a Date, or a text in ISO 8601
 * @returns {string}
 */
function momentOf(moment) {
  if (moment instanceof Date) return writeMoment(moment);
  const text = String(moment);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text)) {
    throw new MalformedCaveat(`not a time with its zone: ${quoted(text)} (expected 2026-12-01T18:00:00Z)`);
  }
  return text.length === 20 ? readMoment(text) : writeMoment(Date.parse(text));
}
