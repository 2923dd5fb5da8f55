/** What a holder does: decode, inspect, narrow, bind, name a branch. The bytes are those of docs/format.md. */

import assert from "node:assert/strict";
import { inspect as show } from "node:util";
import { test } from "node:test";
import {
  MalformedCaveat,
  attenuate,
  authenticate,
  bind,
  branchId,
  decode,
  decodeBundle,
  encode,
  inspect,
  mint,
  parseDuration,
  requireDischarge,
} from "../src/index.js";
import { hex, unhex, utf8 } from "../src/bytes.js";
import { hmac } from "../src/node.js";
import { outcome } from "./support.js";

const TOKEN =
  "cav1_AgIoMS5rMS5waG90b3MuMDFLQjVSN00wMEFCQ0RFRkdISktNTlBRUlMuMwACDHVzZXIgPSBhbGljZQACHmV4cGlyZXMgPSAyMDI2LTEyLTAxVDAwOjAwOjAwWgACEHNjb3BlID0gcGhvdG9zOioAAAYg11USwOA7VTEPO5j0vDOWAVyGYz65f2jWVL0UyNF77Vo16rQyw";
const ROOT_KEY = unhex("f779df8307739ed17339e11e47cb0fd944c54e90f4f7f0ee91a72afbbc20875b");
const NOW = new Date("2026-11-30T12:00:00Z");

test("a token reads as the format says", () => {
  const macaroon = decode(TOKEN);
  assert.equal(hex(macaroon.signature), "d75512c0e03b55310f3b98f4bc3396015c86633eb97f68d654bd14c8d17bed5a");
  assert.equal(encode(macaroon), TOKEN);
});

test("what is shown, logged or written as JSON has no signature", () => {
  const macaroon = decode(TOKEN);
  for (const shown of [show(macaroon), JSON.stringify(macaroon), show({ ...macaroon })]) {
    assert.ok(!/signature|215,\s*85,\s*18/.test(shown), shown);
  }
});

test("a copy is narrowed offline, text for text and macaroon for macaroon", async () => {
  const narrower = await attenuate(TOKEN, { scope: "photos/42:read" });
  assert.equal(hex(decode(narrower).signature), "46c42e364b6a3d9357c2bdee9d93e37d4c8dfd92927945d4da542f0f764bf407");
  assert.equal(encode(await attenuate(decode(TOKEN), { scope: "photos/42:read" }, { hmac })), narrower);
  assert.equal(encode(decode(TOKEN)), TOKEN);
  await authenticate(narrower, ROOT_KEY);
});

test("each way to narrow is one caveat, in the order of the kinds", async () => {
  const narrower = await attenuate(
    TOKEN,
    {
      caveats: ["photos/album = 42", utf8("anything")],
      note: ["for the printer", "second"],
      clientIp: ["10.0.0.0/8", "::1"],
      host: "Photos.Example.",
      path: ["/fotos/Käse brot", "/public/*"],
      method: ["get", "PUT"],
      audience: "photos",
      notBefore: "2026-11-30T13:00:00+01:00",
      expires: new Date("2026-11-30T12:30:00.900Z"),
      expiresIn: "10m",
      scope: "photos:read notes:read",
    },
    { now: NOW },
  );
  assert.deepEqual(
    inspect(narrower).caveats.slice(3).map(({ predicate }) => predicate),
    [
      "scope = photos:read notes:read",
      "expires = 2026-11-30T12:10:00Z",
      "expires = 2026-11-30T12:30:00Z",
      "not-before = 2026-11-30T12:00:00Z",
      "audience = photos",
      "method = GET PUT",
      "path = /fotos/K%C3%A4se%20brot /public/*",
      "host = photos.example",
      "client-ip = 10.0.0.0/8 ::1",
      "note = for the printer",
      "note = second",
      "photos/album = 42",
      "anything",
    ],
  );
});

/** @type {[string, any][]} */
const REFUSED = [
  ["nothing at all", {}],
  ["a name that is none", { scopes: "photos:read" }],
  ["a kind that the issuer writes", { user: "bob" }],
  ["a value that is not there", { scope: undefined }],
  ["an expiry that is not there", { expiresIn: undefined }],
  ["an empty list", { scope: [] }],
  ["an empty text", { note: "" }],
  ["half of a list", { scope: ["photos:read", null] }],
  ["no scope", { scope: "photos" }],
  ...["ffff", "1.2.3", "0x1.2.3.4", "10.0.0.1/8", "::1/129", "fe80::1%eth0", "::ffff:a00:0/104", "2001:DB8::/32"].map(
    (word) => /** @type {[string, any]} */ ([`no network: ${word}`, { clientIp: word }]),
  ),
  ["the same twice", { method: ["GET", "get"] }],
  ["a number", { note: 42 }],
  ["a moment without a zone", { expires: "2026-12-01T00:00:00" }],
  ["a day that is none", { expires: "2026-02-30T00:00:00Z" }],
  ["a date that is none", { expires: new Date(NaN) }],
  ["a year that is too late", { expires: new Date(8.64e15) }],
  ["a line break", { note: "a\nb" }],
  ["half a character", { note: "\ud800" }],
  ["a kind that is not known", { caveats: ["album = 42"] }],
  ["no predicate", { caveats: ["photos/album"] }],
  ["a value of no known kind's grammar", { caveats: ["scope = photos"] }],
];
for (const [name, narrowing] of REFUSED) {
  test(`nothing is left out in silence: ${name}`, async () => {
    const code = await outcome(() => attenuate(TOKEN, narrowing));
    assert.equal(code, name === "an expiry that is not there" ? "malformed_duration" : "malformed_caveat");
  });
}

test("limits hold", async () => {
  assert.equal(await outcome(() => attenuate(TOKEN, { note: "x".repeat(1025) })), "limit_exceeded");
  assert.equal(await outcome(() => attenuate(TOKEN, { note: Array.from({ length: 62 }, (_, at) => `${at}`) })), "limit_exceeded");
  assert.equal(await outcome(() => decode(`cav1_${"A".repeat(16384)}`)), "limit_exceeded");
  assert.equal(await outcome(() => decodeBundle(Array(18).fill(TOKEN).join("."))), "limit_exceeded");
});

test("a typo and a cut are told from what never was a token", async () => {
  assert.equal(await outcome(() => decode(TOKEN.replace("hbGljZ", "hbGljY"))), "damaged_token");
  assert.equal(await outcome(() => decode(TOKEN.slice(0, -9))), "damaged_token");
  assert.equal(await outcome(() => decode("eyJhbGciOiJIUzI1NiJ9.e30.x")), "malformed_token");
  for (const nothing of /** @type {any[]} */ ([undefined, null, 42, true])) {
    for (const reader of [decode, decodeBundle, inspect, branchId, encode]) {
      assert.equal(await outcome(() => reader(nothing)), "malformed_token");
    }
    assert.equal(await outcome(() => attenuate(nothing, { note: "x" })), "malformed_token");
  }
});

test("a branch has the name that the format says", async () => {
  assert.equal(await branchId(TOKEN), "5bb79f50710d2dcf09908d7eb0b4aa79");
});

test("discharges are bound to a copy, and narrowing it later is refused", async () => {
  const key = utf8("a key of the third party");
  const party = { location: "https://auth.example", key, ticket: utf8("ticket") };
  const macaroon = await requireDischarge(decode(TOKEN), party);
  const bundle = await bind(macaroon, [await mint(key, "ticket")]);
  const text = encode(bundle);
  await authenticate(text, ROOT_KEY);
  assert.equal(inspect(text).third_parties[0].discharge, 1);
  assert.equal(await outcome(() => attenuate(text, { scope: "photos:read" })), "malformed_token");
  assert.equal(await outcome(() => authenticate(macaroon, ROOT_KEY)), "missing_discharge");
  const unbound = { macaroon, discharges: [await mint(key, "ticket")] };
  assert.equal(await outcome(() => authenticate(unbound, ROOT_KEY)), "binding_mismatch");
});

test("an error names its kind by a code, and keeps its evidence", async () => {
  const error = await attenuate(TOKEN, { scope: "photos" }).catch((/** @type {unknown} */ one) => one);
  assert.ok(error instanceof MalformedCaveat);
  assert.equal(error.code, "malformed_caveat");
  assert.match(error.message, /'photos'/);
});

test("a length of time has one form", async () => {
  for (const [text, seconds] of /** @type {[any, number][]} */ ([["90s", 90], ["1h30m", 5400], ["1w", 604800], [900, 900], ["900", 900], ["0s", 0]])) {
    assert.equal(parseDuration(text), seconds);
  }
  for (const text of /** @type {any[]} */ (["", "1.5h", "-1s", "1m1h", "1h30", "10 m", "٣s", "36501d", -1, 1.5, NaN, true, null])) {
    assert.equal(await outcome(() => parseDuration(text)), "malformed_duration", `${text}`);
  }
});
