/**
 * NaCl's secretbox: XSalsa20 (Bernstein, "Extending the Salsa20 nonce") and Poly1305 (RFC 8439, section 2.5). Knows bytes,
 * knows no token. Each key here is used once, and messages are a few kilobytes at most.
 *
 * @module
 */

import { concat, same } from "../bytes.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */

const SIGMA = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574];
/** Where the four diagonals of constants, the key's halves and the nonce stand in a block of Salsa20. */
const CONSTANTS = [0, 5, 10, 15];
const KEY = [1, 2, 3, 4, 11, 12, 13, 14];
const INPUT = [6, 7, 8, 9];
const QUARTERS = [
  [0, 4, 8, 12],
  [5, 9, 13, 1],
  [10, 14, 2, 6],
  [15, 3, 7, 11],
  [0, 1, 2, 3],
  [5, 6, 7, 4],
  [10, 11, 8, 9],
  [15, 12, 13, 14],
];

/**
 * A sealed message: the tag (16 bytes) and the cipher text.
 *
 * @param {Uint8Array} message
 * @param {Uint8Array} nonce 24 bytes, never used twice with one key
 * @param {Uint8Array} key 32 bytes
 * @returns {Bytes}
 */
export function sealSecretbox(message, nonce, key) {
  const { otk, mask } = streamOf(nonce, key, message.length);
  const sealed = xor(message, mask);
  return concat(poly1305(sealed, otk), sealed);
}

/**
 * The message in a box; undefined if this key and nonce did not seal it.
 *
 * @param {Uint8Array} box the tag (16 bytes) and the cipher text
 * @param {Uint8Array} nonce 24 bytes
 * @param {Uint8Array} key 32 bytes
 * @returns {Bytes | undefined}
 */
export function openSecretbox(box, nonce, key) {
  if (box.length < 16) return undefined;
  const sealed = box.subarray(16);
  const { otk, mask } = streamOf(nonce, key, sealed.length);
  return same(box.subarray(0, 16), poly1305(sealed, otk)) ? xor(sealed, mask) : undefined;
}

/**
 * The key (32 bytes) that HSalsa20 derives from a key (32 bytes) and an input (16 bytes): of NaCl's box, with zeros, from
 * the shared point of X25519.
 *
 * @param {Uint8Array} key
 * @param {Uint8Array} input
 * @returns {Bytes}
 */
export function hsalsa20(key, input) {
  const state = mixed(stateOf(key, input));
  return bytesOf([...CONSTANTS, ...INPUT].map((at) => state[at]));
}

/**
 * The first 32 bytes of XSalsa20's stream, which key the authenticator, and as many more as the message has.
 *
 * @param {Uint8Array} nonce
 * @param {Uint8Array} key
 * @param {number} size
 * @returns {{otk: Bytes, mask: Bytes}}
 */
function streamOf(nonce, key, size) {
  const own = hsalsa20(key, nonce.subarray(0, 16));
  const blocks = [];
  for (let counter = 0; counter * 64 < 32 + size; counter++) {
    const start = stateOf(own, concat(nonce.subarray(16, 24), bytesOf([counter, 0])));
    blocks.push(bytesOf(mixed(start).map((word, at) => word + start[at])));
  }
  const stream = concat(...blocks);
  return { otk: stream.subarray(0, 32), mask: stream.subarray(32, 32 + size) };
}

/**
 * @param {Uint8Array} key
 * @param {Uint8Array} input
 * @returns {Uint32Array}
 */
function stateOf(key, input) {
  const state = new Uint32Array(16);
  CONSTANTS.forEach((at, number) => (state[at] = SIGMA[number]));
  wordsOf(key).forEach((word, number) => (state[KEY[number]] = word));
  wordsOf(input).forEach((word, number) => (state[INPUT[number]] = word));
  return state;
}

/**
 * The state after 20 rounds of Salsa20, without the addition of the state before.
 *
 * @param {Uint32Array} start
 * @returns {Uint32Array}
 */
function mixed(start) {
  const x = start.slice();
  for (let round = 0; round < 10; round++) {
    for (const [a, b, c, d] of QUARTERS) {
      x[b] ^= rotated(x[a] + x[d], 7);
      x[c] ^= rotated(x[b] + x[a], 9);
      x[d] ^= rotated(x[c] + x[b], 13);
      x[a] ^= rotated(x[d] + x[c], 18);
    }
  }
  return x;
}

/**
 * @param {number} word
 * @param {number} bits
 * @returns {number}
 */
function rotated(word, bits) {
  return (word << bits) | ((word >>> 0) >>> (32 - bits));
}

/**
 * The Poly1305 tag (16 bytes) of a message under a key (32 bytes) that is used once.
 *
 * @param {Uint8Array} message
 * @param {Uint8Array} key
 * @returns {Bytes}
 */
function poly1305(message, key) {
  const r = numberOf(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    sum = ((sum + numberOf(concat(message.subarray(at, at + 16), [1]))) * r) % ((1n << 130n) - 5n);
  }
  sum += numberOf(key.subarray(16, 32));
  return Uint8Array.from({ length: 16 }, (_, at) => Number((sum >> BigInt(8 * at)) & 255n));
}

/**
 * @param {Uint8Array} bytes little-endian
 * @returns {bigint}
 */
function numberOf(bytes) {
  return bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

/**
 * @param {Uint8Array} bytes little-endian
 * @returns {number[]}
 */
function wordsOf(bytes) {
  return Array.from({ length: bytes.length >> 2 }, (_, at) =>
    [0, 1, 2, 3].reduce((word, byte) => word | (bytes[4 * at + byte] << (8 * byte)), 0),
  );
}

/**
 * @param {ArrayLike<number>} words
 * @returns {Bytes}
 */
function bytesOf(words) {
  return Uint8Array.from({ length: 4 * words.length }, (_, at) => words[at >> 2] >>> (8 * (at & 3)));
}

/**
 * @param {Uint8Array} left
 * @param {Uint8Array} right
 * @returns {Bytes}
 */
function xor(left, right) {
  return Uint8Array.from(left, (byte, at) => byte ^ right[at]);
}
