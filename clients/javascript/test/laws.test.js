/** Laws of tokens, asked of random ones: fast-check. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { CaveatsError, authenticate, decode, decodeAny, encode, inspect, mint, standardCheckers, unsatisfied } from "../src/index.js";
import { decodeBase64, encodeBase64, utf8 } from "../src/bytes.js";
import { webHmac } from "../src/hmac.js";
import { hmac } from "../src/node.js";
import { appendPredicates } from "../src/token/macaroon.js";
import { openSecretbox, sealSecretbox } from "../src/third_party/secretbox.js";

const KEY = utf8("a root key");
const IDENTIFIER = "1.k1.photos.01KB5R7M00ABCDEFGHJKMNPQRS.1";
const CHECKERS = standardCheckers({
  kind: "photos/album",
  read: (value) => value,
  check: (number, { extra }) => extra?.["photos/album"] === number || { reason: "another album", hint: "this one" },
});

/** @param {number} [most] */
const bytes = (most = 60) => fc.uint8Array({ maxLength: most }).map((one) => Uint8Array.from(one));
const scope = fc
  .tuple(fc.constantFrom("photos", "photos/42", "notes"), fc.constantFrom("", "/*"), fc.constantFrom("read", "write", "*"))
  .map(([resource, below, action]) => `${resource}${below}:${action}`);
/** @param {fc.Arbitrary<string>} word */
const words = (word) => fc.uniqueArray(word, { minLength: 1, maxLength: 3 }).map((all) => all.join(" "));
const moment = fc
  .date({ min: new Date("2026-01-01T00:00:00Z"), max: new Date("2027-01-01T00:00:00Z"), noInvalidDate: true })
  .map((date) => `${date.toISOString().slice(0, 19)}Z`);
const predicate = fc.oneof(
  fc.oneof(words(scope), fc.constant("*")).map((value) => `scope = ${value}`),
  fc.tuple(fc.constantFrom("expires", "not-before", "renewed"), moment).map(([kind, at]) => `${kind} = ${at}`),
  fc.constantFrom("alice", "bob").map((name) => `user = ${name}`),
  words(fc.constantFrom("photos", "notes")).map((value) => `audience = ${value}`),
  words(fc.constantFrom("GET", "HEAD", "PUT")).map((value) => `method = ${value}`),
  words(fc.constantFrom("/a", "/a/*", "/a/b", "/*", "/K%C3%A4se")).map((value) => `path = ${value}`),
  words(fc.constantFrom("photos.example", "a.example")).map((value) => `host = ${value}`),
  words(fc.constantFrom("10.0.0.0/8", "10.1.0.0/16", "::1", "2001:db8::/32")).map((value) => `client-ip = ${value}`),
  fc.constantFrom("note = x", "photos/album = 42", "photos/album = 43", "vendor/other = 1", "nonsense"),
);
const context = fc.record(
  {
    now: fc.date({ min: new Date("2026-01-01T00:00:00Z"), max: new Date("2027-01-01T00:00:00Z"), noInvalidDate: true }),
    audience: fc.constantFrom("photos", "notes"),
    scopes: fc.array(scope, { maxLength: 2 }),
    method: fc.constantFrom("GET", "HEAD", "PUT", "get"),
    path: fc.constantFrom("/a", "/a/b", "/a/../b", "/K%C3%A4se", "/"),
    host: fc.constantFrom("photos.example", "PHOTOS.example.:443", "[::1]"),
    clientIp: fc.constantFrom("10.1.2.3", "::ffff:10.2.3.4", "2001:db8::1", "nope"),
    user: fc.constantFrom("alice", "bob"),
    extra: fc.constantFrom({}, { "photos/album": "42" }),
  },
  { requiredKeys: ["now"] },
);

test("base64url: what is written is read, and what is read is written in the same way", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1 }), (data) => assert.deepEqual([...decodeBase64(encodeBase64(data))], [...data])));
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."AQgwEIMz09-_=+/ ") }), (text) => {
      let data;
      try {
        data = decodeBase64(text);
      } catch (error) {
        assert.ok(error instanceof CaveatsError);
        return;
      }
      assert.equal(encodeBase64(data), text);
    }),
    { numRuns: 1000 },
  );
});

test("HMAC is the one of RFC 2104, over WebCrypto and handed in", async () => {
  const property = fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 140 }), bytes(300), async (key, message) => {
    const own = Uint8Array.from(key);
    const expected = new Uint8Array(createHmac("sha256", own).update(message).digest());
    assert.deepEqual(hmac(own, message), expected);
    assert.deepEqual(await webHmac(own, message), expected);
  });
  await fc.assert(property, { numRuns: 300 });
});

test("decode undoes encode, whatever the caveats are", async () => {
  await fc.assert(
    fc.asyncProperty(bytes(), fc.string({ unit: "binary" }), fc.array(bytes(300), { maxLength: 5 }), async (identifier, location, predicates) => {
      fc.pre(identifier.length > 0 && !/\p{Cs}/u.test(location));
      const minted = await mint(KEY, identifier, { location, hmac });
      const macaroon = await appendPredicates(minted, predicates, { hmac });
      const read = decode(encode(macaroon));
      assert.deepEqual([read.location, read.identifier, read.caveats], [macaroon.location, macaroon.identifier, macaroon.caveats]);
      assert.deepEqual(read.signature, macaroon.signature);
      assert.equal(encode(read), encode(macaroon));
      inspect(read);
    }),
  );
});

test("whatever text decodes is written in the same way again, and nothing else is thrown than an error of ours", async () => {
  const macaroon = await appendPredicates(await mint(KEY, IDENTIFIER, { hmac }), [utf8("note = x")], { hmac });
  const binary = decodeBase64(encode(macaroon).slice(5, -6));
  fc.assert(
    fc.property(fc.nat(binary.length - 1), fc.nat(255), fc.constantFrom(0, 1), (at, byte, removed) => {
      const changed = Uint8Array.from([...binary.slice(0, at), byte, ...binary.slice(at + removed)]);
      const text = encodeBase64(changed);
      let read;
      try {
        read = decodeAny(text);
      } catch (error) {
        assert.ok(error instanceof CaveatsError);
        return;
      }
      assert.equal(encode(read).slice(5, -6), text);
    }),
    { numRuns: 2000 },
  );
});

test("any flipped bit refuses", async () => {
  const macaroon = await appendPredicates(await mint(KEY, IDENTIFIER, { hmac }), [utf8("user = alice"), utf8("scope = *")], { hmac });
  await authenticate(macaroon, KEY, { hmac });
  const binary = decodeBase64(encode(macaroon).slice(5, -6));
  for (let bit = 0; bit < binary.length * 8; bit++) {
    const changed = binary.slice();
    changed[bit >> 3] ^= 1 << (bit & 7);
    await assert.rejects(async () => authenticate(decodeAny(encodeBase64(changed)), KEY, { hmac }), CaveatsError);
  }
});

test("appending never widens: what a token refuses, each copy of it refuses, with the same reasons first", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(predicate, { maxLength: 6 }), predicate, context, async (predicates, added, facts) => {
      const macaroon = await appendPredicates(await mint(KEY, IDENTIFIER, { hmac }), predicates.map(utf8), { hmac });
      const narrower = await appendPredicates(macaroon, [utf8(added)], { hmac });
      const before = unsatisfied((await authenticate(macaroon, KEY, { hmac })).caveats, facts, { checkers: CHECKERS });
      const after = unsatisfied((await authenticate(narrower, KEY, { hmac })).caveats, facts, { checkers: CHECKERS });
      assert.deepEqual(after.slice(0, before.length), before);
      assert.ok(after.length - before.length <= 1);
    }),
    { numRuns: 1000 },
  );
});

test("a caveat that is marked as redundant decides nothing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(predicate, { minLength: 2, maxLength: 6 }), context, async (predicates, facts) => {
      const macaroon = await appendPredicates(await mint(KEY, IDENTIFIER, { hmac }), predicates.map(utf8), { hmac });
      const { caveats } = await authenticate(macaroon, KEY, { hmac });
      const marks = inspect(macaroon).caveats;
      const kept = caveats.filter((_, index) => marks[index].redundant === null);
      assert.equal(unsatisfied(caveats, facts).length > 0, unsatisfied(kept, facts).length > 0);
    }),
    { numRuns: 1000 },
  );
});

test("a secretbox opens under its key and nonce, and no byte of it can be changed", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), (message, at) => {
      const [key, nonce] = [new Uint8Array(32).fill(7), new Uint8Array(24).fill(9)];
      const box = sealSecretbox(message, nonce, key);
      assert.deepEqual([...(openSecretbox(box, nonce, key) ?? [-1])], [...message]);
      box[at % box.length] ^= 1;
      assert.equal(openSecretbox(box, nonce, key), undefined);
    }),
  );
});
