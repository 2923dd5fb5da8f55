/**
 * A macaroon with its discharges as they travel: texts joined by `.`, the macaroon first. Knows text, judges nothing.
 *
 * @module
 */

import { MalformedToken } from "../errors.js";
import { LIMITS, atMost } from "../limits.js";
import { decodeText, encodeText } from "./wire.js";

/** @typedef {import("../limits.js").Limits} Limits */
/** @typedef {import("./macaroon.js").Bundle} Bundle */
/** @typedef {import("./macaroon.js").Macaroon} Macaroon */

/**
 * The macaroon in a text that has no discharges. Throws `MalformedToken` (`DamagedToken`), `LimitExceeded`.
 *
 * @param {string} text `cav1_...`, or base64url of the version 2 binary
 * @param {{limits?: Limits}} [options]
 * @returns {Macaroon}
 */
export function decode(text, { limits = LIMITS } = {}) {
  return decodeText(text, limits);
}

/**
 * The macaroon and its discharges in a text. Throws `MalformedToken` (`DamagedToken`), `LimitExceeded`.
 *
 * @param {string} text tokens joined by `.`, the macaroon first
 * @param {{limits?: Limits, decode?: (text: string, options: {limits: Limits}) => Macaroon}} [options]
 *   `decode`: what reads each token; `decodeAny` reads the classic encodings as well
 * @returns {Bundle}
 */
export function decodeBundle(text, { limits = LIMITS, decode: read = decode } = {}) {
  if (typeof text !== "string") throw new MalformedToken("a token is text");
  atMost("bundleText", text.length, limits);
  const parts = text.startsWith("{") ? [text] : text.split("."); // in JSON a dot separates nothing
  atMost("discharges", parts.length - 1, limits);
  const [macaroon, ...discharges] = parts.map((part) => read(part, { limits }));
  return { macaroon, discharges };
}

/**
 * The text of a macaroon, or of a bundle.
 *
 * @param {Macaroon | Bundle} token
 * @returns {string}
 */
export function encode(token) {
  const { macaroon, discharges } = bundleOf(token);
  return [macaroon, ...discharges].map(encodeText).join(".");
}

/**
 * A token as a bundle, from a text, a macaroon or a bundle. Throws as `decodeBundle`, also for what is none of them.
 *
 * @param {string | Macaroon | Bundle} token
 * @param {Limits} [limits]
 * @returns {Bundle}
 */
export function bundleOf(token, limits = LIMITS) {
  if (typeof token === "string") return decodeBundle(token, { limits });
  if (typeof token !== "object" || !token) throw new MalformedToken("a token is a text, a macaroon or a bundle");
  if ("macaroon" in token) {
    atMost("discharges", token.discharges.length, limits);
    return token;
  }
  return { macaroon: token, discharges: [] };
}
