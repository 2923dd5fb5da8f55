/**
 * A bakery's tickets of version 2, and their third party: to make and to open them. Knows X25519 of Node and NaCl's box.
 *
 * @module
 */

import { concat, encodeBase64, text, utf8 } from "../../src/bytes.js";
import { attenuate, mint } from "../../src/index.js";
import { hsalsa20, openSecretbox, sealSecretbox } from "../../src/third_party/secretbox.js";

/** @typedef {import("../../src/bytes.js").Bytes} Bytes */

const CURVE = { name: "X25519" };
const { subtle } = globalThis.crypto;

/** A key pair: the public key as bytes as well. */
export async function newKey() {
  const pair = /** @type {CryptoKeyPair} */ (await subtle.generateKey(CURVE, true, ["deriveBits"]));
  const publicKey = new Uint8Array(await subtle.exportKey("raw", pair.publicKey));
  const { d: secret = "" } = await subtle.exportKey("jwk", pair.privateKey);
  return { ...pair, publicKey, secret };
}

/** @typedef {Awaited<ReturnType<typeof newKey>>} Key */

/**
 * @param {CryptoKey} privateKey
 * @param {Uint8Array} theirs
 * @returns {Promise<Bytes>}
 */
async function boxKey(privateKey, theirs) {
  const point = await subtle.importKey("raw", Uint8Array.from(theirs), CURVE, false, []);
  const shared = await subtle.deriveBits({ ...CURVE, public: point }, privateKey, 256);
  return hsalsa20(new Uint8Array(shared), new Uint8Array(16));
}

/**
 * A ticket for a third party, and the root key of its discharge.
 *
 * @param {Uint8Array} publicKey
 * @param {string} condition
 * @param {number} [version]
 * @returns {Promise<{ticket: Bytes, key: Bytes}>}
 */
export async function ticketFor(publicKey, condition, version = 2) {
  const own = await newKey();
  const key = crypto.getRandomValues(new Uint8Array(24));
  const nonce = crypto.getRandomValues(new Uint8Array(24));
  const plain = concat([version, key.length], key, version === 3 ? [4] : [], utf8(version === 3 ? "std:" : ""), utf8(condition));
  const box = sealSecretbox(plain, nonce, await boxKey(own.privateKey, publicKey));
  return { ticket: concat([version], publicKey.subarray(0, 4), own.publicKey, nonce, box), key };
}

/**
 * The discharge of a ticket of version 2, with these predicates.
 *
 * @param {Bytes} ticket
 * @param {Key} own the third party's
 * @param {string[]} [predicates]
 */
export async function dischargeOf(ticket, own, predicates = []) {
  const key = await boxKey(own.privateKey, ticket.subarray(5, 37));
  const plain = openSecretbox(ticket.subarray(61), ticket.subarray(37, 61), key);
  if (!plain) throw new Error("not a ticket for this third party");
  const condition = text(plain.subarray(2 + plain[1]));
  const macaroon = await mint(plain.slice(2, 2 + plain[1]), ticket);
  return { condition, macaroon: predicates.length ? await attenuate(macaroon, { caveats: predicates.map(utf8) }) : macaroon };
}

/**
 * A macaroon in v2 JSON.
 *
 * @param {import("../../src/index.js").Macaroon} macaroon
 */
export function toJson({ identifier, caveats, signature, location }) {
  return {
    i64: encodeBase64(identifier),
    s64: encodeBase64(signature),
    ...(location ? { l: location } : {}),
    c: caveats.map((caveat) =>
      caveat instanceof Uint8Array
        ? { i64: encodeBase64(caveat) }
        : { i64: encodeBase64(caveat.ticket), v64: encodeBase64(caveat.vid), l: caveat.location },
    ),
  };
}
