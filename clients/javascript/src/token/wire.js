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
import { DamagedToken, MalformedToken } from "../errors.js";
import { LIMITS, atMost } from "../limits.js";
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
  let out = new Uint8Array(256);
  let at = 1;
  /** @param {number} type @param {Uint8Array} data */
  const put = (type, data) => {
    let size = data.length;
    if (at + size + 8 > out.length) out = concat(out, new Uint8Array(out.length + size));
    out[at++] = type;
    for (; size > 127; size >>= 7) out[at++] = (size & 127) | 128;
    out[at++] = size;
    out.set(data, at);
    at += data.length;
  };
  out[0] = 2;
  if (location) put(LOCATION, utf8(location));
  put(IDENTIFIER, identifier);
  at++; // each section ends in a zero
  for (const caveat of caveats) {
    if (caveat instanceof Uint8Array) put(IDENTIFIER, caveat);
    else {
      if (caveat.location) put(LOCATION, utf8(caveat.location));
      put(IDENTIFIER, caveat.ticket);
      put(VID, caveat.vid);
    }
    at++;
  }
  at++;
  put(SIGNATURE, signature);
  return out.slice(0, at);
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
    return decodeBinary(decodeBase64(text), limits, true);
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
  atMost("tokenText", /** @type {string} */ (text).length, limits);
}

/**
 * The macaroon in a version 2 binary. Throws `MalformedToken`, which says at which byte, and `LimitExceeded`.
 *
 * @param {Bytes} data it is not copied
 * @param {Limits} [limits]
 * @param {boolean} [lenient] whether the empty location that pymacaroons writes is read
 * @returns {Macaroon}
 */
export function decodeBinary(data, limits = LIMITS, lenient = false) {
  const end = data.length - 34;
  let at = 0;

  /** @param {unknown} holds */
  const need = (holds) => {
    if (!holds) throw new MalformedToken(`not a version 2 macaroon: byte ${at} is not what stands there`);
  };

  /** @param {number} byte */
  const takeByte = (byte) => need(at < end && data[at++] === byte);

  /** @param {number} type the data of the field here, if it is of this type */
  const take = (type) => {
    if (data[at] !== type || at >= end) return undefined;
    let size = 0;
    let shift = 0;
    let byte;
    do {
      // Three bytes count to two million, which no limit allows. The last one is not 0: a length has its shortest form.
      byte = data[++at];
      need(at < end && shift < 15 && (byte || !shift));
      size |= (byte & 127) << shift;
      shift += 7;
    } while (byte > 127);
    need(++at + size <= end);
    return data.subarray(at, (at += size));
  };

  const takeLocation = () => {
    const taken = take(LOCATION);
    const location = taken && textOf(taken);
    need(!taken || location || (lenient && location === ""));
    return location;
  };

  const takeIdentifier = () => {
    const taken = take(IDENTIFIER);
    need(taken);
    return /** @type {Bytes} */ (taken);
  };

  takeByte(2);
  need(data[end - 1] === END && data[end] === SIGNATURE && data[end + 1] === 32);
  const location = takeLocation() ?? "";
  const identifier = takeIdentifier();
  takeByte(END);
  /** @type {(Bytes | ThirdPartyCaveat)[]} */
  const caveats = [];
  while (data[at] !== END) {
    const where = takeLocation();
    const first = takeIdentifier();
    const vid = take(VID);
    takeByte(END);
    caveats.push(checkCaveat(where, first, vid, limits));
    atMost("caveats", caveats.length, limits);
  }
  need(at + 1 === end);
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
  if (vid ? vid.length !== 72 : location !== undefined) {
    throw new MalformedToken("a caveat has a location and a vid of 72 bytes, or neither");
  }
  atMost(vid ? "ticket" : "predicate", first.length, limits);
  return vid ? { location: location ?? "", vid, ticket: first } : first;
}
