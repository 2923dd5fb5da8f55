/**
 * The rows of tests/vectors, as its README says and as tests/caveats/test_vectors.py reads them: decode, authenticate, then
 * ask for every predicate. Rows to be refused are refused at the stage that the row names.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  LIMITS,
  UnsatisfiedCaveats,
  authenticate,
  bind,
  decodeAny,
  decodeBytes,
  encode,
  mint,
  requireDischarge,
} from "../src/index.js";
import { decodeBase64, encodeBase64, hex, unhex, utf8 } from "../src/bytes.js";
import { hmac } from "../src/node.js";
import { appendPredicates, macaroonOf } from "../src/token/macaroon.js";
import { encodeBinary } from "../src/token/wire.js";
import { openSecretbox } from "../src/third_party/secretbox.js";
import { outcome, vectors } from "./support.js";

/** @typedef {import("../src/index.js").Macaroon} Macaroon */

/** @type {Record<string, (string | null)[]>} */
const STAGES = {
  malformed: ["malformed_token", "damaged_token", "limit_exceeded"],
  "malformed (canonical mode)": ["malformed_token", "damaged_token"],
  bad_signature: ["bad_signature", "binding_mismatch"],
  "unknown_key|bad_signature": ["bad_signature", "unknown_key"],
  "bad_signature|unused_discharge": ["bad_signature", "unused_discharge", "binding_mismatch"],
  unknown_caveat: ["unsatisfied_caveats"],
  caveat_unmet: ["unsatisfied_caveats"],
  missing_discharge: ["missing_discharge"],
  unused_discharge: ["unused_discharge"],
  discharge_reused: ["unused_discharge"],
  limit: ["limit_exceeded"],
};

/**
 * Decode, authenticate, and ask that every first-party predicate is one of `satisfied`, byte for byte. Both ways of making an
 * HMAC come to the same end.
 *
 * @param {string} token
 * @param {string[]} discharges
 * @param {Uint8Array<ArrayBuffer>} rootKey
 * @param {string[]} satisfied
 */
async function judge(token, discharges, rootKey, satisfied) {
  const bundle = { macaroon: decodeAny(token), discharges: discharges.map((one) => decodeAny(one)) };
  const ends = [];
  for (const options of [{}, { hmac }]) {
    /** @type {import("../src/index.js").Authenticated | undefined} */
    let found;
    const code = await outcome(async () => (found = await authenticate(bundle, rootKey, options)));
    ends.push([code, found?.caveats.map(({ predicate }) => hex(predicate)), found?.signatures.map(hex)]);
  }
  assert.deepEqual(ends[0], ends[1]);
  const { caveats } = await authenticate(bundle, rootKey, { hmac });
  const wanted = new Set(satisfied.map((one) => hex(utf8(one))));
  if (!caveats.every(({ predicate }) => wanted.has(hex(predicate)))) throw new UnsatisfiedCaveats("not satisfied");
}

/** @param {string} text */
const toBase64url = (text) => text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
/** @param {string} token */
const spelled = (token) => (token.startsWith("{") ? token : toBase64url(token));

// adversarial.json

for (const row of vectors("adversarial.json").cases) {
  test(`adversarial: ${row.id}`, async () => {
    const started = performance.now();
    const code = await outcome(() => judge(row.token, row.discharges, unhex(row.root_key_hex), row.satisfied));
    assert.ok(performance.now() - started < 500, "it took too long");
    if (row.required === "accept") assert.equal(code, null);
    else assert.ok(STAGES[row.error_class].includes(code), `${code} is not ${row.error_class}`);
  });
}

// interop_macaroons.json

const interop = vectors("interop_macaroons.json");

/**
 * The macaroon of a row after each step.
 *
 * @param {any} row
 * @returns {Promise<Macaroon[]>}
 */
async function steps(row) {
  const all = [await mint(unhex(row.root_key_hex), unhex(row.identifier_hex), { location: row.location, hmac })];
  for (const caveat of row.caveats) {
    const last = all[all.length - 1];
    const cid = unhex(caveat.cid_hex);
    if (!("vid_hex" in caveat)) {
      all.push(await appendPredicates(last, [cid]));
      continue;
    }
    const key = utf8(caveat.caveat_root_key_utf8);
    const next = await requireDischarge(last, { location: caveat.location, key, ticket: cid, nonce: unhex(caveat.nonce_hex) });
    const sealed = /** @type {import("../src/index.js").ThirdPartyCaveat} */ (next.caveats[next.caveats.length - 1]);
    assert.equal(hex(sealed.vid), caveat.vid_hex);
    all.push(next);
  }
  return all;
}

for (const row of interop.macaroons) {
  test(`interop: ${row.name}`, async () => {
    const all = await steps(row);
    const macaroon = all[all.length - 1];
    assert.deepEqual(all.map(({ signature }) => hex(signature)), row.signature_chain_hex);
    assert.equal(hex(macaroon.signature), row.signature_hex);
    assert.ok([undefined, null, row.signature_hex].includes(row.expected_published));
    assert.equal(encodeBase64(encodeBinary(macaroon)), row.v2_b64url);
    const read = [row.v1_b64url, row.v2_b64url, JSON.stringify(row.v2_json), encode(macaroon)].map((one) => decodeAny(one));
    read.push(...[row.v1_b64url, row.v2_b64url].map((one) => decodeBytes(decodeBase64(one))));
    for (const one of read) assert.equal(encode(one), encode(macaroon));
    const key = unhex(row.root_key_hex);
    const needs = row.caveats.some((/** @type {object} */ caveat) => "vid_hex" in caveat);
    assert.equal(await outcome(() => authenticate(macaroon, key)), needs ? "missing_discharge" : null);
    const wrong = Uint8Array.from([...key, 0]);
    assert.equal(await outcome(() => authenticate(macaroon, wrong)), "bad_signature");
  });
}

for (const row of interop.discharges) {
  test(`interop discharge of ${row.root}: ${row.discharge_bound_v2.slice(-12)}`, async () => {
    const parent = interop.macaroons.find((/** @type {{name: string}} */ one) => one.name === row.root);
    const unbound = decodeAny(row.discharge_unbound_v2);
    const bound = decodeAny(row.discharge_bound_v2);
    assert.deepEqual([hex(unbound.signature), hex(bound.signature)], [row.unbound_sig, row.bound_sig]);
    const bundle = await bind(decodeAny(parent.v2_b64url), [unbound]);
    assert.equal(encode(bundle.discharges[0]), encode(bound));
    assert.equal(encode(decodeAny(row.discharge_bound_v1)), encode(bound));
    const key = unhex(parent.root_key_hex);
    for (const token of [parent.v1_b64url, parent.v2_b64url, JSON.stringify(parent.v2_json)]) {
      for (const [discharge, accepted] of [
        [row.discharge_bound_v2, row.accept_bound],
        [row.discharge_bound_v1, row.accept_bound],
        [row.discharge_unbound_v2, row.accept_unbound],
      ]) {
        const code = await outcome(() => judge(token, [discharge], key, row.satisfied));
        if (accepted) assert.equal(code, null);
        else assert.ok(STAGES.bad_signature.includes(code));
      }
      const fewer = row.satisfied.slice(0, 1);
      assert.equal(await outcome(() => judge(token, [row.discharge_bound_v2], key, fewer)), "unsatisfied_caveats");
    }
  });
}

// published_tokens.json

const published = vectors("published_tokens.json");

for (const encoding of ["json_v1", "binary_v1", "json_v2", "binary_v2"]) {
  test(`published by Go, with its discharge: ${encoding}`, async () => {
    const { tokens, root_key, satisfied } = published.go_generated;
    const [token, discharge] = [spelled(tokens[encoding]), spelled(tokens[`${encoding}_discharge`])];
    const key = utf8(root_key);
    await judge(token, [discharge], key, satisfied);
    assert.equal(await outcome(() => judge(token, [discharge], key, [])), "unsatisfied_caveats");
    assert.equal(await outcome(() => judge(token, [discharge], utf8(`${root_key}x`), satisfied)), "bad_signature");
    assert.equal(await outcome(() => judge(token, [], key, satisfied)), "missing_discharge");
    for (const end of ["", "_discharge"]) {
      assert.equal(encode(decodeAny(spelled(tokens[encoding + end]))), encode(decodeAny(spelled(tokens[`json_v1${end}`]))));
    }
  });
}

published.libmacaroons_verification.cases.forEach((/** @type {any} */ row, /** @type {number} */ number) => {
  test(`libmacaroons verification ${number}: ${row.id ?? row.name}`, async () => {
    const [token, ...discharges] = row.tokens.map(spelled);
    const code = await outcome(() => judge(token, discharges, utf8(row.root_key), row.exact));
    assert.equal(code === null, row.authorized);
    assert.ok([null, "unsatisfied_caveats", "bad_signature"].includes(code), `${code}`);
  });
});

published.libmacaroons_serialization.cases.forEach((/** @type {any} */ row, /** @type {number} */ number) => {
  test(`libmacaroons serialization ${number}`, () => {
    const macaroon = decodeAny(toBase64url(row.v1));
    for (const text of [toBase64url(row.v2), row.v2j]) assert.equal(encode(decodeAny(text)), encode(macaroon));
    assert.equal(encodeBase64(encodeBinary(macaroon)), toBase64url(row.v2));
  });
});

test("padding and the standard alphabet are refused in a token's text", async () => {
  const texts = [
    ...Object.values(published.go_generated.tokens),
    ...published.libmacaroons_serialization.cases.map((/** @type {any} */ row) => row.v2),
  ].filter((one) => !one.startsWith("{") && one !== toBase64url(one));
  assert.ok(texts.length > 2);
  for (const text of texts) {
    assert.equal(await outcome(() => decodeAny(text)), "malformed_token");
    assert.equal(await outcome(() => decodeAny(toBase64url(text))), null);
  }
});

// verify_scenarios.json

for (const scenario of vectors("verify_scenarios.json").scenarios) {
  scenario.cases.forEach((/** @type {any} */ row, /** @type {number} */ number) => {
    test(`scenario: ${scenario.name}, ${number}`, async () => {
      const key = utf8(scenario.root_key);
      const code = await outcome(() => judge(scenario.root_v2, scenario.discharges_v2, key, row.satisfied));
      // The whole tree is authenticated before any caveat is judged, so a superfluous discharge is named first.
      const unused = row.reason_class === "caveat_unmet" && scenario.name === "two discharges for one caveat";
      if (row.outcome === "accept") assert.equal(code, null);
      else assert.ok((unused ? ["unused_discharge"] : STAGES[row.reason_class]).includes(code), `${code}`);
    });
  });
}

// parser_cases.json

const parser = vectors("parser_cases.json");
const SIGNATURE = Uint8Array.from({ length: 32 }, (_, at) => at + 1);

/** @param {Uint8Array} packets */
function version1(packets) {
  const end = [...utf8("002fsignature "), ...SIGNATURE, 10];
  return Uint8Array.from([...utf8("000elocation \n0011identifier i\n"), ...packets, ...end]);
}

/** @param {Iterable<number>} section */
function version2(section) {
  return Uint8Array.from([2, 2, 1, 0x69, 0, ...section, 0, 6, 32, ...SIGNATURE]);
}

for (const row of parser.v1_packets) {
  test(`v1 packet: ${row.why || row.data}`, async () => {
    if (row.hex) assert.equal(await outcome(() => decodeBytes(version1(unhex(row.hex)))), "malformed_token");
    if (!row.accept) return;
    const size = (row.data.length + 9).toString(16).padStart(4, "0");
    const read = decodeBytes(version1(utf8(`${size}cid ${row.data}\n`)));
    assert.deepEqual(read.caveats, [utf8(row.data)]);
  });
}

test("a v1 packet of the largest size is over the limit", async () => {
  const packet = utf8(`ffffcid ${"x".repeat(65526)}\n`);
  assert.equal(await outcome(() => decodeBytes(version1(packet))), "limit_exceeded");
});

parser.v2_sections.forEach((/** @type {any} */ row, /** @type {number} */ number) => {
  test(`v2 section ${number}: ${row.why}`, async () => {
    const code = await outcome(() => decodeBytes(version2(unhex(row.hex))));
    assert.equal(code, row.why === "one" ? null : "malformed_token");
  });
});

parser.v2_packets.forEach((/** @type {any} */ row, /** @type {number} */ number) => {
  test(`v2 packet ${number}: ${row.why}`, async () => {
    const packet = unhex(row.hex);
    const readable = row.accept && row.hex !== "00";
    if (packet.length) {
      assert.equal(await outcome(() => decodeBytes(version2([...packet, 0]))), readable ? null : "malformed_token");
    }
    if (!row.accept) {
      const cut = Uint8Array.from([2, 2, 1, 0x69, 0, ...packet]);
      assert.equal(await outcome(() => decodeBytes(cut)), "malformed_token");
    }
  });
});

for (const row of parser.varint) {
  test(`varint: ${row.value}`, async () => {
    const size = Number(row.value);
    const text = unhex(row.hex);
    if (size > 16385) {
      assert.equal(await outcome(() => decodeBytes(version2([2, ...text, 0x78, 0]))), "malformed_token");
      return;
    }
    const predicate = new Uint8Array(size).fill(0x78);
    const binary = version2([2, ...text, ...predicate, 0]);
    assert.deepEqual(encodeBinary(macaroonOf("", utf8("i"), [predicate], SIGNATURE)), binary);
    assert.equal(await outcome(() => decodeBytes(binary)), size <= 1024 ? null : "limit_exceeded");
    const limits = { ...LIMITS, tokenText: 1 << 20, predicate: 1 << 20 };
    assert.deepEqual(decodeBytes(binary, { limits }).caveats, [predicate]);
  });
}

for (const row of parser.base64) {
  test(`base64: ${row.input || "empty"}`, async () => {
    const members = JSON.stringify({ i64: row.input, s64: Buffer.from(SIGNATURE).toString("base64") });
    if (row.accept && row.output) {
      assert.deepEqual(decodeAny(members).identifier, utf8(row.output));
      assert.deepEqual(decodeBase64(toBase64url(row.input)), utf8(row.output));
    }
    const strict = row.input && row.input === toBase64url(row.input);
    assert.equal(await outcome(() => decodeBase64(row.input)), strict ? null : "malformed_token");
    if (!row.accept) assert.equal(await outcome(() => decodeAny(members)), "malformed_token");
  });
}

parser.json_reject.forEach((/** @type {any} */ row, /** @type {number} */ number) => {
  test(`json ${number}: ${row.why}`, async () => {
    assert.equal(await outcome(() => decodeAny(row.json)), "malformed_token");
  });
});

test("equivalent JSON encodings are one macaroon", () => {
  const wanted = interop.macaroons.find((/** @type {any} */ row) => row.name === "third-party-zero-nonce").v2_b64url;
  for (const text of parser.json_equivalent_2p3p) assert.equal(encodeBase64(encodeBinary(decodeAny(text))), wanted);
});

// bakery_caveat_codec.json: the bakery's own tickets travel through as any bytes do

for (const row of vectors("bakery_caveat_codec.json").cases) {
  test(`a bakery's ticket of version ${row.version} travels unchanged`, async () => {
    const ticket = utf8(row.caveat);
    const key = Uint8Array.from(Buffer.from(row.root_key_b64, "base64"));
    const plain = await mint(utf8("root"), "id");
    const macaroon = await requireDischarge(plain, { location: "bakery", key, ticket });
    assert.equal(encode(decodeAny(encode(macaroon))), encode(macaroon));
    const { discharges } = await bind(macaroon, [await mint(key, ticket)]);
    await judge(encode(macaroon), discharges.map(encode), utf8("root"), []);
    const sealed = /** @type {import("../src/index.js").ThirdPartyCaveat} */ (macaroon.caveats[0]);
    const opened = openSecretbox(sealed.vid.subarray(24), sealed.vid.subarray(0, 24), plain.signature);
    assert.deepEqual(opened, hmac(utf8("macaroons-key-generator"), key));
  });
}
