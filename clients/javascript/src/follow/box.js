/**
 * NaCl's box (`crypto_box`), to open: X25519 of WebCrypto (RFC 7748), and the secretbox of third-party caveats. Knows bytes,
 * knows no key bundle.
 *
 * @module
 */

import { concat, unhex } from "../bytes.js";
import { InvalidKey, NoCrypto } from "../errors.js";
import { hsalsa20, openSecretbox } from "../third_party/secretbox.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */

const X25519 = { name: "X25519" };
/** What stands before the 32 bytes of a private key in PKCS #8 (RFC 8410, section 7). */
const PKCS8 = unhex("302e020100300506032b656e04220420");

/**
 * An X25519 private key that opens boxes and that nobody can read again. Throws `InvalidKey`, and `NoCrypto` where
 * WebCrypto has no X25519.
 *
 * @param {Bytes} secret 32 bytes, not all zero
 * @returns {Promise<CryptoKey>}
 */
export async function privateKeyOf(secret) {
  if (secret.length !== 32 || !secret.some(Boolean)) throw new InvalidKey("an X25519 private key is 32 bytes, not all zero");
  try {
    return await crypto.subtle.importKey("pkcs8", concat(PKCS8, secret), X25519, false, ["deriveBits"]);
  } catch {
    throw new NoCrypto("the WebCrypto here has no X25519, which opens key bundles");
  }
}

/**
 * The content of a box that `publicKey` sealed for `privateKey`; undefined if it did not, or is a point of low order.
 *
 * @param {Bytes} box
 * @param {Bytes} nonce 24 bytes
 * @param {Bytes} publicKey 32 bytes, the sender's
 * @param {CryptoKey} privateKey
 * @returns {Promise<Bytes | undefined>}
 */
export async function openBox(box, nonce, publicKey, privateKey) {
  let shared;
  try {
    const key = await crypto.subtle.importKey("raw", publicKey, X25519, false, []);
    shared = new Uint8Array(await crypto.subtle.deriveBits({ ...X25519, public: key }, privateKey, 256));
  } catch {
    return undefined; // a secret that everybody has
  }
  if (!shared.some(Boolean)) return undefined;
  return openSecretbox(box, nonce, hsalsa20(shared, new Uint8Array(16)));
}
