/**
 * A third-party caveat, appended: its key sealed under the signature so far. Knows the chain, makes no ticket.
 *
 * @module
 */

import { concat } from "../bytes.js";
import { MalformedToken } from "../errors.js";
import { run } from "../hmac.js";
import { LIMITS, atMost } from "../limits.js";
import { derive } from "../token/chain.js";
import { append, checkRootKey } from "../token/macaroon.js";
import { sealSecretbox } from "./secretbox.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */

/**
 * A macaroon with a third-party caveat of this key and ticket (libmacaroons). It verifies only with a discharge.
 *
 * Throws `InvalidKey`, `MalformedToken`, `LimitExceeded`.
 *
 * @param {Macaroon} macaroon
 * @param {{location: string, key: Bytes, ticket: Bytes, nonce?: Bytes}} party `key`: the root key of the discharge;
 *   `nonce`: 24 bytes, never used twice with one macaroon, random if left out
 * @param {{hmac?: import("../hmac.js").Hmac, limits?: import("../limits.js").Limits}} [options]
 * @returns {Promise<Macaroon>}
 */
export async function requireDischarge(macaroon, { location, key, ticket, nonce }, { hmac, limits = LIMITS } = {}) {
  if (/\p{Cs}/u.test(location)) throw new MalformedToken("a location must be text that UTF-8 can encode");
  atMost("ticket", ticket.length, limits);
  const own = nonce ?? crypto.getRandomValues(new Uint8Array(24));
  checkRootKey(key);
  return run(
    (function* () {
      const vid = concat(own, sealSecretbox(yield* derive(key), own, macaroon.signature));
      return yield* append(macaroon, [{ location, vid, ticket }], limits);
    })(),
    hmac,
  );
}
