/** A verifier with an audience's keys: its verdicts are Python's, it shows no secret, and it remembers within bounds. */

import assert from "node:assert/strict";
import { inspect as show } from "node:util";
import { test } from "node:test";
import {
  AudienceKeyring,
  CaveatsError,
  Grant,
  MalformedCaveat,
  RevocationSet,
  UnsatisfiedCaveats,
  Verifier,
  standardCheckers,
} from "../src/verify/index.js";
import { attenuate, branchId, decode } from "../src/index.js";
import { encodeBase64, unhex, utf8 } from "../src/bytes.js";
import { run } from "../src/hmac.js";
import { hmac } from "../src/node.js";
import { append, macaroonOf, mint } from "../src/token/macaroon.js";
import { VerificationCache } from "../src/verify/cache.js";
import { KEYS, NOW, SECRET, TOKEN_ID, issue } from "./issued.js";
import { outcome, vectors } from "./support.js";

const FACTS = { now: NOW, scopes: ["photos/42:read"] };
const LATER = 4102444800;

const checkers = standardCheckers({
  kind: "photos/album",
  read(value) {
    if (!/^[0-9]{1,2}$/.test(value)) throw new MalformedCaveat("the number of an album");
    return value;
  },
  check: (number, { extra }) =>
    extra?.["photos/album"] === number || { reason: "the request is about another album", hint: `album ${number}` },
});

/**
 * @param {Verifier} verifier
 * @param {string} token
 * @param {any} facts
 */
async function verdict(verifier, token, facts) {
  try {
    const grant = await verifier.verify(token, facts);
    const { user, tokenId, audience, keyId, scopes, issuedAt, expiresAt, caveats } = grant;
    const until = expiresAt && `${expiresAt.toISOString().slice(0, 19)}Z`;
    const texts = caveats.map(({ text }) => text);
    return { user, tokenId, audience, keyId, scopes, issuedAt: issuedAt.getTime(), expiresAt: until, caveats: texts };
  } catch (error) {
    if (!(error instanceof CaveatsError)) throw error;
    return { code: error.code, message: error.message, failures: /** @type {any} */ (error.cause)?.failures ?? [] };
  }
}

for (const row of vectors("verifier.json").cases) {
  test(`verifier: ${row.id}`, async () => {
    for (const options of [{}, { hmac }, { hmac, cacheEntries: 0 }]) {
      const { location } = row;
      const verifier = new Verifier(row.keys, { checkers, location, revocations: new RevocationSet(row.revoked), ...options });
      const facts = { ...row.context, now: new Date(row.context.now) };
      for (const time of ["first", "again"]) {
        assert.deepEqual(await verdict(verifier, row.token, facts), row.verdict, time);
      }
    }
  });
}

test("a token is verified under the keys of a file, and a request that its caveats refuse is explained", async () => {
  const verifier = new Verifier(KEYS);
  const token = await attenuate(await issue(), { scope: "photos/42:read", method: "GET" });
  const grant = await verifier.verify(token, { ...FACTS, method: "GET" });
  assert.ok(grant instanceof Grant);
  assert.deepEqual([grant.user, grant.audience, grant.scopes], ["alice", "photos", ["photos/42:read"]]);
  assert.deepEqual(grant.addedBy, ["issuer", "issuer", "issuer", "holder", "holder"]);
  assert.deepEqual(await verifier.failures(token, { ...FACTS, method: "GET" }), []);
  const [failure] = await verifier.failures(token, { ...FACTS, method: "PUT" });
  assert.deepEqual([failure.index, failure.kind, failure.addedBy, failure.hint], [4, "method", "holder", "one of: GET"]);
  await assert.rejects(verifier.verify(token, FACTS), UnsatisfiedCaveats);
  await assert.rejects(verifier.failures("x"), { code: "malformed_token" });
  assert.equal(await outcome(() => verifier.verify(/** @type {any} */ (undefined))), "malformed_token");
  assert.equal(await outcome(() => verifier.verify(decode(token), { ...FACTS, method: "GET" })), null);
});

test("the time is now where none is given", async () => {
  const verifier = new Verifier(KEYS);
  assert.equal(await outcome(async () => verifier.verify(await issue(["expires = 2020-01-01T00:00:00Z"]))), "unsatisfied_caveats");
});

test("another audience's token, and another audience asked for, are the wrong audience", async () => {
  const verifier = new Verifier(KEYS);
  assert.equal(verifier.audience, "photos");
  const foreign = await issue([], { audience: "notes" });
  await assert.rejects(verifier.verify(foreign, FACTS), { code: "wrong_audience", cause: { audience: "notes", expected: "photos" } });
  await assert.rejects(verifier.verify(await issue(), { ...FACTS, audience: "notes" }), { code: "wrong_audience" });
});

test("no key, token or signature is in what is shown, logged or written as JSON", async () => {
  const verifier = new Verifier(KEYS, { hmac });
  const token = await issue();
  const grant = await verifier.verify(token, FACTS);
  const { keyring, revocations } = verifier;
  const error = await verifier.verify(token, { ...FACTS, scopes: ["x:y"] }).catch((/** @type {unknown} */ refused) => refused);
  for (const secret of [verifier, keyring, grant, revocations, error]) {
    for (const shown of [show(secret, { depth: 9, showHidden: true }), JSON.stringify(secret), String(secret)]) {
      assert.ok(!shown.includes(token), shown);
      assert.ok(!shown.includes(encodeBase64(SECRET)), shown);
      assert.ok(!/1,\s*2,\s*3,\s*4,\s*5|01 02 03 04/.test(shown), shown);
      assert.ok(!/signature/i.test(shown), shown);
    }
  }
  assert.equal(grant.caveats[0].predicate.buffer.byteLength, "user = alice".length);
});

test("what is no exported keyring is refused without a word of its keys", () => {
  const key = encodeBase64(SECRET);
  const zero = encodeBase64(new Uint8Array(32));
  for (const members of [
    null,
    {},
    [],
    "photos",
    { audience: "photos" },
    { audience: "Photos", keys: [] },
    { audience: 1, keys: [] },
    { audience: "photos", keys: {} },
    { audience: "photos", keys: [null] },
    { audience: "photos", keys: [{ id: "k1", key }] },
    { audience: "photos", keys: [{ id: "k1", key, state: "new" }] },
    { audience: "photos", keys: [{ id: "k0", key, state: "active" }] },
    { audience: "photos", keys: [{ id: "k1", key: `${key}=`, state: "active" }] },
    { audience: "photos", keys: [{ id: "k1", key: key.slice(1), state: "active" }] },
    { audience: "photos", keys: [{ id: "k1", key: zero, state: "active" }] },
    { audience: "photos", keys: [{ id: "k1", key, state: "active" }, { id: "k1", key, state: "published" }] },
  ]) {
    assert.throws(
      () => new Verifier(/** @type {any} */ (members)),
      (/** @type {any} */ error) => error.code === "invalid_key" && !show(error).includes(key),
    );
  }
});

test("a retired key verifies nothing", async () => {
  const retired = { ...KEYS, keys: [{ ...KEYS.keys[0], state: "retired" }] };
  const verifier = new Verifier(retired);
  assert.deepEqual(verifier.keyring.keyIds, []);
  await assert.rejects(verifier.verify(await issue(), FACTS), { code: "unknown_key", cause: { keyId: "k1" } });
});

test("other keys forget what was remembered, also while a token is being verified", async () => {
  const token = await issue();
  const other = new AudienceKeyring("photos", [["k1", Uint8Array.from(SECRET, (byte) => byte + 1)]]);
  const verifier = new Verifier(KEYS, { hmac });
  await verifier.verify(token, FACTS);
  verifier.keyring = other;
  assert.equal(await outcome(() => verifier.verify(token, FACTS)), "bad_signature");
  assert.throws(() => (verifier.keyring = new AudienceKeyring("notes", [])), { code: "invalid_key" });

  let asked = 0;
  const slow = new Verifier(KEYS, {
    async hmac(key, message) {
      if (++asked === 4) slow.keyring = other;
      return hmac(key, message);
    },
  });
  assert.equal(await outcome(() => slow.verify(token, FACTS)), "bad_signature");
});

test("what is revoked while a token is being verified is refused", async () => {
  const token = await issue();
  const branch = await branchId(token);
  for (const row of [
    [1, "t", LATER, TOKEN_ID],
    [1, "b", LATER, TOKEN_ID, branch],
    [1, "u", LATER, "alice", LATER * 1000],
  ]) {
    let asked = 0;
    const verifier = new Verifier(KEYS, {
      async hmac(key, message) {
        if (++asked === 4) verifier.revocations.add([/** @type {any} */ (row)]);
        return hmac(key, message);
      },
    });
    await assert.rejects(verifier.verify(token, FACTS), { code: "revoked" });
    await assert.rejects(verifier.verify(token, FACTS), { code: "revoked" });
    verifier.revocations = new RevocationSet();
    await verifier.verify(token, FACTS);
  }
});

test("a revocation of a remembered token, its branch or its user is seen at the next request", async () => {
  const whole = await issue();
  const copy = await attenuate(whole, { scope: "photos/42:read" });
  const verifier = new Verifier(KEYS, { hmac });
  for (const token of [whole, copy]) await verifier.verify(token, FACTS);
  verifier.revocations.add([[1, "b", LATER, TOKEN_ID, await branchId(copy)]]);
  await verifier.verify(whole, FACTS);
  await assert.rejects(verifier.verify(copy, FACTS), { message: "this copy of the token has been revoked" });
  await assert.rejects(verifier.verify(await attenuate(copy, { note: "x" }), FACTS), { code: "revoked" });
  verifier.revocations.add([[2, "u", LATER, "alice", 0]]);
  await verifier.verify(whole, FACTS);
  verifier.revocations.add([[3, "u", LATER, "alice", LATER * 1000]]);
  await assert.rejects(verifier.verify(whole, FACTS), { message: "the token has been revoked" });
});

test("a revocation is kept for the longest of its lives, and forgotten after it", () => {
  const branch = "ab".repeat(16);
  const set = new RevocationSet([
    [1, "t", 100, TOKEN_ID],
    [2, "t", 50, TOKEN_ID],
    [3, "b", 100, TOKEN_ID, branch],
    [4, "u", 100, "alice", LATER * 1000],
    [5, "u", 200, "alice", 5],
  ]);
  set.add([[1, "t", LATER, "01KAJQ3W00ABCDEFGHJKMNPQRT"]], 1);
  assert.deepEqual([set.size, set.changes], [3, 5]);
  set.prune(99_999);
  assert.ok(set.hitsToken(TOKEN_ID) && set.hitsBranch(TOKEN_ID, ["x", branch]) && set.hitsUser("alice", TOKEN_ID));
  set.prune(100_000);
  assert.ok(!set.hitsToken(TOKEN_ID) && !set.hasBranches(TOKEN_ID) && set.hitsUser("alice", TOKEN_ID));
  set.prune(200_000);
  assert.equal(set.size, 0);
});

test("a malformed row is refused, and not passed over", () => {
  for (const row of [
    null,
    "t",
    [],
    [1, "t", 1],
    [1, "t", 1, "x"],
    [1, "t", 1, TOKEN_ID, "more"],
    [1, "b", 1, TOKEN_ID],
    [1, "b", 1, TOKEN_ID, "AB".repeat(16)],
    [1, "b", 1, TOKEN_ID, 1],
    [1, "u", 1, "", 1],
    [1, "u", 1, "a = b", 1],
    [1, "u", 1, 1, 1],
    [1, "u", 1, "alice", -1],
    [1, "u", 1, "alice", 1.5],
    [1, "u", 1, "alice", 2 ** 53],
    [1, "x", 1, TOKEN_ID],
    [-1, "t", 1, TOKEN_ID],
    ["1", "t", 1, TOKEN_ID],
    [1, "t", 253402300800, TOKEN_ID],
    [1, "t", "1", TOKEN_ID],
  ]) {
    assert.throws(() => new RevocationSet([/** @type {any} */ (row)]), MalformedCaveat, JSON.stringify(row));
  }
});

test("what is remembered is bounded in entries and bytes, and what is in use stays", () => {
  /** @type {VerificationCache<{size: number}>} */
  const cache = new VerificationCache(4, 100);
  const entry = { size: 10 };
  for (const text of ["a", "b", "c"]) cache.add(text, entry, 0);
  assert.ok(cache.find("a")); // of the old generation: young again
  cache.add("d", entry, 0);
  assert.ok(!cache.find("b"));
  assert.ok(cache.find("a"));
  cache.add("large", { size: 51 }, 0);
  assert.ok(!cache.find("large"));
  cache.add("e", { size: 45 }, 0);
  assert.ok(cache.find("e"));
  cache.clear();
  cache.add("f", entry, 0);
  assert.ok(!cache.find("e") && !cache.find("f"));
  cache.add("f", entry, 1);
  assert.ok(cache.find("f"));
  const none = new VerificationCache(0, 100);
  none.add("a", entry, 0);
  assert.ok(!none.find("a"));
});

test("a macaroon that no issuer of ours signs is not authentic, whatever its key", async () => {
  const verifier = new Verifier(KEYS);
  const identifier = utf8(`1.k1.photos.${TOKEN_ID}.9`);
  const rootKey = hmac(SECRET, Uint8Array.from([...utf8("caveats/v1/root/"), ...identifier]));
  const limits = /** @type {any} */ ({ predicate: 1024, caveats: 64 });
  for (const first of ["note = x", "user = alice"]) {
    const macaroon = await run(append(await mint(rootKey, identifier), [utf8(first)], limits), hmac);
    assert.equal(await outcome(() => verifier.verify(macaroon, FACTS)), "bad_signature");
  }
  const foreign = macaroonOf("", utf8("id"), [], unhex("00".repeat(32)));
  await assert.rejects(verifier.verify(foreign, FACTS), (/** @type {any} */ { code, cause }) => code === "unknown_key" && !cause);
  assert.equal(await outcome(async () => verifier.verify(macaroonOf("https://x.example", identifier, [], unhex("00".repeat(32))))), "malformed_token");
});
