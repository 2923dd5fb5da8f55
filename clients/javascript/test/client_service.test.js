/** The client and a real service, which the test starts: everything that the client can ask is asked. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inspect as show } from "node:util";
import { after, before, describe, test } from "node:test";
import { attenuate, bind, branchId, decode, encode, inspect, mint, requireDischarge } from "../src/index.js";
import {
  Client,
  Conflict,
  Forbidden,
  InteractionRequired,
  NotAuthenticated,
  NotFound,
  calls,
  tokenFetch,
} from "../src/client/index.js";
import { ADMIN, ALICE, noService, startService } from "./support/service.js";
import { ticketFor } from "./support/tickets.js";

/** @type {Awaited<ReturnType<typeof startService>>} */
let service;
/** @type {Client} */
let alice;
/** @type {Client} */
let admin;

describe("a client and a service", { skip: noService }, () => {
  before(async () => {
    service = await startService();
    alice = new Client(service.url);
    admin = new Client(service.url);
    await alice.register(ALICE.username, ALICE.password);
    await alice.login(ALICE.username, ALICE.password, { expiresIn: "8h" });
    await admin.login(ADMIN.username, ADMIN.password, { scope: "caveats:admin" });
  });

  after(() => service.stop());

  test("a token is issued, narrowed offline, verified and revoked; the one that it came from lives on", async () => {
    const client = new Client(service.url);
    const token = await client.login("alice", ALICE.password, { scope: "photos:*", expiresIn: "8h" });
    assert.deepEqual(inspect(token).authority.scopes, ["photos:*"]);
    const narrow = await attenuate(token, { scope: "photos/42:read", expiresIn: "10m", note: "for the printer" });
    const verified = await client.verify(narrow, { scope: "photos/42:read", method: "GET", path: "/albums/42" });
    assert.equal(verified.granted, true);
    assert.equal(verified.user, "alice");
    assert.equal(verified.branches[verified.branches.length - 1], await branchId(narrow));
    const refused = await client.verify(encode(narrow), { scope: "photos:write" });
    assert.equal(refused.granted, false);
    assert.deepEqual(refused.failures.map(({ kind, addedBy }) => [kind, addedBy]), [["scope", "holder"]]);
    assert.match(refused.failures[0].reason, /needs photos:write/);
    const entry = await client.revoke(narrow);
    assert.deepEqual([entry.kind, entry.branchId, entry.already], ["branch", await branchId(narrow), null]);
    assert.equal((await client.revoke(narrow)).sequence, entry.sequence);
    await assert.rejects(client.verify(narrow), { name: "NotAuthenticated", code: "invalid_token", status: 401 });
    assert.equal((await client.verify(token, { scope: "photos:read" })).granted, true);
    assert.ok(verified.expiresAt instanceof Date);
  });

  test("a token is issued against another one, renewed, listed and revoked by its id", async () => {
    const client = new Client(service.url);
    await client.login("alice", ALICE.password, { expiresIn: "1h" });
    const issued = await client.issue({ scope: ["photos:read", "notes:*"], expiresIn: 300, note: "nightly build" });
    assert.deepEqual([...issued.scopes].sort(), ["notes:*", "photos:read"]);
    assert.ok(issued.expiresAt.getTime() - issued.issuedAt.getTime() <= 300_000);
    const page = await client.tokens({ limit: 10 });
    const record = page.tokens.find(({ tokenId }) => tokenId === issued.tokenId);
    assert.deepEqual([record?.note, record?.status, page.next], ["nightly build", "live", null]);
    assert.equal((await client.send(calls.getToken(issued.tokenId))).note, "nightly build");
    assert.equal((await client.revokeToken(issued.tokenId)).kind, "token");
    assert.equal((await client.send(calls.getToken(issued.tokenId))).revokedBy, "id");
    const before = await client.whoami();
    const renewed = await client.renew(null, { expiresIn: "2h" });
    assert.equal(renewed.tokenId, before.tokenId);
    const now = await client.whoami();
    assert.deepEqual(now.expiresAt, renewed.expiresAt);
    assert.ok(Number(now.expiresAt) > Number(before.expiresAt));
  });

  test("of many tokens each is verified by itself", async () => {
    const token = await alice.issue({ scope: "photos:read" });
    const dead = await alice.issue({ scope: "photos:read" });
    await alice.revoke(dead.token);
    const results = await alice.verifyMany([
      [token.token, { scope: "photos:read" }],
      [token.token, { scope: "photos:write" }],
      [dead.token, { scope: "photos:read" }],
    ]);
    assert.deepEqual(results.map((one) => one.granted), [true, false, false]);
    assert.deepEqual(results[2], { granted: false, code: "invalid_token" });
  });

  test("who is nobody is told so, and whose token has expired too", async () => {
    const client = new Client(service.url);
    await assert.rejects(client.tokens(), { code: "not_authenticated", status: null });
    await assert.rejects(client.whoami(), NotAuthenticated);
    await assert.rejects(client.login("alice", "another password"), { code: "invalid_credentials", status: 401 });
    const narrow = await attenuate((await alice.issue()).token, { expires: "2020-01-01T00:00:00Z" });
    await assert.rejects(client.whoami(narrow), { name: "NotAuthenticated", code: "invalid_token" });
    const foreign = "cav1_AgIoMS5rMS5waG90b3MuMDFLQjVSN00wMEFCQ0RFRkdISktNTlBRUlMuMwACDHVzZXIgPSBhbGljZQACHmV4cGlyZXMgPSAyMDI2LTEyLTAxVDAwOjAwOjAwWgACEHNjb3BlID0gcGhvdG9zOioAAAYg11USwOA7VTEPO5j0vDOWAVyGYz65f2jWVL0UyNF77Vo16rQyw";
    await assert.rejects(client.whoami(foreign), { code: "invalid_token" });
  });

  test("a refusal by caveats says which", async () => {
    const error = await alice.send(calls.listUsers()).catch((one) => one);
    assert.ok(error instanceof Forbidden);
    assert.ok(["caveats_unsatisfied", "forbidden"].includes(error.code));
    const narrow = await attenuate((await alice.issue()).token, { path: "/elsewhere" });
    const refused = await alice.send(calls.listTokens(), { token: narrow }).catch((one) => one);
    assert.ok(refused instanceof Forbidden);
    assert.deepEqual(refused.failures.map(({ kind, addedBy }) => [kind, addedBy]), [["path", "holder"]]);
    assert.equal(refused.code, "caveats_unsatisfied");
  });

  test("an administrator's calls", async () => {
    assert.equal((await admin.register("carol", "a password of carol", { asAdmin: true })).username, "carol");
    await assert.rejects(admin.register("carol", "a password of carol"), (error) => error instanceof Conflict && error.code === "conflict");
    const users = await admin.send(calls.listUsers({ limit: 2 }));
    assert.equal(users.users.length, 2);
    assert.ok(users.next);
    assert.equal((await admin.send(calls.listUsers({ after: users.next }))).users[0].username, "carol");
    assert.ok((await admin.send(calls.disableUser("carol"))).disabledAt instanceof Date);
    assert.equal((await admin.send(calls.enableUser("carol"))).disabledAt, null);
    await admin.changePassword("carol", null, "another password of hers");
    await new Client(service.url).changePassword("carol", "another password of hers", "a third password of hers");
    assert.deepEqual((await admin.send(calls.setGroup("ops", ["alice"]))).members, ["alice"]);
    assert.deepEqual((await admin.send(calls.addGroupMember("ops", "carol"))).members, ["alice", "carol"]);
    assert.deepEqual((await admin.send(calls.removeGroupMember("ops", "alice"))).members, ["carol"]);
    assert.deepEqual((await admin.send(calls.getGroup("ops"))).members, ["carol"]);
    assert.deepEqual((await admin.send(calls.listGroups())).groups.map(({ name }) => name), ["ops"]);
    await admin.send(calls.deleteGroup("ops"));
    await assert.rejects(admin.send(calls.getGroup("ops")), NotFound);
    const agent = await admin.send(calls.registerAgent("carol", new Uint8Array(32).fill(9), "robot"));
    assert.deepEqual((await admin.send(calls.listAgents())).agents, [agent]);
    assert.equal(agent.publicKey.length, 32);
    await admin.send(calls.removeAgent(agent.agentId));
    const labelled = await new Client(service.url).send(calls.login("carol", "a third password of hers", { note: "laptop" }));
    assert.equal((await admin.send(calls.listUserTokens("carol"))).tokens[0].tokenId, labelled.tokenId);
    await admin.send(calls.revokeUserToken("carol", labelled.tokenId));
    assert.equal((await admin.send(calls.revokeUser("carol"))).user, "carol");
    await admin.send(calls.deleteToken(labelled.tokenId));
    const page = await admin.send(calls.listRevocations({ after: 0, limit: 5000 }));
    assert.equal(page.revocations[page.revocations.length - 1].sequence, page.lastSequence);
    await admin.send(calls.deleteUser("carol"));
    await assert.rejects(admin.send(calls.deleteUser("carol")), NotFound);
  });

  test("verifiers, keys and issuing clients", async () => {
    const verifier = await admin.send(calls.registerVerifier(new Uint8Array(32).fill(9), "photos", "eu-1"));
    assert.deepEqual(await admin.send(calls.listVerifiers()), [verifier]);
    assert.ok((await admin.send(calls.getVerifierKeys(verifier.verifierId))).length > 40);
    await admin.send(calls.revokeVerifier(verifier.verifierId));
    await assert.rejects(admin.send(calls.getVerifierKeys(verifier.verifierId)), NotFound);
    assert.ok((await admin.send(calls.listCounts())).some(({ requests }) => requests > 0));
    const [first] = await admin.send(calls.listKeys());
    const second = await admin.send(calls.rotateKeys());
    assert.deepEqual([first.keyId, first.state, second.keyId, second.state], ["k1", "active", "k2", "published"]);
    const busy = await admin.send(calls.retireKey("k1")).catch((error) => error);
    assert.ok(busy instanceof Conflict, String(busy));
    const site = await admin.send(
      calls.addClient("site", { users: ["alice"], audiences: ["photos"], scope: "photos:read", longestLife: "1h" }),
    );
    assert.ok(!show(site).includes(site.clientSecret) && !JSON.stringify(site).includes(site.clientSecret));
    const { clientId, clientSecret } = site;
    const issued = await alice.send(calls.issueFor("alice", { clientId, clientSecret, scope: "photos:read" }));
    assert.deepEqual([issued.user, issued.audience, issued.scopes], ["alice", "photos", ["photos:read"]]);
    assert.equal((await admin.send(calls.listClients())).clients[0].longestLife, 3600);
    await admin.send(calls.removeClient(clientId));
    await assert.rejects(alice.whoami(issued.token), { code: "invalid_token" });
  });

  test("what anybody may ask", async () => {
    const client = new Client(`${service.url}/`);
    assert.equal((await client.send(calls.about())).service, "Caveats");
    await client.send(calls.health());
    await client.send(calls.ready());
    const { publicKey, version } = await client.send(calls.dischargeInfo());
    assert.deepEqual([publicKey, version], [await client.send(calls.publicKey()), 3]);
    assert.deepEqual(await client.thirdParty(), { location: service.url, publicKey, version });
  });

  test("a copy is revoked by its branch id", async () => {
    const { token, tokenId } = await alice.issue({ note: "to be copied" });
    const copy = await attenuate(token, { note: "copy" });
    await alice.send(calls.revokeBranch(tokenId, await branchId(copy)));
    await assert.rejects(alice.verify(copy), NotAuthenticated);
    assert.equal((await alice.verify(token)).granted, true);
  });

  test("a session lives in a cookie, which no log and no JSON shows", async () => {
    const client = new Client(service.url);
    const session = await client.signIn("alice", ALICE.password, { scope: "photos:*" });
    const cookie = /** @type {string} */ (session.cookie);
    assert.match(cookie, /^__Host-caveats-session\S*=\S+$/);
    assert.ok(!show(session).includes(cookie) && !JSON.stringify(session).includes(cookie));
    assert.ok(!show(calls.getSession(cookie)).includes(cookie));
    assert.equal((await client.send(calls.getSession(cookie))).user, "alice");
    await client.send(calls.signOut(cookie));
    await assert.rejects(client.send(calls.getSession(cookie)), NotAuthenticated);
  });

  test("a client that presents the browser's cookie signs in, lists, and signs out", async () => {
    /** What a browser does with cookies and the header Origin; fetch in Node keeps none. @type {string | null} */
    let jar = null;
    /** @type {typeof fetch} */
    const browser = async (url, init) => {
      const headers = new Headers(init?.headers);
      if (init?.credentials === "include" && jar) headers.set("Cookie", jar);
      if (init?.credentials === "include") headers.set("Origin", service.url);
      assert.ok(!headers.has("Authorization"));
      const response = await fetch(url, { ...init, headers });
      const set = init?.credentials === "include" ? response.headers.get("set-cookie") : null;
      if (set) jar = /max-age=0/i.test(set) ? null : set.split(";")[0];
      return response;
    };
    const page = new Client(service.url, { credentials: "include", fetch: browser });
    await page.signIn("alice", ALICE.password);
    assert.ok(jar);
    assert.equal((await page.getSession()).user, "alice");
    assert.ok(Array.isArray((await page.tokens()).tokens));
    const issued = await page.issue({ scope: "photos:read", expiresIn: "5m" });
    assert.equal((await page.verify(issued.token, { scope: "photos:read" })).granted, true);
    await page.signOut();
    assert.equal(jar, null);
    await assert.rejects(page.tokens(), { code: "credential_required" });
  });

  test("the service's own third party: who holds a token is known by it, a stranger has to sign in", async () => {
    const { publicKey } = await alice.thirdParty();
    assert.equal(publicKey.length, 32);
    const stranger = new Client(service.url);
    const guarded = await bakeryToken(service.url, publicKey);
    const unbound = await alice.collect(guarded);
    assert.equal(unbound.discharges.length, 1);
    const bundle = await alice.discharge(guarded, { attenuate: { note: "narrow" } });
    assert.equal(bundle.discharges.length, 1);
    assert.notDeepEqual(bundle.discharges[0].signature, (await bind(guarded, unbound.discharges)).discharges[0].signature);
    await assert.rejects(stranger.collect(guarded), (error) => error instanceof InteractionRequired && /browser-window/.test(error.message));
  });

  test("a person fills in the form, or signs in on a page that is polled for", async () => {
    const { publicKey } = await alice.thirdParty();
    const stranger = new Client(service.url);
    const guarded = await bakeryToken(service.url, publicKey);
    /** @type {any} */
    let seen;
    const fill = (/** @type {any} */ schema) => {
      seen = schema;
      return { username: "alice", password: ALICE.password };
    };
    assert.equal((await stranger.discharge(guarded, { interact: { fill } })).discharges.length, 1);
    assert.deepEqual(Object.keys(seen).sort(), ["password", "username"]);
    const wrong = { fill: () => ({ username: "alice", password: "wrong password" }) };
    await assert.rejects(stranger.collect(guarded, { interact: wrong }), Forbidden);
    const visit = async (/** @type {string} */ url) => {
      const form = new URLSearchParams({ decision: "allow", username: "alice", password: ALICE.password });
      const answer = await fetch(url, { method: "POST", body: form, redirect: "manual", headers: { Origin: service.url } });
      assert.equal(answer.status, 303);
    };
    assert.equal((await stranger.collect(guarded, { interact: { visit } })).discharges.length, 1);
  });

  test("a token on an app's own requests, at its origin and nowhere else", async () => {
    const { token } = await alice.issue({ scope: "photos:*" });
    const photos = tokenFetch(token, service.url, { narrow: () => ({ method: "GET", expiresIn: "1m" }) });
    const answer = await photos(`${service.url}/v1/authorize?scope=photos/42:read`, { headers: { "X-Original-Method": "GET", "X-Original-URI": "/a" } });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("x-auth-user"), "alice");
  });

  test("no log and no JSON shows a client's token", async () => {
    const text = encode(await new Client(service.url).login("alice", ALICE.password));
    const client = new Client(service.url, { token: text });
    for (const shown of [show(client, { depth: 9, showHidden: true }), JSON.stringify(client), String(client)]) {
      assert.ok(!shown.includes(text.slice(5, 40)), shown);
    }
    assert.equal(client.holdsToken, true);
    assert.equal((await client.whoami()).user, "alice");
    assert.equal((await client.whoami(decode(text))).user, "alice");
  });

  test("the session in the README runs as it stands there", async () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf-8");
    const [, session] = /## Ask the service[^]*?```javascript\n([^]*?)```/.exec(readme) ?? [];
    const shown = [...session.matchAll(/^\((.*)\)\.(.*); \/\/ ("[^"]*"|true)/gm)];
    assert.equal(shown.length, 4);
    const here = session
      .replace(/import (\{.*\}) from "caveats(.*)";/g, (_, names, room) => `const ${names} = await load("${room || "/"}");`)
      .replace("https://auth.example", service.url)
      .replace(/^(\(.*); \/\/ ("[^"]*"|true).*$/gm, "assert.deepEqual($1, $2);");
    const Running = Object.getPrototypeOf(async () => {}).constructor;
    const load = (/** @type {string} */ room) => import(room === "/" ? "../src/index.js" : "../src/client/index.js");
    await new Running("load", "assert", "password", here)(load, assert, ALICE.password);
  });

  test("an address below which there is no service is said to be none", async () => {
    await assert.rejects(new Client(`${service.url}/elsewhere`).send(calls.about()), NotFound);
  });
});

/**
 * A token with a third-party caveat of this service, whose ticket a bakery of version 2 has made.
 *
 * @param {string} location
 * @param {Uint8Array} publicKey
 */
async function bakeryToken(location, publicKey) {
  const { ticket, key } = await ticketFor(publicKey, "is-authenticated-user");
  return requireDischarge(await mint(new Uint8Array(32).fill(1), "root"), { location, key, ticket });
}
