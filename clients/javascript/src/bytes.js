/**
 * Bytes and text: UTF-8, base64url, hexadecimal, the checksum. Knows no token and no key.
 *
 * @module
 */

import { MalformedToken } from "./errors.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** @type {TextEncoder | undefined} */
let encoder;
/** @type {TextDecoder | undefined} */
let decoder;
/** @type {Uint8Array | undefined} */
let sextets;
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
    out += character ?? `\\x${hex(bytes.subarray(at, at + 1))}`;
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
  let out = "";
  let at = 0;
  for (; at + 2 < bytes.length; at += 3) {
    const three = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
    out += ALPHABET[three >> 18] + ALPHABET[(three >> 12) & 63] + ALPHABET[(three >> 6) & 63] + ALPHABET[three & 63];
  }
  const rest = bytes.length - at;
  if (rest) {
    const two = (bytes[at] << 8) | (rest > 1 ? bytes[at + 1] : 0);
    out += ALPHABET[two >> 10] + ALPHABET[(two >> 4) & 63] + (rest > 1 ? ALPHABET[(two << 2) & 63] : "");
  }
  return out;
}

/**
 * The inverse of `encodeBase64`. Throws `MalformedToken` for padding, white space, spare bits and an empty text.
 *
 * @param {string} encoded
 * @returns {Bytes}
 */
export function decodeBase64(encoded) {
  sextets ??= Uint8Array.from({ length: 128 }, (_, code) => ALPHABET.indexOf(String.fromCharCode(code)));
  const size = encoded.length;
  const out = new Uint8Array((size * 3) >> 2);
  let bits = 0;
  let bad = size % 4 === 1 || !size ? 128 : 0;
  for (let from = 0, to = 0; from < size; from++) {
    const sextet = sextets[encoded.charCodeAt(from)] ?? 255;
    bad |= sextet & 128;
    bits = (bits << 6) | sextet;
    if (from & 3) out[to++] = bits >> (6 - 2 * (from & 3));
  }
  const spare = (size * 6) & 7;
  if (bad || bits & ((1 << spare) - 1)) throw new MalformedToken("not base64url without padding");
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
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
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
