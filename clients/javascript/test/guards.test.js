/** The guards answer every head of the table that Python's guards are held to, through real servers. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import express from "express";
import { attenuate } from "../src/index.js";
import { TokenGuard as FetchGuard, grantOf, problemResponse } from "../src/guards/fetch.js";
import { Problem, TokenGuard as NodeGuard, grantOf as grantOfNode } from "../src/guards/node.js";
import { hmac } from "../src/node.js";
import { Stale, Verifier } from "../src/verify/index.js";
import { APPS, verifierOf } from "./apps.js";
import { KEYS, NOW, TOKEN_ID, issue } from "./issued.js";
import { vectors } from "./support.js";

const REVOKED = `${TOKEN_ID.slice(0, -1)}0`;
const TOKEN = await issue([], { scope: "*" });
const SOCKET = join(mkdtempSync(join(tmpdir(), "caveats-")), "socket");
const PEERS = { stranger: "127.0.0.1", proxy: "127.0.0.2" };

/** @type {Record<string, {tcp: any, unix: string, servers: import("node:http").Server[]}>} */
const served = {};

before(async () => {
  for (const [name, make] of Object.entries(APPS)) {
    const servers = [make(verifierOf({ keyring: KEYS, revoked: REVOKED })), make(verifierOf({ keyring: KEYS, revoked: REVOKED }))];
    servers[0].listen(0, "127.0.0.1");
    servers[1].listen(`${SOCKET}-${name}`);
    await Promise.all(servers.map((server) => once(server, "listening")));
    served[name] = { tcp: servers[0].address(), unix: `${SOCKET}-${name}`, servers };
  }
});

after(() => {
  for (const { servers } of Object.values(served)) for (const server of servers) server.close();
});

/**
 * The answer to a request, byte for byte as it is written here.
 *
 * @param {any} where what `connect` takes
 * @param {string[]} lines
 * @returns {Promise<{status: number, headers: Record<string, string>, body: string}>}
 */
async function ask(where, lines) {
  const socket = connect(where);
  socket.setEncoding("latin1");
  socket.write([...lines, "Connection: close", "", ""].join("\r\n"), "latin1");
  let text = "";
  for await (const chunk of socket) text += chunk;
  const [head, ...rest] = text.split("\r\n\r\n");
  const [first, ...fields] = head.split("\r\n");
  const headers = Object.fromEntries(fields.map((field) => [field.split(":", 1)[0].toLowerCase(), field.slice(field.indexOf(":") + 2)]));
  return { status: Number(first.split(" ")[1]), headers, body: rest.join("\r\n\r\n") };
}

for (const app of Object.keys(APPS)) {
  for (const row of vectors("hostile_heads.json").cases) {
    test(`${app}: ${row.id}`, async () => {
      const token = await attenuate(TOKEN, { caveats: row.caveats.length ? row.caveats : ["note = x"] });
      const where =
        row.peer === "socket"
          ? { path: served[app].unix }
          : { ...served[app].tcp, host: "127.0.0.1", localAddress: PEERS[/** @type {"proxy"} */ (row.peer)] };
      const target = `/photos/42${row.path}${row.query && `?${row.query}`}`;
      const fields = row.headers.map((/** @type {string[]} */ field) => field.join(": ").replaceAll("TOKEN", token));
      const { status, headers, body } = await ask(where, [`GET ${target} HTTP/1.1`, "Host: app.example", ...fields]);
      const expected = app === "hono" ? row.joined : row.answer;
      const problem = status === 200 ? {} : JSON.parse(body);
      assert.deepEqual([status, problem.code ?? null, headers["www-authenticate"] ?? null], Object.values(expected));
      if (status === 200) return;
      assert.equal(headers["content-type"], "application/problem+json");
      assert.equal(headers["cache-control"], "no-store");
      assert.equal(Number(headers["content-length"]), body.length);
      assert.equal(problem.type, `urn:caveats:problem:${problem.code}`);
      assert.ok(!body.includes("cav1_"));
    });
  }
}

test("a route's scopes are filled from its path, and a mount counts for paths as they are sent", async () => {
  const guard = new NodeGuard(new Verifier(KEYS, { hmac }), { now: () => NOW });
  const app = express();
  const router = express.Router();
  router.get(["/:id", "/"], guard.requires("photos/{id}:read"), (request, response) => {
    response.json(grantOfNode(request).user);
  });
  const anything = express.Router().use(guard.middleware({ scopes: "photos:read", public: ["/open"] }), (_, response) => {
    response.json("in");
  });
  app.use("/photos", router);
  app.set("env", "test"); // logs no errors
  app.use("/rewritten", (request, _, next) => ((request.url = "/secret"), next()), anything);
  app.use("/api", anything);
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const where = /** @type {any} */ (server.address());
  /** @param {string} path @param {any} [narrowing] */
  const status = async (path, narrowing) => {
    const token = narrowing && (await attenuate(await issue([], { scope: "*" }), narrowing));
    const lines = [`GET ${path} HTTP/1.1`, "Host: app.example", ...(token ? [`X-Auth-Token: ${token}`] : [])];
    return (await ask(where, lines)).status;
  };
  try {
    assert.equal(await status("/photos/42", { scope: "photos/42:read" }), 200);
    assert.equal(await status("/photos/43", { scope: "photos/42:read" }), 403);
    assert.equal(await status("/photos/42", { path: "/photos/*" }), 200);
    assert.equal(await status("/photos/42%2F1", { scope: "photos/42:read" }), 403);
    assert.equal(await status("/photos/%2A", { scope: "photos:read" }), 403);
    assert.equal(await status("/photos/..", { scope: "photos:read" }), 403);
    assert.equal(await status("/photos/42"), 401);
    assert.equal(await status("/photos/", { note: "x" }), 500); // the route has no such parameter there
    assert.equal(await status("/api", { path: "/api" }), 200);
    assert.equal(await status("/api?x=1", { path: "/api" }), 200);
    assert.equal(await status("/api/x?y=1", { path: "/api/x" }), 200);
    assert.equal(await status("/api/x", { path: "/x" }), 403);
    assert.equal(await status("/api/open"), 200);
    assert.equal(await status("/api//open"), 401);
    assert.equal(await status("/open"), 404);
    assert.equal(await status("/rewritten/a", { path: "/rewritten/secret" }), 200);
    assert.equal(await status("/rewritten/a", { path: "/rewritten/a" }), 403);
  } finally {
    server.close();
  }
});

test("over HTTP/2 the authority is the host", async () => {
  const guard = new NodeGuard(new Verifier(KEYS, { hmac }), { now: () => NOW });
  const listener = guard.protect((request, response) => void response.end(grantOfNode(request).user), { scopes: "photos:read" });
  const server = createHttp2Server(/** @type {any} */ (listener)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const session = connectHttp2(`http://127.0.0.1:${/** @type {any} */ (server.address()).port}`);
  try {
    for (const [authority, caveats, status] of /** @type {[string, any, number][]} */ ([
      ["app.example:443", { host: "app.example", path: "/photos/*", clientIp: "127.0.0.1" }, 200],
      ["evil.example", { host: "app.example" }, 403],
    ])) {
      const stream = session.request({ ":path": "/photos/42", ":authority": authority, "x-auth-token": await attenuate(TOKEN, caveats) });
      const [headers] = await once(stream, "response");
      stream.resume();
      assert.equal(headers[":status"], status);
    }
  } finally {
    session.close();
    server.close();
  }
});

/** @param {string} [target] @param {Record<string, string>} [headers] */
const requested = (target = "/photos/42", headers = { "x-auth-token": TOKEN }) =>
  new Request(`https://app.example${target}`, { headers });

test("a Fetch handler is called with what the platform gives, for requests that their token allows", async () => {
  const guard = new FetchGuard(new Verifier(KEYS), { now: () => NOW });
  const handler = guard.protect(
    (request, env, context) => Response.json([grantOf(request).user, env, context]),
    { scopes: (_, env) => [`${env}:read`], public: ["/open"] },
  );
  assert.deepEqual(await (await handler(requested(), "photos", 2)).json(), ["alice", "photos", 2]);
  assert.equal((await handler(requested("/photos/42", {}), "photos")).status, 401);
  assert.equal((await handler(requested("/x?token=1"), "photos")).status, 400);
  await assert.rejects(async () => handler(requested("/open", {})), TypeError);
  const hosted = { "x-auth-token": await attenuate(TOKEN, { host: "app.example" }) };
  assert.equal((await handler(requested("/", hosted), "photos")).status, 200);
  assert.equal((await handler(requested("/", { ...hosted, host: "evil.example" }), "photos")).status, 403);
  const grant = await guard.judge(requested(), ["photos:read"]);
  assert.equal(grant.user, "alice");
  const refused = await guard.judge(requested("/", {})).catch((error) => error);
  assert.ok(refused instanceof Problem);
  assert.equal(problemResponse(refused).headers.get("www-authenticate"), 'Bearer realm="caveats"');
});

test("a guard that could never be right is not made", () => {
  const verifier = new Verifier(KEYS);
  assert.throws(() => new NodeGuard(verifier, { audience: "notes" }), TypeError);
  for (const trustedProxies of [["10.0.0.1/8"], ["localhost"], ["*"], [""], ["Unix"], "10.0.0.0/8"]) {
    assert.throws(() => new NodeGuard(verifier, { trustedProxies: /** @type {any} */ (trustedProxies) }), TypeError);
  }
  assert.throws(() => new FetchGuard(verifier, { trustedProxies: ["10.0.0.0/8"] }), TypeError);
  const guard = new NodeGuard(verifier);
  for (const scopes of ["photos", "photos:read,write", "photos/{}:read", "", "a:b  c:d"]) {
    assert.throws(() => guard.requires(scopes), { code: "malformed_caveat" });
    assert.throws(() => guard.middleware({ scopes }), { code: "malformed_caveat" });
  }
  assert.throws(() => guard.middleware({ scopes: "photos/{id}:read" }), TypeError);
  for (const path of ["static/*", "/a/../b", "/a//b", "/%61", "*"]) {
    assert.throws(() => guard.middleware({ public: [path] }), { code: "malformed_caveat" });
  }
});

test("an error that says nothing of a token goes up, and what is no grant is none", async () => {
  for (const answer of [undefined, true, { user: "alice" }]) {
    const guard = new FetchGuard({ verify: async () => /** @type {any} */ (answer) });
    await assert.rejects(guard.judge(requested()), { name: "TypeError", message: /answers with a Grant/ });
  }
  const broken = new FetchGuard({ verify: async () => Promise.reject(new RangeError("bug")) });
  await assert.rejects(async () => broken.protect(() => new Response("in"))(requested()), RangeError);
});

for (const [cause, after, detail] of /** @type {[any, string, string | undefined][]} */ ([
  [undefined, "1", undefined],
  [{ retryAfter: 12.9 }, "12", undefined],
  [{ retryAfter: 0.2 }, "1", undefined],
  [{ retryAfter: -5 }, "1", undefined],
  [{ retryAfter: NaN }, "1", undefined],
  [{ retryAfter: "soon" }, "1", undefined],
  [{ retryAfter: 1e9 }, "3600", undefined],
  [{ clock: "this app's clock is 40 s ahead of the service" }, "1", "this app's clock is 40 s ahead of the service"],
])) {
  test(`a verifier that cannot say yes is a 503 for a while: ${JSON.stringify(cause)}`, async () => {
    const guard = new FetchGuard({ verify: async () => Promise.reject(new Stale("of machine db-7", cause)) });
    const answer = await guard.protect(() => new Response("in"))(requested());
    assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, after]);
    const body = await answer.json();
    assert.deepEqual([body.code, body.detail], ["unavailable", detail]);
  });
}

test("a proxy that is not trusted is named in the hint of what it would have told", async () => {
  const token = { "x-auth-token": await attenuate(TOKEN, { clientIp: "192.0.2.7" }), "x-forwarded-for": "192.0.2.7" };
  const verifier = new Verifier(KEYS);
  for (const [options, hint] of /** @type {[any, RegExp][]} */ ([
    [{ peer: () => "127.0.0.1" }, /in: 192\.0\.2\.7; 127\.0\.0\.1 sends X-Forwarded-\*/],
    [{ peer: () => null }, /unix sends/],
    [{}, /give it peer/],
  ])) {
    const guard = new FetchGuard(verifier, { now: () => NOW, ...options });
    const answer = await guard.protect(() => new Response("in"))(requested("/", token));
    const [failure] = (await answer.json()).failures;
    assert.match(failure.hint, hint);
  }
  const trusting = new FetchGuard(verifier, { now: () => NOW, peer: () => "127.0.0.1", trustedProxies: ["127.0.0.1"] });
  assert.equal((await trusting.judge(requested("/", token))).user, "alice");
});

test("a missing discharge says whom to ask, and with what", async () => {
  const { requireDischarge, decode, encode } = await import("../src/index.js");
  const party = { location: "https://third.example", key: new Uint8Array(24).fill(1), ticket: new Uint8Array([0, 255]) };
  const token = encode(await requireDischarge(decode(TOKEN), party));
  const guard = new FetchGuard(new Verifier(KEYS), { now: () => NOW });
  const answer = await guard.protect(() => new Response("in"))(requested("/", { authorization: `Bearer ${token}` }));
  const { code, location, ticket, detail } = await answer.json();
  assert.deepEqual([answer.status, code, location, ticket], [401, "discharge_required", "https://third.example", "AP8"]);
  assert.equal(detail, "a third-party caveat for 'https://third.example' has no discharge");
});
