/**
 * The branches of a renewed token, as the service first issued it. Knows the layout of issued tokens, judges nothing.
 *
 * A renewal keeps key, token id and every caveat but the issuer's expiry; the issuer adds `renewed`, which says when the
 * first one would have expired. With that and the key the first chain is computed again, so that a copy, revoked, takes
 * with it whatever it was renewed into.
 *
 * @module
 */

import { concat, hex } from "../bytes.js";
import { parsePredicate, predicateOf } from "../kinds/base.js";
import { STANDARD } from "../kinds/standard.js";
import { openSecretbox, sealSecretbox } from "../third_party/secretbox.js";
import { branchOf, extend } from "../token/chain.js";
import { encodeIdentifier } from "../token/identifier.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/**
 * @template T
 * @typedef {import("../hmac.js").Steps<T>} Steps
 */

/**
 * The branch ids of an authentic token, in hexadecimal: of its own chain, and of the chain as first issued.
 *
 * @param {import("../authenticate.js").Authenticated} token
 * @param {(identifier: Bytes) => Steps<Bytes>} derivedKey of another identifier of the same token
 * @returns {Steps<string[]>}
 */
export function* branchesOf(token, derivedKey) {
  const ids = [];
  for (const signature of [...token.signatures, ...(yield* firstChain(token, derivedKey))]) {
    ids.push(hex(yield* branchOf(signature)));
  }
  return ids;
}

/**
 * The signatures of the chain as first issued; none for a token that is no renewal.
 *
 * @param {import("../authenticate.js").Authenticated} token
 * @param {(identifier: Bytes) => Steps<Bytes>} derivedKey
 * @returns {Steps<Bytes[]>}
 */
function* firstChain({ macaroon, identifier, signatures }, derivedKey) {
  if (!identifier) return [];
  const count = identifier.issuerCaveats;
  const issued = macaroon.caveats.slice(0, count);
  const last = issued[count - 1];
  const renewed = last instanceof Uint8Array ? parsePredicate(last, STANDARD) : null;
  if (count < 2 || renewed?.kind !== "renewed" || !issued.every((caveat) => caveat instanceof Uint8Array)) return [];
  const first = encodeIdentifier({ ...identifier, issuerCaveats: count - 1 });
  const links = [first, issued[0], predicateOf("expires", renewed.value), ...issued.slice(2, -1)];
  let signature = yield* derivedKey(first);
  const chain = [];
  for (const link of links) chain.push((signature = yield* extend(signature, link)));
  for (const [at, caveat] of macaroon.caveats.slice(count).entries()) {
    let link = caveat;
    if (!(caveat instanceof Uint8Array)) {
      // Its key is sealed under the signature before it, and there is another one here.
      const nonce = caveat.vid.subarray(0, 24);
      const key = openSecretbox(caveat.vid.subarray(24), nonce, signatures[count + at]);
      link = { ...caveat, vid: concat(nonce, sealSecretbox(/** @type {Bytes} */ (key), nonce, signature)) };
    }
    chain.push((signature = yield* extend(signature, link)));
  }
  return chain;
}
