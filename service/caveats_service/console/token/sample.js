// A token to look at, for whoever has none at hand: made here, under a key that nobody keeps, so that it is good for nothing.

import { utf8 } from "../client/bytes.js";
import { writeMoment } from "../client/kinds/values.js";
import { encode } from "../client/token/bundle.js";
import { appendPredicates, mint } from "../client/token/macaroon.js";

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // Crockford's, of five bits each
const HOUR = 3_600_000;

/** The sample's text: issued two hours ago, then narrowed three times, the last time to no effect. @param {Date} now */
export async function sample(now) {
  const issued = now.getTime() - 2 * HOUR;
  const predicates = [
    "user = alice", `expires = ${writeMoment(issued + 8 * HOUR)}`, "scope = photos:read photos/42:*",
    "scope = photos/42:read", "client-ip = 10.0.0.0/8", "note = for the printer", "scope = photos:read",
  ];
  const macaroon = await mint(crypto.getRandomValues(new Uint8Array(32)), `1.k1.photos.${tokenId(issued)}.3`);
  return encode(await appendPredicates(macaroon, predicates.map(utf8)));
}

/** A token id of this time. @param {number} time milliseconds since 1970 */
function tokenId(time) {
  let id = "";
  for (let rest = time; id.length < 10; rest = Math.floor(rest / 32)) id = DIGITS[rest % 32] + id;
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) id += DIGITS[byte % 32];
  return id;
}
