/** Builders and readers as tables: what is sent for each call, and what is made of each answer. No network. */

import assert from "node:assert/strict";
import { inspect as show } from "node:util";
import { test } from "node:test";
import { attenuate, decode, encode, mint } from "../src/index.js";
import * as errors from "../src/client/errors.js";
import { answerOf, problemOf, secondsToWait } from "../src/client/messages.js";
import { Client, calls } from "../src/client/index.js";
import { utf8 } from "../src/bytes.js";

const TOKEN =
  "cav1_AgIoMS5rMS5waG90b3MuMDFLQjVSN00wMEFCQ0RFRkdISktNTlBRUlMuMwACDHVzZXIgPSBhbGljZQACHmV4cGlyZXMgPSAyMDI2LTEyLTAxVDAwOjAwOjAwWgACEHNjb3BlID0gcGhvdG9zOioAAAYg11USwOA7VTEPO5j0vDOWAVyGYz65f2jWVL0UyNF77Vo16rQyw";
const ID = "01KB5R7M00ABCDEFGHJKMNPQRS";
const AT = "2026-11-21T12:00:00Z";

const USER = { username: "alice", is_admin: false, scope: "*", created_at: AT, disabled_at: null };
const LABEL = {
  token_id: ID,
  note: "laptop",
  scope: "photos:read notes:*",
  audience: "photos",
  issued_at: AT,
  expires_at: "2026-11-21T20:00:00Z",
  last_used_at: null,
};
const ISSUED = { ...LABEL, token: TOKEN, user: "alice" };
const JUDGED = {
  index: 2,
  kind: "scope",
  predicate: "scope = photos:read",
  added_by: "holder",
  satisfied: false,
  reason: "the request needs notes:read",
  hint: "a request that needs no more than photos:read",
};
const VERIFIED = {
  granted: false,
  code: "caveats_unsatisfied",
  user: "alice",
  token_id: ID,
  audience: "photos",
  scope: "photos:read",
  issued_at: AT,
  expires_at: AT,
  caveats: [{ ...JUDGED, index: 0, satisfied: true, reason: null, hint: null }, JUDGED],
  branches: ["00".repeat(16)],
};
const ENTRY = { sequence: 7, kind: "token", token_id: ID, branch_id: null, user: null, issued_up_to: null, expires_at: AT };

/** @type {Record<string, [call: any, method: string, path: string, body: unknown, open: boolean]>} */
const BUILT = {
  registerUser: [calls.registerUser("alice", "pw"), "POST", "/v1/users", { username: "alice", password: "pw" }, true],
  "registerUser as admin": [
    calls.registerUser("alice", "pw", { asAdmin: true, mustChangePassword: true }),
    "POST",
    "/v1/users",
    { username: "alice", password: "pw", must_change_password: true },
    false,
  ],
  listUsers: [calls.listUsers(), "GET", "/v1/users", undefined, false],
  changePassword: [
    calls.changePassword("alice", "old", "new"),
    "PUT",
    "/v1/users/alice/password",
    { password: "old", new_password: "new" },
    true,
  ],
  "changePassword as admin": [
    calls.changePassword("alice", null, "new", { mustChangePassword: true }),
    "PUT",
    "/v1/users/alice/password",
    { new_password: "new", must_change_password: true },
    false,
  ],
  disableUser: [calls.disableUser("a/../b c"), "POST", "/v1/users/a%2F..%2Fb%20c/disable", {}, false],
  enableUser: [calls.enableUser("alice"), "POST", "/v1/users/alice/enable", {}, false],
  deleteUser: [calls.deleteUser("alice"), "DELETE", "/v1/users/alice", undefined, false],
  listGroups: [calls.listGroups(), "GET", "/v1/groups", undefined, false],
  getGroup: [calls.getGroup("ops"), "GET", "/v1/groups/ops", undefined, false],
  setGroup: [calls.setGroup("ops", ["alice"]), "PUT", "/v1/groups/ops", { members: ["alice"] }, false],
  deleteGroup: [calls.deleteGroup("ops"), "DELETE", "/v1/groups/ops", undefined, false],
  addGroupMember: [calls.addGroupMember("ops", "bob"), "PUT", "/v1/groups/ops/members/bob", undefined, false],
  removeGroupMember: [calls.removeGroupMember("ops", "bob"), "DELETE", "/v1/groups/ops/members/bob", undefined, false],
  registerAgent: [
    calls.registerAgent("alice", new Uint8Array(32), "build"),
    "POST",
    "/v1/agents",
    { username: "alice", public_key: "A".repeat(43), name: "build" },
    false,
  ],
  listAgents: [calls.listAgents(), "GET", "/v1/agents", undefined, false],
  removeAgent: [calls.removeAgent("01K"), "DELETE", "/v1/agents/01K", undefined, false],
  addClient: [
    calls.addClient("site", { users: ["a"], audiences: ["photos"], scope: ["a:b", "c:d"], longestLife: "1h" }),
    "POST",
    "/v1/clients",
    { name: "site", users: ["a"], groups: [], audiences: ["photos"], scope: "a:b c:d", longest_life: "1h" },
    false,
  ],
  listClients: [calls.listClients(), "GET", "/v1/clients", undefined, false],
  removeClient: [calls.removeClient("x"), "DELETE", "/v1/clients/x", undefined, false],
  dischargeInfo: [calls.dischargeInfo(), "GET", "/discharge/info", undefined, true],
  publicKey: [calls.publicKey(), "GET", "/publickey", undefined, true],
  login: [calls.login("alice", "pw"), "POST", "/v1/tokens", { username: "alice", password: "pw" }, true],
  "login with everything": [
    calls.login("alice", "pw", {
      scope: ["photos:read", "notes:*"],
      audience: "photos",
      expiresIn: "8h",
      caveats: ["path = /a", utf8("note = b")],
      note: "laptop",
    }),
    "POST",
    "/v1/tokens",
    {
      username: "alice",
      password: "pw",
      scope: "photos:read notes:*",
      audience: "photos",
      expires_in: "8h",
      caveats: ["path = /a", "note = b"],
      note: "laptop",
    },
    true,
  ],
  issue: [calls.issue({ scope: "photos:read", expiresIn: 300 }), "POST", "/v1/tokens", { scope: "photos:read", expires_in: 300 }, false],
  issueFor: [
    calls.issueFor("alice", { clientId: "id", clientSecret: "s3cret", scope: "a:b" }),
    "POST",
    "/v1/tokens",
    { client_id: "id", client_secret: "s3cret", user: "alice", scope: "a:b" },
    true,
  ],
  listTokens: [calls.listTokens(), "GET", "/v1/tokens", undefined, false],
  listUserTokens: [calls.listUserTokens("bob"), "GET", "/v1/users/bob/tokens", undefined, false],
  revokeUserToken: [calls.revokeUserToken("bob", "01K"), "DELETE", "/v1/users/bob/tokens/01K", undefined, false],
  renew: [calls.renew(), "POST", "/v1/tokens/renew", {}, false],
  "renew for": [calls.renew({ expiresIn: 60 }), "POST", "/v1/tokens/renew", { expires_in: 60 }, false],
  getToken: [calls.getToken("01K"), "GET", "/v1/tokens/01K", undefined, false],
  deleteToken: [calls.deleteToken("01K"), "DELETE", "/v1/tokens/01K", undefined, false],
  verify: [calls.verify("cav1_x"), "POST", "/v1/verify", { token: "cav1_x" }, true],
  "verify with every fact": [
    calls.verify("cav1_x", {
      scope: ["a:b", "c:d"],
      audience: "photos",
      method: "GET",
      path: "/a",
      host: "h.example",
      clientIp: "10.0.0.1",
      user: "alice",
      extra: { albumId: 42 },
    }),
    "POST",
    "/v1/verify",
    {
      token: "cav1_x",
      scope: "a:b c:d",
      audience: "photos",
      method: "GET",
      path: "/a",
      host: "h.example",
      client_ip: "10.0.0.1",
      user: "alice",
      extra: { albumId: 42 },
    },
    true,
  ],
  verifyMany: [
    calls.verifyMany([["cav1_x"], ["cav1_y", { scope: "a:b" }]]),
    "POST",
    "/v1/verify",
    { tokens: [{ token: "cav1_x" }, { token: "cav1_y", scope: "a:b" }] },
    true,
  ],
  whoami: [calls.whoami(TOKEN), "POST", "/v1/verify", { token: TOKEN, audience: "photos" }, true],
  signIn: [
    calls.signIn("alice", "pw", { scope: ["a:b", "c:d"], note: "x" }),
    "POST",
    "/v1/session",
    { username: "alice", password: "pw", scope: "a:b c:d", note: "x" },
    true,
  ],
  getSession: [calls.getSession("s=x"), "GET", "/v1/session", undefined, true],
  signOut: [calls.signOut("s=x"), "DELETE", "/v1/session", undefined, true],
  revokePresented: [calls.revokePresented(), "POST", "/v1/revocations", { presented: true }, false],
  revokeToken: [calls.revokeToken("01K"), "POST", "/v1/revocations", { token_id: "01K" }, false],
  revokeBranch: [calls.revokeBranch("01K", "00"), "POST", "/v1/revocations", { token_id: "01K", branch_id: "00" }, false],
  revokeUser: [calls.revokeUser("bob"), "POST", "/v1/revocations", { user: "bob" }, false],
  listRevocations: [calls.listRevocations(), "GET", "/v1/revocations", undefined, false],
  registerVerifier: [
    calls.registerVerifier(new Uint8Array(32), "photos", "eu-1"),
    "POST",
    "/v1/verifiers",
    { public_key: "A".repeat(43), audience: "photos", name: "eu-1" },
    false,
  ],
  listVerifiers: [calls.listVerifiers(), "GET", "/v1/verifiers", undefined, false],
  revokeVerifier: [calls.revokeVerifier("01K"), "DELETE", "/v1/verifiers/01K", undefined, false],
  getVerifierKeys: [calls.getVerifierKeys("01K"), "GET", "/v1/verifiers/01K/keys", undefined, true],
  listCounts: [calls.listCounts(), "GET", "/v1/counts", undefined, false],
  listKeys: [calls.listKeys(), "GET", "/v1/keys", undefined, false],
  rotateKeys: [calls.rotateKeys(), "POST", "/v1/keys/rotate", {}, false],
  "rotateKeys now": [calls.rotateKeys({ now: true }), "POST", "/v1/keys/rotate", { now: true }, false],
  retireKey: [calls.retireKey("k1"), "POST", "/v1/keys/k1/retire", {}, false],
  "retireKey by force": [calls.retireKey("k1", { force: true }), "POST", "/v1/keys/k1/retire", { force: true }, false],
  about: [calls.about(), "GET", "/", undefined, true],
  health: [calls.health(), "GET", "/healthz", undefined, true],
  ready: [calls.ready(), "GET", "/readyz", undefined, true],
};

for (const [name, [call, method, path, body, open]] of Object.entries(BUILT)) {
  test(`${name} is built as the service takes it, and shows nothing of its body`, () => {
    assert.deepEqual([call.method, call.path, call.body, !!call.open], [method, path, body, open]);
    assert.ok(!/"pw"|'pw'|s3cret|s=x/.test(show(call) + JSON.stringify(call)));
  });
}

test("every builder is in the table", () => {
  assert.deepEqual(Object.keys(calls).sort(), Object.keys(BUILT).filter((name) => !name.includes(" ")).sort());
});

test("pages are asked for in the query", () => {
  assert.deepEqual(calls.listTokens({ after: "01K", limit: 5 }).query, { after: "01K", limit: 5 });
});

for (const name of ["", ".", "..", "\ud800"]) {
  test(`the name ${JSON.stringify(name)} would climb out of the path and is refused`, () => {
    assert.throws(() => calls.getToken(name), errors.BadRequest);
  });
}

test("a predicate that is not text is refused", () => {
  assert.throws(() => calls.issue({ caveats: [Uint8Array.of(255)] }), { code: "malformed_caveat" });
});

test("any text can be sent: half a character is no reason to fall over", async () => {
  let sent = "";
  const fetch = async (/** @type {any} */ _, /** @type {any} */ { body }) => {
    sent = body;
    return new Response("{}", { status: 400 });
  };
  const client = new Client("https://auth.example", { fetch });
  await assert.rejects(client.login("alice", "pw\ud800\u2028é"), errors.UnexpectedResponse);
  assert.equal(JSON.parse(sent).password, "pw\ud800\u2028é");
});

// Answers

/**
 * The result of a call, from an answer with these members.
 *
 * @param {any} call
 * @param {any} body
 * @param {number} [status]
 * @param {import("../src/index.js").Macaroon} [presented]
 */
async function answer(call, body, status = 200, presented = undefined) {
  const content = JSON.stringify(call.body ?? {});
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(content)));
  const named = call.named ? { ...body, request_sha256: Buffer.from(digest).toString("hex") } : body;
  return answerOf(call, reply(status, JSON.stringify(named)), content, presented);
}

/**
 * @param {number} status
 * @param {string | Uint8Array} body
 * @param {Record<string, string>} [headers]
 */
function reply(status, body, headers = {}) {
  const bytes = typeof body === "string" ? utf8(body) : Uint8Array.from(body);
  return { status, body: bytes, headers: new Headers(headers), origin: "https://auth.example" };
}

test("an issue is read, and members that nobody asks for are ignored", async () => {
  const issued = await answer(calls.issue(), { ...ISSUED, more: "later" }, 201);
  assert.equal(encode(issued.token), TOKEN);
  assert.deepEqual(issued.scopes, ["photos:read", "notes:*"]);
  assert.equal(issued.expiresAt - issued.issuedAt, 8 * 3600_000);
  assert.ok(!("more" in issued) && Object.isFrozen(issued));
});

test("labelled tokens are read, and those of an older service", async () => {
  const more = { status: "revoked", revoked_by: "copy", revoked_at: AT, revoked_copies: 2, unreported_use: true };
  const page = await answer(calls.listTokens(), { tokens: [{ ...LABEL, ...more }, LABEL], next: "01K" });
  const [revoked, older] = page.tokens;
  assert.equal(page.next, "01K");
  assert.deepEqual([revoked.status, revoked.revokedBy, revoked.revokedAt, revoked.revokedCopies], ["revoked", "copy", new Date(AT), 2]);
  assert.deepEqual([older.status, older.revokedBy, older.revokedCopies, older.unreportedUse], ["", null, 0, false]);
});

test("a verification is read", async () => {
  const verified = await answer(calls.verify("t"), VERIFIED);
  assert.deepEqual([verified.granted, verified.scopes, verified.failures.length], [false, ["photos:read"], 1]);
  assert.equal(verified.caveats[0].reason, "");
  assert.equal(verified.failures[0].hint, JUDGED.hint);
});

test("whoami of an expired token is nobody", async () => {
  assert.equal((await answer(calls.whoami(TOKEN), VERIFIED)).user, "alice");
  const expired = { ...JUDGED, kind: "expires", predicate: "expires = 2026-11-21T11:00:00Z" };
  await assert.rejects(answer(calls.whoami(TOKEN), { ...VERIFIED, caveats: [expired] }), { code: "invalid_token" });
});

test("an answer to another question is no answer", async () => {
  const call = calls.verify("t");
  const other = { ...VERIFIED, request_sha256: "00".repeat(32) };
  await assert.rejects(answerOf(call, reply(200, JSON.stringify(other)), JSON.stringify(call.body)), /another request/);
  await assert.rejects(answerOf(call, reply(200, JSON.stringify(VERIFIED)), JSON.stringify(call.body)), /another request/);
});

for (const name of Object.keys(VERIFIED)) {
  test(`a verification without ${name} is ${["code", "issued_at", "expires_at"].includes(name) ? "one" : "none"}`, async () => {
    const { [name]: _, ...body } = /** @type {Record<string, unknown>} */ (VERIFIED);
    const read = answer(calls.verify("t"), body);
    if (["code", "issued_at", "expires_at"].includes(name)) await read;
    else await assert.rejects(read, (error) => error instanceof errors.UnexpectedResponse && error.message.includes(name));
  });
}

for (const [name, value] of /** @type {[string, unknown][]} */ ([
  ["granted", 1],
  ["granted", "true"],
  ["user", null],
  ["user", 7],
  ["scope", ["photos:read"]],
  ["expires_at", "soon"],
  ["expires_at", "2026-11-21T12:00:00"],
  ["expires_at", "2026-13-41T12:00:00Z"],
  ["expires_at", 1],
  ["expires_at", ["2026-11-21T12:00:00Z"]],
  ["caveats", {}],
  ["caveats", [null]],
  ["caveats", [{ ...JUDGED, index: true }]],
  ["caveats", [{ ...JUDGED, index: "2" }]],
  ["branches", [1]],
])) {
  test(`a verification whose ${name} is ${JSON.stringify(value)} is none`, async () => {
    await assert.rejects(answer(calls.verify("t"), { ...VERIFIED, [name]: value }), errors.UnexpectedResponse);
  });
}

for (const body of ["", "null", "[]", "<html>", "{", "[".repeat(100_000), '{"token_id": 1}', Uint8Array.of(255, 254)]) {
  test(`no answer: ${String(body).slice(0, 20)}`, async () => {
    await assert.rejects(answerOf(calls.getToken("01K"), reply(200, body)), errors.UnexpectedResponse);
  });
}

test("an issued token that is none is not repeated, nor what JSON.parse says of a body", async () => {
  const broken = await answer(calls.issue(), { ...ISSUED, token: "cav1_broken" }).catch((error) => error);
  const half = await answerOf(calls.issue(), reply(200, TOKEN)).catch((/** @type {unknown} */ error) => error);
  for (const error of [broken, half]) {
    assert.ok(error instanceof errors.UnexpectedResponse);
    assert.ok(!/cav1_broken|AgIoMS5r/.test(show(error, { depth: 9 })));
  }
});

/** @type {[string, any, any, string | null, RegExp][]} */
const MIXED_UP = [
  ["another user's", calls.login("bob", "pw"), ISSUED, null, /another user/],
  ["for another audience", calls.login("alice", "pw", { audience: "notes" }), ISSUED, null, /another audience/],
  ["that allows more", calls.login("alice", "pw", { scope: "photos:read" }), ISSUED, null, /allows more/],
  ["that allows more than no scope", calls.login("alice", "pw", { scope: "??" }), ISSUED, null, /allows more/],
  ["that lives longer", calls.login("alice", "pw", { expiresIn: "1h" }), ISSUED, null, /lives longer/],
  ["without its caveats", calls.login("alice", "pw", { caveats: ["method = GET"] }), ISSUED, null, /without the caveats/],
  ["of another parent", calls.issue(), ISSUED, TOKEN, /against another/],
  ["that is another copy", calls.renew(), ISSUED, "narrow", /another copy/],
  ["of another id", calls.renew(), { ...ISSUED, token_id: "01KB5R7M00ABCDEFGHJKMNPQRT" }, TOKEN, /another token/],
];

for (const [name, call, body, presented, words] of MIXED_UP) {
  test(`a new token ${name} is no answer`, async () => {
    const token = presented === "narrow" ? await attenuate(TOKEN, { note: "mine" }) : presented;
    const read = answer(call, body, 200, token === null ? undefined : decode(token));
    await assert.rejects(read, (error) => error instanceof errors.UnexpectedResponse && words.test(error.message));
  });
}

test("what is as it was asked is an answer", async () => {
  await answer(calls.login("Alice", "pw", { audience: "photos", scope: "photos:* notes:*", expiresIn: "8h" }), ISSUED);
  await answer(calls.login("alice", "pw", { caveats: ["scope = photos:*", "vendor/kind = x"], expiresIn: "soon" }), ISSUED);
  await answer(calls.renew(), ISSUED, 200, decode(TOKEN));
  await answer(calls.revokePresented(), ENTRY, 201, decode(TOKEN));
  await answer(calls.revokePresented(), ENTRY, 201, await mint(new Uint8Array(32).fill(1), "theirs"));
});

test("a revocation of something else is no answer", async () => {
  const other = { ...ENTRY, token_id: "01KB5R7M00ABCDEFGHJKMNPQRT" };
  await assert.rejects(answer(calls.revokePresented(), other, 201, decode(TOKEN)), /another token/);
  await assert.rejects(answer(calls.revokeToken(ID), other, 201), /another tokenId/);
  await assert.rejects(answer(calls.revokeBranch(ID, "00"), ENTRY, 201), /another branchId/);
  await assert.rejects(answer(calls.getToken("01K"), LABEL), /another tokenId/);
});

test("the rest is read", async () => {
  assert.deepEqual((await answer(calls.registerUser("alice", "pw"), USER, 201)).createdAt, new Date(AT));
  assert.equal((await answer(calls.listUsers(), { users: [USER], next: null })).users[0].username, "alice");
  const key = { id: "k2", state: "published", created_at: AT };
  assert.equal((await answer(calls.listKeys(), { keys: [key] }))[0].keyId, "k2");
  assert.equal(await answer(calls.ready(), { status: "ready" }), undefined);
  assert.equal(await answerOf(calls.changePassword("a", "b", "c"), reply(204, "")), undefined);
  const results = await answer(calls.verifyMany([]), { results: [VERIFIED, { granted: false, code: "invalid_token", token_id: null }] });
  assert.deepEqual(results[1], { granted: false, code: "invalid_token" });
  for (const box of ["not base64!", 7, null]) await assert.rejects(answer(calls.getVerifierKeys("01K"), { box }), /box/);
});

test("nothing is done because something on the way says so: an empty answer is the service's only with 204", async () => {
  for (const status of [200, 201, 202, 206]) {
    for (const body of ["", "<html>Sign in</html>"]) {
      await assert.rejects(answerOf(calls.deleteGroup("ops"), reply(status, body)), errors.UnexpectedResponse);
    }
  }
});

// Problems

/** @type {[number, string, string][]} */
const STATUSES = [
  [400, "bad_request", "BadRequest"],
  [400, "two_credentials", "BadRequest"],
  [401, "invalid_token", "NotAuthenticated"],
  [401, "damaged_token", "NotAuthenticated"],
  [401, "invalid_credentials", "NotAuthenticated"],
  [403, "forbidden", "Forbidden"],
  [403, "wrong_audience", "Forbidden"],
  [404, "not_found", "NotFound"],
  [405, "method_not_allowed", "UnexpectedResponse"],
  [408, "body_timeout", "BadRequest"],
  [409, "conflict", "Conflict"],
  [409, "key_in_use", "Conflict"],
  [413, "too_large", "BadRequest"],
  [415, "unsupported_media_type", "BadRequest"],
  [418, "teapot", "BadRequest"],
  [429, "rate_limited", "RateLimited"],
  [431, "headers_too_large", "BadRequest"],
  [500, "internal", "UnexpectedResponse"],
  [502, "", "Unavailable"],
  [503, "unavailable", "Unavailable"],
  [504, "", "Unavailable"],
];

for (const [status, code, name] of STATUSES) {
  test(`a ${status} ${code} is ${name}`, () => {
    const error = problemOf(reply(status, JSON.stringify({ title: "A title", code, detail: "some words" })));
    assert.deepEqual([error.name, error.status, error.message], [name, status, "some words"]);
    assert.equal(error.code, code || "unavailable");
  });
}

test("each class of error has a code of its own, for when the service said none", () => {
  const classes = Object.values(errors);
  assert.equal(new Set(classes.map(({ code }) => code)).size, classes.length);
  for (const made of classes) assert.equal(new made("words").code, made.code);
});

for (const [header, seconds] of /** @type {[string | null, number | null][]} */ ([
  ["3", 3],
  ["0", 0],
  [null, null],
  ["soon", null],
  ["-1", null],
  ["٣", null],
  ["1".repeat(30), null],
  ["1.5", null],
  ["Sat, 21 Nov 2026 12:00:07 GMT", 7],
  ["Saturday, 21-Nov-26 12:00:07 GMT", 7],
  ["Sat Nov 21 12:00:07 2026", 7],
  ["Sat, 21 Nov 2026 11:59:00 GMT", 0],
  ["Sat, 99 Nov 2026 11:59:00 GMT", null],
  ["Sat, 21 Nov 99999 11:59:00 GMT", null],
])) {
  test(`Retry-After: ${header} is ${seconds} seconds`, () => {
    assert.equal(secondsToWait(header, "Sat, 21 Nov 2026 12:00:00 GMT"), seconds);
  });
}

test("a time to try again without a date is compared with this machine's clock", () => {
  const soon = new Date(Date.now() + 100_000).toUTCString();
  for (const date of [null, "", "today"]) {
    const seconds = secondsToWait(soon, date) ?? 0;
    assert.ok(seconds >= 90 && seconds <= 100);
  }
});

test("a refusal by caveats has every failure, and failures of another shape are none", () => {
  const { satisfied, ...row } = JUDGED;
  const code = "caveats_unsatisfied";
  const error = /** @type {errors.Forbidden} */ (problemOf(reply(403, JSON.stringify({ code, failures: [row] }))));
  assert.deepEqual(error.failures, [{ index: 2, kind: "scope", predicate: row.predicate, addedBy: "holder", reason: row.reason, hint: row.hint }]);
  for (const failures of [null, {}, [1], [{}], "x"]) {
    const odd = /** @type {errors.Forbidden} */ (problemOf(reply(403, JSON.stringify({ code, failures }))));
    assert.deepEqual(odd.failures, []);
  }
});

for (const body of ["", "<html>Sign in</html>", '{"error": "x"}', '{"code": 7, "title": "No"}', '{"code": {}, "detail": []}', "null"]) {
  test(`what has no code was not said by the service: ${body}`, () => {
    for (const status of [401, 403, 407, 408, 413, 421, 425, 502, 503, 504]) {
      const error = problemOf(reply(status, body, { "Retry-After": "7" }));
      assert.ok(error instanceof errors.Unavailable, `${status}`);
      assert.equal(error.retryAfter, 7);
      assert.equal(error.code, "unavailable");
    }
    for (const status of [400, 404, 405, 409, 410, 414, 431, 451, 500]) {
      assert.equal(problemOf(reply(status, body)).name, "UnexpectedResponse", `${status}`);
    }
    assert.equal(problemOf(reply(429, body)).name, "RateLimited");
  });
}

test("no error repeats a token, goes on for ever, or is more than one line", () => {
  assert.equal(new errors.BadRequest("what is cav1_abcd.ef?").message, "what is cav1_...?");
  const detail = `not good: ${TOKEN} \u001b[2J\r\n\u202e\ud800 ${"x ".repeat(2000)}`;
  const error = problemOf(reply(400, JSON.stringify({ code: "bad_request", detail })));
  assert.ok(!error.message.includes(TOKEN.slice(5, 40)) && error.message.length < 1100);
  assert.ok(!/[\p{C}\p{Zl}\p{Zp}]/u.test(error.message), error.message);
});

for (const [location, words] of /** @type {[string | null, RegExp][]} */ ([
  [null, /a redirect, which is not followed/],
  ["/login?next=secret", /a redirect, which is not followed/],
  ["https://other.example:8443/v1/tokens?secret=1", /redirect to https:\/\/other.example:8443,/],
  ["javascript:alert(1)", /a redirect, which is not followed/],
])) {
  test(`a redirect to ${location} is no answer`, () => {
    for (const status of [0, 301, 302, 304, 307, 308]) {
      const error = problemOf(reply(status, "", location === null ? {} : { Location: location }));
      assert.equal(error.name, "UnexpectedResponse");
      assert.match(error.message, words);
      assert.ok(!error.message.includes("secret"));
    }
  });
}
