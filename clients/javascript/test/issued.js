/**
 * Tokens as the service issues them, for one audience.
 *
 * @module
 */

import { encode } from "../src/index.js";
import { encodeBase64, utf8 } from "../src/bytes.js";
import { hmac } from "../src/node.js";
import { appendPredicates, mint } from "../src/token/macaroon.js";

export const SECRET = Uint8Array.from({ length: 32 }, (_, at) => at + 1);
export const KEYS = { audience: "photos", keys: [{ id: "k1", state: "active", key: encodeBase64(SECRET) }] };
export const TOKEN_ID = "01KAJQ3W00ABCDEFGHJKMNPQRS";
export const NOW = new Date("2026-11-21T12:00:00Z");

/**
 * A token as the service issues it.
 *
 * @param {string[]} [more] the issuer's further caveats
 * @param {{scope?: string, expires?: string, keyId?: string, audience?: string, secret?: Uint8Array<ArrayBuffer>}} [how]
 */
export async function issue(more = [], { keyId = "k1", audience = "photos", secret = SECRET, scope = "photos:*", expires = "2026-12-01T00:00:00Z" } = {}) {
  const caveats = ["user = alice", `expires = ${expires}`, `scope = ${scope}`, ...more].map(utf8);
  const identifier = utf8(`1.${keyId}.${audience}.${TOKEN_ID}.${caveats.length}`);
  const rootKey = hmac(secret, Uint8Array.from([...utf8("caveats/v1/root/"), ...identifier]));
  return encode(await appendPredicates(await mint(rootKey, identifier, { hmac }), caveats, { hmac }));
}
