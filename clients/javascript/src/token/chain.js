/**
 * The chain of HMACs: derive, extend, bind, branch. Knows bytes, knows no caveat's meaning.
 *
 * The chain is the one of libmacaroons (Birgisson et al., "Macaroons", NDSS 2014): every step keys HMAC-SHA256 with the
 * signature before it. Each function yields the HMACs that it needs: see `hmac.js`.
 *
 * @module
 */

import { concat, utf8 } from "../bytes.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("./macaroon.js").ThirdPartyCaveat} ThirdPartyCaveat */
/**
 * @template T
 * @typedef {import("../hmac.js").Steps<T>} Steps
 */

/**
 * The key (32 bytes) that signs an identifier, from a root key of any length.
 *
 * @param {Bytes} rootKey
 * @returns {Steps<Bytes>}
 */
export function* derive(rootKey) {
  return yield [utf8("macaroons-key-generator"), rootKey];
}

/**
 * The signature (32 bytes) after one more link: an identifier, a predicate, or a third-party caveat.
 *
 * @param {Bytes} signature
 * @param {Bytes | ThirdPartyCaveat} link
 * @returns {Steps<Bytes>}
 */
export function* extend(signature, link) {
  if (link instanceof Uint8Array) return yield [signature, link];
  return yield [signature, concat(yield [signature, link.vid], yield [signature, link.ticket])];
}

/**
 * The signature of a macaroon after its identifier and after each caveat.
 *
 * @param {Bytes} derivedKey 32 bytes
 * @param {import("./macaroon.js").Macaroon} macaroon
 * @returns {Steps<Bytes[]>}
 */
export function* walk(derivedKey, macaroon) {
  const signatures = [yield [derivedKey, macaroon.identifier]];
  for (const caveat of macaroon.caveats) {
    const last = signatures[signatures.length - 1];
    // Most are predicates: without `extend` in between a verification takes a tenth less.
    signatures.push(caveat instanceof Uint8Array ? yield [last, caveat] : yield* extend(last, caveat));
  }
  return signatures;
}

/**
 * The signature (32 bytes) of a discharge that is bound to the macaroon with `rootSignature`.
 *
 * @param {Bytes} rootSignature
 * @param {Bytes} dischargeSignature
 * @returns {Steps<Bytes>}
 */
export function* bindSignature(rootSignature, dischargeSignature) {
  const zero = new Uint8Array(32);
  return yield [zero, concat(yield [zero, rootSignature], yield [zero, dischargeSignature])];
}

/**
 * The public name (16 bytes) of a branch. The signature, a live credential, cannot be computed from it.
 *
 * @param {Bytes} signature
 * @returns {Steps<Bytes>}
 */
export function* branchOf(signature) {
  return (yield [signature, utf8("caveats/v1/branch")]).slice(0, 16);
}
