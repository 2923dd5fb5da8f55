/**
 * Bytes and text to a macaroon and back: strict, one encoding for each macaroon. Knows the encodings, knows no keys.
 *
 * Binary is the version 2 format of libmacaroons; the profile on top asks for minimal varints, fields in order, a
 * signature of 32 bytes, a vid of 72, and nothing left over. Text is `cav1_`, base64url, and six digits of a CRC-32.
 * Bare base64url is read too, with one tolerance: the empty location that pymacaroons writes.
 *
 * @module
 */

import { checksum, concat, decodeBase64, encodeBase64, text as textOf, utf8 } from "../bytes.js";
import { DamagedToken, LimitExceeded, MalformedToken } from "../errors.js";
import { LIMITS } from "../limits.js";
import { macaroonOf } from "./macaroon.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../limits.js").Limits} Limits */
/** @typedef {import("./macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./macaroon.js").ThirdPartyCaveat} ThirdPartyCaveat */

const PREFIX = "cav1_";
const END = 0;
const LOCATION = 1;
const IDENTIFIER = 2;
const VID = 4;
const SIGNATURE = 6;

/**
 * The canonical text of a macaroon: `cav1_...`.
 *
 * @param {Macaroon} macaroon
 * @returns {string}
 */
export function encodeText(macaroon) {
  const body = PREFIX + encodeBase64(encodeBinary(macaroon));
  return body + checksum(body);
}

/**
 * The version 2 binary form of a macaroon.
 *
 * @param {Macaroon} macaroon
 * @returns {Bytes}
 */
export function encodeBinary({ location, identifier, caveats, signature }) {
  const end = [END];
  /** @type {(Uint8Array | number[])[]} */
  const parts = [[2], ...field(LOCATION, utf8(location)), ...field(IDENTIFIER, identifier, true), end];
  for (const caveat of caveats) {
    if (caveat instanceof Uint8Array) parts.push(...field(IDENTIFIER, caveat, true));
    else {
      parts.push(...field(LOCATION, utf8(caveat.location)), ...field(IDENTIFIER, caveat.ticket, true));
      parts.push(...field(VID, caveat.vid));
    }
    parts.push(end);
  }
  parts.push(end, ...field(SIGNATURE, signature));
  return concat(...parts);
}

/**
 * The parts of a field: none for empty data, unless the field must be there.
 *
 * @param {number} type
 * @param {Uint8Array} data
 * @param {boolean} [always]
 * @returns {(Uint8Array | number[])[]}
 */
function field(type, data, always) {
  if (!data.length && !always) return [];
  const head = [type];
  let size = data.length;
  for (; size > 127; size >>= 7) head.push((size & 127) | 128);
  head.push(size);
  return [head, data];
}

/**
 * The macaroon in a `cav1_` text, or in base64url of the version 2 binary.
 *
 * Throws `MalformedToken` (`DamagedToken` for a wrong checksum), `LimitExceeded`.
 *
 * @param {string} text
 * @param {Limits} [limits]
 * @returns {Macaroon}
 */
export function decodeText(text, limits = LIMITS) {
  checkText(text, limits);
  if (/[^\0-\x7f]/.test(text)) throw new MalformedToken("a token text is ASCII");
  if (!text.startsWith(PREFIX)) {
    let bare;
    try {
      bare = decodeBase64(text);
    } catch (cause) {
      throw new MalformedToken("not a token: one begins with cav1_, or is base64url without padding", cause);
    }
    return decodeBinary(bare, limits, true);
  }
  if (text.slice(-6) !== checksum(text.slice(0, -6))) {
    throw new DamagedToken("the token's checksum does not match: it was cut off or mistyped");
  }
  return decodeBinary(decodeBase64(text.slice(PREFIX.length, -6)), limits);
}

/**
 * Throws `MalformedToken` for what is no text, `LimitExceeded` for one that is too long.
 *
 * @param {unknown} text
 * @param {Limits} limits
 */
export function checkText(text, limits) {
  if (typeof text !== "string") throw new MalformedToken("a token is text");
  if (text.length > limits.tokenText) {
    throw new LimitExceeded(`a token text has at most ${limits.tokenText} characters`);
  }
}

/**
 * The macaroon in a version 2 binary. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {Bytes} data it is not copied
 * @param {Limits} [limits]
 * @param {boolean} [lenient] whether the empty location that pymacaroons writes is read
 * @returns {Macaroon}
 */
export function decodeBinary(data, limits = LIMITS, lenient = false) {
  const end = data.length - 34;
  let at = 1;

  /** @param {string} why @returns {never} */
  const malformed = (why) => {
    throw new MalformedToken(why);
  };

  /** @param {number} type the data of the field here, if it is of this type */
  const take = (type) => {
    if (data[at] !== type || at >= end) return undefined;
    let size = 0;
    let shift = 0;
    let byte;
    do {
      // Three bytes count to two million, which no limit allows.
      if (++at >= end || shift > 14) malformed("a field's length is cut off or too large");
      byte = data[at];
      size |= (byte & 127) << shift;
      shift += 7;
    } while (byte > 127);
    if (!byte && shift > 7) malformed("a field's length is not in its shortest form");
    if (++at + size > end) malformed("a field reaches past the end");
    return data.subarray(at, (at += size));
  };

  const takeLocation = () => {
    const taken = take(LOCATION);
    if (taken && !taken.length && !lenient) malformed("an empty location is left out");
    return taken && (textOf(taken) ?? malformed("a location is UTF-8"));
  };

  const takeEnd = () => {
    if (at >= end || data[at++] !== END) malformed("a section holds an unknown, repeated or misplaced field");
  };

  if (end < 4 || data[0] !== 2) malformed("not a version 2 macaroon");
  if (data[end - 1] !== END || data[end] !== SIGNATURE || data[end + 1] !== 32) {
    malformed("a macaroon ends in a signature of 32 bytes");
  }
  const location = takeLocation() ?? "";
  const identifier = take(IDENTIFIER) ?? malformed("the identifier is missing or out of place");
  takeEnd();
  /** @type {(Bytes | ThirdPartyCaveat)[]} */
  const caveats = [];
  while (data[at] !== END) {
    const where = takeLocation();
    const first = take(IDENTIFIER) ?? malformed("a caveat has no identifier, or it is out of place");
    const vid = take(VID);
    takeEnd();
    caveats.push(checkCaveat(where, first, vid, limits));
    if (caveats.length > limits.caveats) throw tooManyCaveats(limits);
  }
  if (at + 1 !== end) malformed("bytes between the caveats and the signature");
  return macaroonOf(location, identifier, caveats, data.subarray(end + 2));
}

/**
 * A caveat of these parts, whose sizes are right. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {string | undefined} location
 * @param {Bytes} first the predicate, or the ticket
 * @param {Bytes | undefined} vid
 * @param {Limits} limits
 * @returns {Bytes | ThirdPartyCaveat}
 */
export function checkCaveat(location, first, vid, limits) {
  if (!vid) {
    if (location !== undefined) throw new MalformedToken("a first-party caveat has no location");
    if (first.length > limits.predicate) throw new LimitExceeded(`a predicate has at most ${limits.predicate} bytes`);
    return first;
  }
  if (vid.length !== 72) throw new MalformedToken("a vid has 72 bytes");
  if (first.length > limits.ticket) throw new LimitExceeded(`a ticket has at most ${limits.ticket} bytes`);
  return { location: location ?? "", vid, ticket: first };
}

/**
 * @param {Limits} limits
 * @returns {LimitExceeded}
 */
export function tooManyCaveats(limits) {
  return new LimitExceeded(`a macaroon has at most ${limits.caveats} caveats`);
}
