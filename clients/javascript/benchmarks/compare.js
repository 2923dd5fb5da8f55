/**
 * One run, on this machine, in this Node: how long it takes to decode and narrow a token, and to verify one, beside the npm
 * packages `macaroon`, `macaroons.js` and, to verify, `jose` with HS256. `node benchmarks/compare.js`.
 *
 * Every package gets the text of the same macaroon in the encoding that it reads, and has to end in the text of the narrower
 * one. A verification begins with the text and includes the judging of all caveats. The rounds take turns, so that a busy
 * machine slows all of them; the best round counts.
 */

import { SignJWT, jwtVerify } from "jose";
// @ts-expect-error: it has no types
import macaroon from "macaroon";
// @ts-expect-error: its types are not for modules
import macaroonsJs from "macaroons.js";
import { attenuate, authenticate, encode, encodeBytes, mint, unsatisfied } from "../src/index.js";
import { utf8 } from "../src/bytes.js";
import { webHmac } from "../src/hmac.js";
import { hmac } from "../src/node.js";
import { standardCheckers } from "../src/kinds/checkers.js";
import { AudienceKeyring, Verifier } from "../src/verify/index.js";

const ROUNDS = 150;
const ROUND = 3; // milliseconds: short, so that some rounds are not interrupted
const KEY = new Uint8Array(32).fill(7);
const IDENTIFIER = "1.k1.photos.01KB5R7M00ABCDEFGHJKMNPQRS.3";
const NOW = new Date("2026-11-30T12:00:00Z");
const CONTEXT = { now: NOW, scopes: ["photos/42:read"], method: "GET", path: "/albums/42", clientIp: "10.1.2.3" };
const FIRST = ["user = alice", "expires = 2026-12-01T00:00:00Z", "scope = photos:*"];
const NARROWER = "scope = photos/42:read";

const minted = await mint(KEY, IDENTIFIER, { hmac });
const text = await attenuate(encode(minted), { caveats: FIRST.map(utf8) }, { hmac });
const narrow = await attenuate(text, { caveats: [NARROWER] }, { hmac });
const v2 = Buffer.from(encodeBytes(await attenuate(minted, { caveats: FIRST.map(utf8) }, { hmac }))).toString("base64url");
const v2Narrow = Buffer.from(encodeBytes(await attenuate(minted, { caveats: [...FIRST, NARROWER].map(utf8) }, { hmac }))).toString("base64url");
const { MacaroonsBuilder, MacaroonsVerifier } = macaroonsJs;
const secret = Buffer.from(KEY);
let building = new MacaroonsBuilder("", secret, IDENTIFIER);
for (const caveat of FIRST) building = building.add_first_party_caveat(caveat);
const v1 = building.getMacaroon().serialize();
const v1Narrow = MacaroonsBuilder.modify(building.getMacaroon()).add_first_party_caveat(NARROWER).getMacaroon().serialize();
const jwt = await new SignJWT({ scope: "photos:*" })
  .setProtectedHeader({ alg: "HS256" })
  .setSubject("alice")
  .setAudience("photos")
  .setExpirationTime(NOW.getTime() / 1000 + 43200)
  .sign(KEY);
const checkers = standardCheckers();
const rootKey = hmac(KEY, utf8(`caveats/v1/root/${IDENTIFIER}`));
const issued = await attenuate(encode(await mint(rootKey, IDENTIFIER, { hmac })), { caveats: [...FIRST, NARROWER].map(utf8) }, { hmac });
const keyring = new AudienceKeyring("photos", [["k1", KEY]]);
const forgetful = new Verifier(keyring, { hmac, cacheEntries: 0 });
const remembering = new Verifier(keyring, { hmac });

/** @type {Record<string, Record<string, () => unknown>>} */
const TASKS = {
  "decode and narrow": {
    "caveats, HMAC of Node": () => attenuate(text, { scope: "photos/42:read" }, { hmac }),
    "caveats, WebCrypto": () => attenuate(text, { scope: "photos/42:read" }, { hmac: webHmac }),
    macaroon: () => {
      const read = macaroon.importMacaroon(macaroon.base64ToBytes(v2));
      read.addFirstPartyCaveat(NARROWER);
      return JSON.stringify(read.exportJSON()); // its binary takes gigabytes for more than 200 bytes, in version 3.0.4
    },
    "macaroons.js": () =>
      MacaroonsBuilder.modify(MacaroonsBuilder.deserialize(v1)).add_first_party_caveat(NARROWER).getMacaroon().serialize(),
  },
  verify: {
    "caveats, HMAC of Node": async () => {
      const { caveats, addedBy } = await authenticate(narrow, KEY, { hmac });
      if (unsatisfied(caveats, CONTEXT, { checkers, addedBy }).length) throw new Error("refused");
    },
    "caveats, WebCrypto": async () => {
      const { caveats, addedBy } = await authenticate(narrow, KEY, { hmac: webHmac });
      if (unsatisfied(caveats, CONTEXT, { checkers, addedBy }).length) throw new Error("refused");
    },
    "Verifier, a token not seen": () => forgetful.verify(issued, CONTEXT),
    "Verifier, one seen before": () => remembering.verify(issued, CONTEXT),
    macaroon: () => macaroon.importMacaroon(macaroon.base64ToBytes(v2Narrow)).verify(KEY, () => null, []),
    "macaroons.js": () => {
      const verifier = new MacaroonsVerifier(MacaroonsBuilder.deserialize(v1Narrow));
      if (!verifier.satisfyGeneral(() => true).isValid(secret)) throw new Error("refused");
    },
    "jose, HS256": () => jwtVerify(jwt, KEY, { audience: "photos", currentDate: NOW }),
  },
};

/**
 * Microseconds for one call, in a round.
 *
 * @param {() => unknown} task
 * @returns {Promise<number>}
 */
async function timed(task) {
  const started = performance.now();
  let calls = 0;
  let passed = 0;
  do {
    for (let batch = 0; batch < 10; batch++) await task();
    calls += 10;
    passed = performance.now() - started;
  } while (passed < ROUND);
  return (passed * 1000) / calls;
}

for (const [name, contenders] of Object.entries(TASKS)) {
  const best = new Map(Object.keys(contenders).map((who) => [who, Infinity]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [who, task] of Object.entries(contenders)) best.set(who, Math.min(best.get(who) ?? Infinity, await timed(task)));
  }
  const [own] = best.values();
  console.log(`\n${name}\n`);
  for (const [who, time] of best) {
    console.log(`  ${who.padEnd(28)}${time.toFixed(1).padStart(9)} us${(time / own).toFixed(2).padStart(9)} x`);
  }
}
