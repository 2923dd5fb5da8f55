/**
 * Authentication: is the whole HMAC tree good? Knows keys and bytes, judges no caveat.
 *
 * Everything is checked before anything is believed: the macaroon's chain, then each discharge that its third-party caveats
 * ask for, each used exactly once.
 *
 * @module
 */

import { encodeBase64, same } from "./bytes.js";
import { BadSignature, BindingMismatch, LimitExceeded, MissingDischarge, UnusedDischarge } from "./errors.js";
import { run } from "./hmac.js";
import { parsePredicate, quoted } from "./kinds/base.js";
import { STANDARD } from "./kinds/standard.js";
import { LIMITS } from "./limits.js";
import { openSecretbox } from "./third_party/secretbox.js";
import { bundleOf } from "./token/bundle.js";
import { bindSignature, derive, walk } from "./token/chain.js";
import { parseIdentifier } from "./token/identifier.js";
import { checkRootKey } from "./token/macaroon.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./kinds/base.js").Caveat} Caveat */
/** @typedef {import("./kinds/base.js").Kind} Kind */
/** @typedef {import("./limits.js").Limits} Limits */
/** @typedef {import("./token/macaroon.js").Bundle} Bundle */
/** @typedef {import("./token/macaroon.js").Macaroon} Macaroon */
/**
 * @template T
 * @typedef {import("./hmac.js").Steps<T>} Steps
 */

/**
 * A macaroon, authentic to the last byte, with its authentic discharges. Only this can be judged.
 *
 * @typedef {object} Authenticated
 * @property {Macaroon} macaroon
 * @property {import("./token/identifier.js").Identifier | undefined} identifier undefined for one of another grammar
 * @property {Caveat[]} caveats the first-party caveats: the macaroon's in chain order, then its discharges'
 * @property {("issuer" | "holder" | "discharger")[]} addedBy who added each of them
 * @property {Macaroon[]} discharges in the order in which the caveats ask for them
 * @property {Bytes[]} signatures of the chain, live credentials, not enumerable: never log, return or store them
 */

/**
 * The authentic token under a root key, of any issuer's making.
 *
 * Knows no other key and no revocation: a `parent` among the caveats names a token that this one was issued against, and
 * whether that one is alive is for the caller to ask. Throws `InvalidKey`, `LimitExceeded`, `BadSignature`,
 * `MissingDischarge`, `UnusedDischarge`; for a text also `MalformedToken`.
 *
 * @param {string | Macaroon | Bundle} token
 * @param {Bytes} rootKey any length, not empty and not all zero
 * @param {{kinds?: Readonly<Record<string, Kind>>, hmac?: import("./hmac.js").Hmac, limits?: Limits}} [options]
 *   `kinds`: how predicates are read, the standard kinds if left out
 * @returns {Promise<Authenticated>}
 */
export async function authenticate(token, rootKey, { kinds = STANDARD, hmac, limits = LIMITS } = {}) {
  const bundle = bundleOf(token, limits);
  checkRootKey(rootKey);
  return run(
    (function* () {
      return yield* authentic(bundle, yield* derive(rootKey), kinds, limits);
    })(),
    hmac,
  );
}

/**
 * As `authenticate`, with the derived key (32 bytes) of the root key.
 *
 * @param {Bundle} bundle
 * @param {Bytes} derivedKey
 * @param {Readonly<Record<string, Kind>>} kinds
 * @param {Limits} limits
 * @returns {Steps<Authenticated>}
 */
export function* authentic({ macaroon, discharges }, derivedKey, kinds, limits) {
  const signatures = yield* walk(derivedKey, macaroon);
  if (!same(signatures[signatures.length - 1], macaroon.signature)) throw new BadSignature("the token is not authentic");
  const sealed = discharges.length || !macaroon.caveats.every((caveat) => caveat instanceof Uint8Array);
  const found = sealed ? yield* discharged(discharges, macaroon, signatures, limits) : [];
  const identifier = parseIdentifier(macaroon.identifier);
  const issued = identifier?.issuerCaveats ?? 0;
  /** @type {Caveat[]} */
  const caveats = [];
  /** @type {Authenticated["addedBy"]} */
  const addedBy = [];
  [macaroon, ...found].forEach((one, number) =>
    one.caveats.forEach((caveat, place) => {
      if (!(caveat instanceof Uint8Array)) return;
      caveats.push(parsePredicate(caveat, kinds));
      addedBy.push(number ? "discharger" : place < issued ? "issuer" : "holder");
    }),
  );
  const parts = { macaroon, identifier, caveats, addedBy, discharges: found };
  return Object.defineProperty(/** @type {Authenticated} */ (parts), "signatures", { value: signatures });
}

/**
 * Every discharge, authenticated, in the order in which the caveats ask for them.
 *
 * @param {readonly Macaroon[]} discharges
 * @param {Macaroon} root
 * @param {Bytes[]} rootSignatures
 * @param {Limits} limits
 * @returns {Steps<Macaroon[]>}
 */
function* discharged(discharges, root, rootSignatures, limits) {
  const unused = new Map(discharges.map((discharge) => [encodeBase64(discharge.identifier), discharge]));
  if (unused.size !== discharges.length) throw new UnusedDischarge("two discharges answer the same ticket");
  const used = new Set();
  /** @type {Macaroon[]} */
  const found = [];

  /**
   * @param {Macaroon} macaroon
   * @param {Bytes[]} signatures
   * @param {number} depth
   * @returns {Steps<void>}
   */
  function* collect(macaroon, signatures, depth) {
    for (const [place, caveat] of macaroon.caveats.entries()) {
      if (caveat instanceof Uint8Array) continue;
      if (depth >= limits.depth) throw new LimitExceeded(`discharges nest at most ${limits.depth} deep`);
      const ticket = encodeBase64(caveat.ticket);
      const discharge = unused.get(ticket);
      if (!discharge) {
        if (used.has(ticket)) throw new UnusedDischarge("two caveats ask for the same discharge");
        const { location } = caveat;
        throw new MissingDischarge(`a third-party caveat for ${quoted(location)} has no discharge`, { location, ticket: caveat.ticket });
      }
      unused.delete(ticket);
      used.add(ticket);
      const key = openSecretbox(caveat.vid.subarray(24), caveat.vid.subarray(0, 24), signatures[place]);
      if (!key) throw new BadSignature("a third-party caveat's key does not open under this chain");
      const own = yield* walk(key, discharge);
      yield* checkBinding(rootSignatures, own[own.length - 1], discharge.signature);
      found.push(discharge);
      yield* collect(discharge, own, depth + 1);
    }
  }

  yield* collect(root, rootSignatures, 0);
  if (unused.size) throw new UnusedDischarge("a discharge that no caveat asks for");
  return found;
}

/**
 * Throws why a discharge does not fit: told apart only for discharges that are otherwise authentic.
 *
 * @param {Bytes[]} rootSignatures
 * @param {Bytes} signature
 * @param {Bytes} presented
 * @returns {Steps<void>}
 */
function* checkBinding(rootSignatures, signature, presented) {
  const [last, ...earlier] = rootSignatures.toReversed();
  if (same(yield* bindSignature(last, signature), presented)) return;
  if (same(signature, presented)) throw new BindingMismatch("a discharge is not bound to the token");
  for (const before of earlier) {
    if (same(yield* bindSignature(before, signature), presented)) {
      throw new BindingMismatch("a discharge was bound before the token was narrowed: bind the original again");
    }
  }
  throw new BadSignature("a discharge is not authentic, or bound to another token");
}
