/**
 * Bytes and text: UTF-8, base64url, hexadecimal, the checksum. Knows no token and no key.
 *
 * @module
 */

import { MalformedToken } from "./errors.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** base64url without padding and spare bits. */
const STRICT = /^(?:[\w-]{4})*(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?$/;
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** @type {TextEncoder | undefined} */
let encoder;
/** @type {TextDecoder | undefined} */
let decoder;
/** @type {Uint32Array | undefined} */
let remainders;

/**
 * The UTF-8 of a text. Half a surrogate pair becomes U+FFFD: whoever signs a text looks for one first.
 *
 * @param {string} text
 * @returns {Bytes}
 */
export function utf8(text) {
  return (encoder ??= new TextEncoder()).encode(text);
}

/**
 * The text in UTF-8 bytes; undefined for bytes that are not UTF-8.
 *
 * @param {Uint8Array} bytes
 * @returns {string | undefined}
 */
export function text(bytes) {
  try {
    return (decoder ??= new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * The text in bytes, with each byte that is not UTF-8 as an escape such as `\xff`.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function escapedText(bytes) {
  const whole = text(bytes);
  if (whole !== undefined) return whole;
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at];
    const size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    const character = text(bytes.subarray(at, at + size));
    out += character ?? `\\x${first.toString(16)}`;
    at += character === undefined ? 1 : size;
  }
  return out;
}

/**
 * base64url without padding (RFC 4648, section 5).
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function encodeBase64(bytes) {
  const binary = String.fromCharCode.apply(null, /** @type {any} */ (bytes));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/**
 * The inverse of `encodeBase64`. Throws `MalformedToken` for padding, white space, spare bits and an empty text.
 *
 * @param {string} encoded
 * @returns {Bytes}
 */
export function decodeBase64(encoded) {
  if (!encoded || !STRICT.test(encoded)) {
    throw new MalformedToken("not a token: one begins with cav1_, or is base64url without padding");
  }
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const out = new Uint8Array(binary.length);
  for (let at = 0; at < out.length; at++) out[at] = binary.charCodeAt(at);
  return out;
}

/**
 * Lower-case hexadecimal.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function hex(bytes) {
  return Array.from(bytes, (byte) => (byte < 16 ? "0" : "") + byte.toString(16)).join("");
}

/**
 * The bytes that a text spells in hexadecimal, of which its caller knows that it does.
 *
 * @param {string} digits
 * @returns {Bytes}
 */
export function unhex(digits) {
  return Uint8Array.from({ length: digits.length >> 1 }, (_, at) => parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}

/**
 * These bytes, one after the other.
 *
 * @param {...ArrayLike<number>} parts
 * @returns {Bytes}
 */
export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * Whether two byte arrays are equal. The time it takes does not depend on where they differ.
 *
 * @param {Uint8Array} left
 * @param {Uint8Array} right
 * @returns {boolean}
 */
export function same(left, right) {
  let differ = left.length ^ right.length;
  for (let at = 0; at < left.length; at++) differ |= left[at] ^ right[at];
  return !differ;
}

/**
 * Six digits in base 62, the most significant first, of the CRC-32 (IEEE 802.3) of an ASCII text.
 *
 * @param {string} ascii
 * @returns {string}
 */
export function checksum(ascii) {
  remainders ??= Uint32Array.from({ length: 256 }, (_, remainder) => {
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 && 0xedb88320);
    return remainder;
  });
  let crc = -1;
  for (let at = 0; at < ascii.length; at++) crc = (crc >>> 8) ^ remainders[(crc ^ ascii.charCodeAt(at)) & 255];
  let rest = ~crc >>> 0;
  let digits = "";
  for (let place = 0; place < 6; place++) {
    digits = DIGITS[rest % 62] + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
