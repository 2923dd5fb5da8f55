/**
 * HMAC-SHA256 of Node's own, which answers at once: a tenth of the time of WebCrypto. Hand it in as `hmac`.
 *
 * The one file that needs Node (Deno and Bun have `node:crypto` too).
 *
 * @module
 */

import * as crypto from "node:crypto";

/** @typedef {import("./bytes.js").Bytes} Bytes */

const BLOCK = 64;
const LONGEST = 4096;
/** What is hashed, inside and outside. Written anew for each HMAC, none of which waits for anything in between. */
const inner = new Uint8Array(BLOCK + LONGEST);
const outer = new Uint8Array(BLOCK + 32);

/**
 * HMAC-SHA256 (RFC 2104) of a message.
 *
 * Spelled out over `crypto.hash`, which Node has since 20.12: that takes half the time of `createHmac`, which makes an object
 * for each. A string of Latin-1 ("binary") is how it gives a digest without making a buffer.
 *
 * @param {Bytes} key
 * @param {Bytes} message
 * @returns {Bytes} 32 bytes
 */
export function hmac(key, message) {
  if (key.length > BLOCK || message.length > LONGEST || !("hash" in crypto)) {
    return new Uint8Array(crypto.createHmac("sha256", key).update(message).digest());
  }
  inner.fill(0x36, 0, BLOCK);
  outer.fill(0x5c, 0, BLOCK);
  for (let at = 0; at < key.length; at++) {
    inner[at] ^= key[at];
    outer[at] ^= key[at];
  }
  inner.set(message, BLOCK);
  write(crypto.hash("sha256", inner.subarray(0, BLOCK + message.length), "binary"), outer, BLOCK);
  const mac = new Uint8Array(32);
  write(crypto.hash("sha256", outer, "binary"), mac, 0);
  return mac;
}

/**
 * @param {string} digest in Latin-1
 * @param {Bytes} into
 * @param {number} from
 */
function write(digest, into, from) {
  for (let at = 0; at < digest.length; at++) into[from + at] = digest.charCodeAt(at);
}
