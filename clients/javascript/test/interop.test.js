/** The npm package `macaroon` reads and verifies what we narrow and bind, and we what it does. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
// @ts-expect-error: it has no types
import theirs from "macaroon";
import { attenuate, authenticate, bind, decodeAny, decodeBytes, encode, encodeBytes, mint, requireDischarge } from "../src/index.js";
import { utf8 } from "../src/bytes.js";
import { hmac } from "../src/node.js";
import { appendPredicates } from "../src/token/macaroon.js";
import { outcome } from "./support.js";

const KEY = utf8("a root key of either");
const PARTY = { location: "https://auth.example", key: utf8("a key of the third party"), ticket: utf8("ticket") };
const texts = fc.array(fc.string({ minLength: 1, maxLength: 80 }), { maxLength: 6 });

/** Their copy of a macaroon of ours. @param {import("../src/index.js").Macaroon} macaroon */
const toTheirs = (macaroon) => theirs.importMacaroon(encodeBytes(macaroon));
/** Our copy of one of theirs: as JSON, since version 3.0.4 runs out of memory on a binary of some hundred bytes. @param {any} macaroon */
const toOurs = (macaroon) => decodeAny(JSON.stringify(macaroon.exportJSON()));

test("they verify what we narrow, and we what they narrow, in turns", async () => {
  await fc.assert(
    fc.asyncProperty(texts, texts, async (ours, others) => {
      const minted = await mint(KEY, "id", { location: "here", hmac });
      const macaroon = await appendPredicates(minted, ours.map(utf8), { hmac });
      const theirCopy = toTheirs(macaroon);
      for (const caveat of others) theirCopy.addFirstPartyCaveat(caveat);
      const narrowest = await attenuate(toOurs(theirCopy), { scope: "photos:read" }, { hmac });
      const wanted = [...ours, ...others, "scope = photos:read"];
      const { caveats } = await authenticate(narrowest, KEY, { hmac });
      assert.deepEqual(caveats.map(({ predicate }) => predicate), wanted.map(utf8));
      /** @type {string[]} */
      const seen = [];
      toTheirs(narrowest).verify(KEY, (/** @type {string} */ caveat) => void seen.push(caveat), []);
      assert.deepEqual(seen, wanted);
    }),
    { numRuns: 200 },
  );
});

test("they verify a discharge that we bind, and we one that they bind", async () => {
  const macaroon = await requireDischarge(await mint(KEY, "id", { location: "" }), PARTY);
  const discharge = await mint(PARTY.key, PARTY.ticket);
  const bundle = await bind(macaroon, [discharge]);
  toTheirs(macaroon).verify(KEY, () => null, bundle.discharges.map(toTheirs));
  assert.throws(() => toTheirs(macaroon).verify(KEY, () => null, [toTheirs(discharge)]));

  const theirRoot = theirs.newMacaroon({ identifier: "id", location: "", rootKey: KEY, version: 2 });
  theirRoot.addThirdPartyCaveat(PARTY.key, PARTY.ticket, PARTY.location);
  const theirDischarge = theirs.newMacaroon({ identifier: PARTY.ticket, rootKey: PARTY.key, version: 2 });
  const unbound = { macaroon: toOurs(theirRoot), discharges: [toOurs(theirDischarge)] };
  assert.equal(await outcome(() => authenticate(unbound, KEY)), "binding_mismatch");
  theirDischarge.bindToRoot(theirRoot.signature);
  await authenticate({ macaroon: toOurs(theirRoot), discharges: [toOurs(theirDischarge)] }, KEY);
});

test("both refuse what the other finds forged", async () => {
  const macaroon = await mint(KEY, "id", { hmac });
  const forged = decodeBytes(encodeBytes(macaroon).map((byte, at, all) => (at === all.length - 1 ? byte ^ 1 : byte)));
  assert.equal(await outcome(() => authenticate(forged, KEY)), "bad_signature");
  assert.throws(() => toTheirs(forged).verify(KEY, () => null, []));
  assert.notEqual(encode(forged), encode(macaroon));
});
