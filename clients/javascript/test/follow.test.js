/** A verifier that follows a service, without one: boxes, registrations, bounds on what is read, and what it says of itself. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { inspect as show } from "node:util";
import { test } from "node:test";
import { decodeBase64, encodeBase64, hex, unhex, utf8 } from "../src/bytes.js";
import { run } from "../src/hmac.js";
import { hmac } from "../src/node.js";
import { openBox, privateKeyOf } from "../src/follow/box.js";
import { openLine, proofOf } from "../src/follow/pages.js";
import { Registration } from "../src/follow/registration.js";
import { Backoff, CannotRead, LineReader, checkAnswer, feedRequest, secondsToWait } from "../src/follow/requests.js";
import { AudienceKeyring, follow } from "../src/verify/index.js";
import { vectors } from "./support.js";

const SECRET = Uint8Array.from({ length: 32 }, (_, at) => at + 61);

const nacl = vectors("nacl_box.json");

for (const [at, row] of nacl.boxes.entries()) {
  test(`NaCl's box ${at} opens from either side, and not if a bit of it is another`, async () => {
    const [nonce, box, plain] = [row.nonce, row.box, row.plain].map(unhex);
    for (const [secret, other] of [["secret", "public"], ["other_secret", "other_public"]]) {
      const key = await privateKeyOf(unhex(row[secret]));
      assert.deepEqual(await openBox(box, nonce, unhex(row[other]), key), plain);
      for (const spoilt of [0, 15, 16, box.length - 1]) {
        const changed = box.slice();
        changed[spoilt] ^= 1;
        assert.equal(await openBox(changed, nonce, unhex(row[other]), key), undefined);
      }
      assert.equal(await openBox(box.subarray(0, 15), nonce, unhex(row[other]), key), undefined);
      assert.equal(await openBox(box, nonce, unhex(row[secret]), key), undefined);
    }
  });
}

test("a public key of low order opens nothing", async () => {
  const key = await privateKeyOf(SECRET);
  for (const point of nacl.low_order) {
    assert.equal(await openBox(new Uint8Array(40), new Uint8Array(24), unhex(point), key), undefined, point);
  }
});

/** @type {import("../src/follow/registration.js").RegistrationFile} */
const FILE = { ...vectors("feed.json").registration, service_public_key: encodeBase64(unhex(nacl.boxes[0].public)) };

test("what is no completed registration is refused without a word of its key", () => {
  for (const file of /** @type {any[]} */ ([
    null,
    {},
    { ...FILE, version: 2 },
    { ...FILE, private_key: undefined },
    { ...FILE, private_key: "x" },
    { ...FILE, private_key: `${FILE.private_key}=` },
    { ...FILE, verifier_id: "" },
    { ...FILE, audience: "Photos" },
    { ...FILE, url: "" },
    { ...FILE, service_public_key: "x" },
  ])) {
    const isRefused = (/** @type {any} */ error) => error.code === "invalid_key" && !show(error).includes(FILE.private_key);
    assert.throws(() => follow(file), isRefused, JSON.stringify(file));
  }
});

test("keys and a service are only asked at https, or at this machine", () => {
  for (const url of ["http://auth.example", "ftp://auth.example", "https://u:p@auth.example", "auth.example", "http://127.0.0.1.example"]) {
    assert.throws(() => follow({ ...FILE, url }), { code: "unusable_address" }, url);
    assert.throws(() => follow(FILE, { feedUrl: url }), { code: "unusable_address" }, url);
  }
  assert.throws(() => follow(FILE, { maxStaleness: 0 }), TypeError);
  assert.throws(() => follow(FILE, { maxStaleness: "soon" }), { code: "malformed_duration" });
  assert.throws(() => follow(FILE, { onStale: /** @type {any} */ ("grant") }), TypeError);
});

test("a box that is none, or somebody else's, is rejected", async () => {
  const registration = new Registration(FILE);
  for (const box of [new Uint8Array(), utf8("garbage"), new Uint8Array(100), Uint8Array.from([0x4b, 1, ...new Uint8Array(60)])]) {
    await assert.rejects(registration.open(box), { code: "rejected_delivery" });
  }
  for (const shown of [show(registration, { depth: 9, showHidden: true }), JSON.stringify(registration)]) {
    assert.ok(!shown.includes(FILE.private_key) && !/61,\s*62,\s*63/.test(shown), shown);
  }
});

test("the box, the line and the proof of docs/format.md are read as it says", async () => {
  const { registration, box, audience_key, line, proof } = vectors("feed.json");
  const bundle = await new Registration(registration).open(decodeBase64(box));
  assert.deepEqual([bundle.epoch, bundle.serial, bundle.notAfter], [1, 1764460800000, 1764547200000]);
  const keyring = new AudienceKeyring("photos", [["k1", decodeBase64(audience_key)]]);
  assert.deepEqual([bundle.keyring.missingFrom(keyring), keyring.missingFrom(bundle.keyring)], [[], []]);
  const { page, seal } = await run(openLine(line, keyring), hmac);
  assert.deepEqual([seal, page.upto, page.entries], ["k1", 1, [[1, "t", 1767052800, "01KB5R7M00ABCDEFGHJKMNPQRS"]]]);
  assert.equal(await run(proofOf(keyring, "k1", 1764460800999), hmac), proof);
  const other = new Registration({ ...registration, verifier_id: "01KB5R7M00VVVVVVVVVVVVVVVW" });
  await assert.rejects(other.open(decodeBase64(box)), { code: "rejected_delivery" });
});

test("a line that anybody has touched is rejected, and one under another key asks for keys", async () => {
  const { audience_key, line } = vectors("feed.json");
  const keyring = new AudienceKeyring("photos", [["k1", decodeBase64(audience_key)]]);
  /** @param {string} touched @param {AudienceKeyring} [keys] */
  const outcome = (touched, keys = keyring) => run(openLine(touched, keys), hmac).then(() => "read", (error) => error.constructor.name);
  assert.equal(await outcome(line), "read");
  for (const touched of [line.replace('"upto":1', '"upto":2'), line.replace(/ (?={)/, ""), `${line} `, line.toUpperCase().replace("K1", "k1"), "k1", "k1 00 {}"]) {
    assert.equal(await outcome(touched), "RejectedDelivery", touched);
  }
  for (const touched of ["", line.replace("k1", "k2"), ` ${line}`]) assert.equal(await outcome(touched), "UnknownSeal", touched);
  assert.equal(await outcome(line, new AudienceKeyring("notes", [["k1", decodeBase64(audience_key)]])), "RejectedDelivery");
  /** @param {string} json */
  const sealed = async (json) => {
    const feedKey = await run(keyring.mac("k1", utf8("caveats/v1/feed")), hmac);
    return `k1 ${hex(hmac(feedKey, utf8(`photos\0${json}`)))} ${json}`;
  };
  const page = JSON.parse(line.slice(line.indexOf("{")));
  assert.equal(await outcome(await sealed(JSON.stringify(page))), "read");
  for (const members of [{ epoch: -1 }, { upto: 1.5 }, { at: "1" }, { at: 253402300800000 }, { last: null }, { keys: ["x"] }, { keys: {} }, { entries: {} }]) {
    assert.equal(await outcome(await sealed(JSON.stringify({ ...page, ...members }))), "RejectedDelivery", JSON.stringify(members));
  }
  for (const json of ["null", "[]", "{", "", `{"entries":[${"[],".repeat(20_001)}[]]}`]) {
    assert.equal(await outcome(await sealed(json)), "RejectedDelivery", json.slice(0, 9));
  }
});

/** @param {LineReader} reader @param {string[]} chunks */
const linesOf = (reader, chunks) => chunks.flatMap((chunk) => [...reader.take(utf8(chunk))]);

test("lines are found in chunks of any size, and events by their data", () => {
  assert.deepEqual(linesOf(new LineReader("poll"), ["a\r\nb", "", "c\n\nd\n", "left over"]), ["a", "bc", "d"]);
  const events = ["id: 1\nevent: page\nda", "ta: one\n", "\n: comment\n\ndata:two\ndata: three\r\n\r\n", "data: unfinished\n"];
  assert.deepEqual(linesOf(new LineReader("stream"), events), ["one", "two\nthree"]);
  assert.deepEqual([...new LineReader("poll").take(Uint8Array.from([0xff, 0x61, 10]))], ["\ufffda"]);
});

test("a line that is no text takes no longer than another", () => {
  const started = performance.now();
  const [line] = new LineReader("poll").take(new Uint8Array(1024 * 1024).fill(0xff, 0, -1).fill(10, -1));
  assert.equal(line.length, 1024 * 1024 - 1);
  assert.ok(performance.now() - started < 500);
});

test("what is read without news is bounded", () => {
  const flooded = /** @type {[string, string][]} */ ([
    ["lines", "\n".repeat(1001)],
    ["bytes", `${"x".repeat(1000)}\n`.repeat(900)],
    ["line", "x".repeat(1024 * 1024 + 1)],
  ]);
  for (const [what, flood] of flooded) {
    const reader = new LineReader("poll");
    assert.throws(() => linesOf(reader, Array(3).fill(flood)), (error) => error instanceof CannotRead, what);
  }
  assert.throws(() => linesOf(new LineReader("poll"), Array(20_000).fill("x")), /bytes without anything new/);
  assert.throws(() => linesOf(new LineReader("stream"), Array(2000).fill(`data: ${"x".repeat(1000)}\n`)), /event without an end|lines without/);
  const reader = new LineReader("poll");
  for (let news = 0; news < 5; news++) {
    linesOf(reader, ["x\n".repeat(900)]);
    reader.heardNews();
  }
});

test("an answer that is not the feed is not read", () => {
  /** @param {number} status @param {Record<string, string>} headers @param {any} [mode] */
  const refused = (status, headers, mode = "stream") => {
    try {
      checkAnswer(mode, new Response(null, { status, headers }));
    } catch (error) {
      const { unsuited, unproved, retryAfter } = /** @type {any} */ (error);
      return { unsuited, unproved, retryAfter };
    }
    return null;
  };
  assert.equal(refused(200, { "content-type": "text/event-stream; charset=utf-8" }), null);
  assert.equal(refused(200, { "content-type": "anything" }, "poll"), null);
  assert.deepEqual(refused(200, { "content-type": "text/html" }), { unsuited: true, unproved: false, retryAfter: 0 });
  assert.deepEqual(refused(406, {}), { unsuited: true, unproved: false, retryAfter: 0 });
  assert.deepEqual(refused(406, {}, "poll"), { unsuited: false, unproved: false, retryAfter: 0 });
  assert.deepEqual(refused(403, {}), { unsuited: false, unproved: true, retryAfter: 0 });
  assert.deepEqual(refused(503, { "retry-after": "7" }), { unsuited: false, unproved: false, retryAfter: 7000 });
});

test("a wait that something on the way asks for stays within half of what is left", () => {
  const date = "Sat, 21 Nov 2026 12:00:00 GMT";
  for (const [after, seconds] of /** @type {[string, number][]} */ ([
    ["7", 7],
    ["Sat, 21 Nov 2026 12:00:09 GMT", 9],
    ["Sat, 21 Nov 2026 11:00:00 GMT", 0],
    ["-1", 0],
    ["1e9", 0],
    ["soon", 0],
    ["99999999999", 0],
  ])) {
    assert.equal(secondsToWait(new Headers({ "retry-after": after, date })), seconds, after);
  }
  assert.equal(secondsToWait(new Headers()), 0);
  const backoff = new Backoff();
  assert.ok(backoff.failed(3_600_000, 20_000) <= 10_000);
  assert.ok(new Backoff().failed(3_600_000) <= 30_000);
  for (let failure = 0; failure < 20; failure++) assert.ok(backoff.failed() <= 5_000);
  assert.equal(backoff.mode(true, 0), "catch up");
  backoff.noStream(0);
  assert.deepEqual([backoff.mode(false, 299_999), backoff.mode(false, 300_000)], ["poll", "stream"]);
});

test("a request says where to read on, for whom, and proves it", () => {
  const identity = { audience: "photos", verifierId: "01KB5R7M00VVVVVVVVVVVVVVVV" };
  const { query, headers, patience } = feedRequest("poll", identity, { after: 5, epoch: 2 }, "photos k1 1 ab", 6000);
  assert.equal(query, "audience=photos&after=5&epoch=2&wait=4");
  assert.deepEqual([headers["X-Feed-Proof"], headers["X-Feed-Verifier"], patience], ["photos k1 1 ab", identity.verifierId, 10_000]);
});

test("with nobody there every token is refused, and an abort ends the work", async () => {
  const server = createServer((_, response) => response.writeHead(500).end("x".repeat(100_000)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const end = new AbortController();
  const verifier = follow({ ...FILE, url: `http://127.0.0.1:${port}` }, { signal: end.signal, startTimeout: 0.3 });
  assert.equal(verifier.audience, "photos");
  await assert.rejects(verifier.verify("x"), { code: "stale", message: /not ready within 0.3 s: .*too large/ });
  await assert.rejects(verifier.verify("x"), { code: "stale", message: /no keys yet/ });
  const { ready, health, keyIds } = verifier.status();
  assert.deepEqual([ready, health, keyIds], [false, "starting", []]);
  for (const shown of [show(verifier, { depth: 9, showHidden: true }), JSON.stringify(verifier)]) {
    assert.ok(!shown.includes(FILE.private_key), shown);
  }
  end.abort();
  await assert.rejects(verifier.verify("x"), { code: "stale", message: /closed/ });
  await assert.rejects(verifier.ready(), { code: "stale", message: /closed/ });
  server.closeAllConnections();
  server.close();
});
