/**
 * HMAC-SHA256 (RFC 2104), over WebCrypto or handed in; and how a computation that needs many of them is run.
 *
 * What signs and what verifies is written once, as generators: each yields a key and a message, and is given the HMAC.
 * `run` asks WebCrypto for it, or a function that was handed in, which may answer at once (`caveats/node`).
 * Knows no token.
 *
 * @module
 */

import { NoCrypto } from "./errors.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */

/**
 * The HMAC-SHA256 (32 bytes) of a message under a key, now or later.
 *
 * @typedef {(key: Bytes, message: Bytes) => Bytes | Promise<Bytes>} Hmac
 */

/**
 * A computation that yields a key and a message for each HMAC that it needs.
 *
 * @template T
 * @typedef {Generator<[Bytes, Bytes], T, Bytes>} Steps
 */

/**
 * HMAC-SHA256 over WebCrypto. Throws `NoCrypto` where there is none.
 *
 * @param {Bytes} key any length but 0
 * @param {Bytes} message
 * @returns {Promise<Bytes>} 32 bytes
 */
export async function webHmac(key, message) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) throw new NoCrypto("there is no WebCrypto here: a page must come over https or from localhost");
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, message));
}

/**
 * The result of a computation.
 *
 * @template T
 * @param {Steps<T>} steps
 * @param {Hmac} [hmac] over WebCrypto if left out
 * @returns {Promise<T>}
 */
export async function run(steps, hmac = webHmac) {
  let step = steps.next();
  while (!step.done) {
    const mac = hmac(...step.value);
    step = steps.next(mac instanceof Uint8Array ? mac : await mac);
  }
  return step.value;
}
