/**
 * The identifier of a token that the service issued: `1.<key id>.<audience>.<token id>.<n>`.
 *
 * Knows the grammar, and the time in a token id (a ULID). Knows no keys: an identifier is true only after its macaroon has
 * been authenticated.
 *
 * @module
 */

import { text, utf8 } from "../bytes.js";

const IDENTIFIER = /^1\.(k[1-9][0-9]{0,8})\.([a-z][a-z0-9-]{0,31})\.([0-7][0-9A-HJKMNP-TV-Z]{25})\.([1-9][0-9]?)$/;
const KEY_ID = /^k[1-9][0-9]{0,8}$/;
const AUDIENCE = /^[a-z][a-z0-9-]{0,31}$/;
const TOKEN_ID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // Crockford's, of five bits each
const LAST = 253402300799999; // the end of the year 9999

/**
 * Which key signed, for which audience, which token, and how many caveats the issuer added.
 *
 * @typedef {object} Identifier
 * @property {string} keyId
 * @property {string} audience
 * @property {string} tokenId
 * @property {number} issuerCaveats
 */

/**
 * The identifier in bytes; undefined for bytes in another grammar.
 *
 * @param {Uint8Array} bytes
 * @returns {Identifier | undefined}
 */
export function parseIdentifier(bytes) {
  const found = IDENTIFIER.exec(text(bytes) ?? "");
  return found ? { keyId: found[1], audience: found[2], tokenId: found[3], issuerCaveats: Number(found[4]) } : undefined;
}

/**
 * The bytes of an identifier: the inverse of `parseIdentifier`.
 *
 * @param {Identifier} identifier
 * @returns {import("../bytes.js").Bytes}
 */
export function encodeIdentifier({ keyId, audience, tokenId, issuerCaveats }) {
  return utf8(`1.${keyId}.${audience}.${tokenId}.${issuerCaveats}`);
}

/**
 * Whether something names a master key: `k1`, `k2`, ...
 *
 * @param {unknown} word
 * @returns {word is string}
 */
export function isKeyId(word) {
  return typeof word === "string" && KEY_ID.test(word);
}

/**
 * Whether something names an audience.
 *
 * @param {unknown} word
 * @returns {word is string}
 */
export function isAudience(word) {
  return typeof word === "string" && AUDIENCE.test(word);
}

/**
 * Whether something is a token id, or any other ULID in upper case.
 *
 * @param {unknown} word
 * @returns {word is string}
 */
export function isTokenId(word) {
  return typeof word === "string" && TOKEN_ID.test(word);
}

/**
 * When a token was first issued, by its id. Milliseconds since 1970, at most those of the end of the year 9999.
 *
 * @param {string} tokenId
 * @returns {number}
 */
export function issueTime(tokenId) {
  let time = 0;
  for (const digit of tokenId.slice(0, 10)) time = time * 32 + DIGITS.indexOf(digit);
  return Math.min(time, LAST);
}
