/**
 * Binding: a macaroon's discharges, tied to it for one journey. And the name of a branch. Knows the chain, judges nothing.
 *
 * @module
 */

import { hex } from "../bytes.js";
import { run } from "../hmac.js";
import { LIMITS } from "../limits.js";
import { bundleOf } from "../token/bundle.js";
import { bindSignature, branchOf } from "../token/chain.js";
import { macaroonOf } from "../token/macaroon.js";

/** @typedef {import("../hmac.js").Hmac} Hmac */
/** @typedef {import("../limits.js").Limits} Limits */
/** @typedef {import("../token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */

/**
 * A macaroon with its discharges, which this binds to it, as they are sent.
 *
 * Bind last, and keep the unbound ones: a narrower macaroon needs a new binding. Throws `LimitExceeded`; of texts also
 * `MalformedToken`.
 *
 * @param {string | Macaroon} macaroon
 * @param {readonly (string | Macaroon)[]} discharges unbound
 * @param {{hmac?: Hmac, limits?: Limits}} [options]
 * @returns {Promise<Bundle>}
 */
export async function bind(macaroon, discharges, { hmac, limits = LIMITS } = {}) {
  const root = bundleOf(macaroon, limits).macaroon;
  const unbound = discharges.map((discharge) => bundleOf(discharge, limits).macaroon);
  bundleOf({ macaroon: root, discharges: unbound }, limits);
  const bound = [];
  for (const { location, identifier, caveats, signature } of unbound) {
    const signed = await run(bindSignature(root.signature, signature), hmac);
    bound.push(macaroonOf(location, identifier, [...caveats], signed));
  }
  return { macaroon: root, discharges: bound };
}

/**
 * The branch id of a copy, in hexadecimal (16 bytes): it names this copy and all that is made of it, and is no secret.
 *
 * @param {string | Macaroon | Bundle} token
 * @param {{hmac?: Hmac}} [options]
 * @returns {Promise<string>}
 */
export async function branchId(token, { hmac } = {}) {
  return hex(await run(branchOf(bundleOf(token).macaroon.signature), hmac));
}
