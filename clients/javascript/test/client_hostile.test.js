/** The client and servers that are none of a caveats service, or that answer slowly, endlessly or elsewhere. */

import assert from "node:assert/strict";
import { inspect as show } from "node:util";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Client, RateLimited, Unavailable, UnexpectedResponse, UnusableAddress, calls } from "../src/client/index.js";
import { attenuate } from "../src/index.js";
import { checkedAddress } from "../src/client/address.js";
import { Site, said } from "./support/site.js";

const TOKEN =
  "cav1_AgIoMS5rMS5waG90b3MuMDFLQjVSN00wMEFCQ0RFRkdISktNTlBRUlMuMwACDHVzZXIgPSBhbGljZQACHmV4cGlyZXMgPSAyMDI2LTEyLTAxVDAwOjAwOjAwWgACEHNjb3BlID0gcGhvdG9zOioAAAYg11USwOA7VTEPO5j0vDOWAVyGYz65f2jWVL0UyNF77Vo16rQyw";
const ID = "01KB5R7M00ABCDEFGHJKMNPQRS";

/**
 * What a call of a client with a token ends in.
 *
 * @param {string} url
 * @param {import("../src/client/client.js").ClientOptions} [options]
 * @returns {Promise<any>}
 */
function failed(url, options) {
  return new Client(url, { token: TOKEN, ...options }).tokens().then(
    () => assert.fail("it did not fail"),
    (error) => error,
  );
}

test("a redirect is not followed, wherever it leads, and nothing is sent there", async (context) => {
  const [site, elsewhere] = [await Site.for(context), await Site.for(context)];
  elsewhere.say(said({ tokens: [], next: null }));
  for (const status of [301, 302, 303, 307, 308]) {
    for (const Location of [`${elsewhere.url}/v1/tokens?x=secret`, "/v1/elsewhere"]) {
      site.say([status, { Location }, ""]);
      const error = await failed(site.url);
      assert.ok(error instanceof UnexpectedResponse);
      assert.match(error.message, /redirect/);
      assert.ok(!error.message.includes("secret"));
    }
  }
  assert.equal(elsewhere.asked.length, 0);
  assert.equal(site.asked.length, 10);
});

test("a redirect that a browser does not show is not followed either", async () => {
  const opaque = Object.defineProperties(new Response(null), { status: { value: 0 }, type: { value: "opaqueredirect" } });
  const error = await failed("https://auth.example", { fetch: async () => opaque });
  assert.ok(error instanceof UnexpectedResponse && /redirect/.test(error.message));
});

test("an answer without end is cut at 8 MiB", async (context) => {
  const site = await Site.for(context);
  let sent = 0;
  site.say((response) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    const more = () => {
      while (!response.destroyed && sent < 500_000_000) {
        sent += 65536;
        if (!response.write(" ".repeat(65536))) return response.once("drain", more);
      }
    };
    more();
  });
  const error = await failed(site.url);
  assert.ok(error instanceof UnexpectedResponse);
  assert.match(error.message, /more than 8388608 bytes/);
  assert.ok(sent < 100_000_000, `${sent} bytes were sent`);
});

test("an answer that is large when it is unpacked is cut as well", async (context) => {
  const site = await Site.for(context);
  site.say([200, { "Content-Encoding": "gzip" }, gzipSync(Buffer.alloc(60_000_000, " "))]);
  const error = await failed(site.url);
  assert.ok(error instanceof UnexpectedResponse);
  assert.match(error.message, /more than 8388608 bytes/);
});

test("an answer in thousands of small pieces is whole", async () => {
  const pieces = (/** @type {number} */ count) => {
    const text = JSON.stringify({ tokens: [], next: "x".repeat(count - 23) });
    assert.equal(text.length, count);
    let at = 0;
    const pull = (/** @type {ReadableStreamDefaultController} */ controller) => {
      if (at === count) controller.close();
      else controller.enqueue(Uint8Array.of(text.charCodeAt(at++)));
    };
    return new Client("https://auth.example", { token: TOKEN, fetch: async () => new Response(new ReadableStream({ pull })) });
  };
  assert.equal((await pieces(20_000).tokens()).next?.length, 20_000 - 23);
});

test("an answer of that size is read", async (context) => {
  const site = await Site.for(context);
  const body = JSON.stringify({ tokens: [], next: null });
  site.say([200, {}, body + " ".repeat(8 * 1024 * 1024 - body.length)]);
  assert.equal((await new Client(site.url, { token: TOKEN }).tokens()).next, null);
});

/** @type {[string, (response: import("node:http").ServerResponse) => void][]} */
const SLOW = [
  ["that never begins", () => {}],
  ["whose body never ends", (response) => void response.writeHead(200).write("{")],
  [
    "that trickles",
    (response) => {
      const timer = setInterval(() => response.write(" "), 20);
      response.once("close", () => clearInterval(timer));
    },
  ],
];

for (const [name, say] of SLOW) {
  test(`an answer ${name} is given up`, async (context) => {
    const site = await Site.for(context);
    site.say(say);
    const began = performance.now();
    const error = await failed(site.url, { timeout: 0.2 });
    assert.ok(error instanceof Unavailable);
    assert.match(error.message, /did not answer within 0.2 seconds/);
    assert.ok(performance.now() - began < 3000);
  });
}

test("a fetch that never answers, and minds no signal, is given up", async () => {
  const error = await failed("https://auth.example", { timeout: 0.1, fetch: () => new Promise(() => {}) });
  assert.ok(error instanceof Unavailable);
});

test("a call is given up with what its signal was aborted with", async (context) => {
  const site = await Site.for(context);
  site.say((response) => void response.writeHead(200).write("{"));
  const client = new Client(site.url, { token: TOKEN });
  const aborting = new AbortController();
  const reason = new Error("the page was left");
  setTimeout(() => aborting.abort(reason), 50);
  await assert.rejects(client.tokens({ signal: aborting.signal }), (error) => error === reason);
  await assert.rejects(client.verify(TOKEN, { signal: aborting.signal }), (error) => error === reason);
  await assert.rejects(client.send(calls.about(), { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(site.asked.length, 1);
});

test("nobody there, and a connection that ends, are unavailable", async (context) => {
  const none = await failed("http://127.0.0.1:1");
  assert.ok(none instanceof Unavailable);
  assert.match(none.message, /cannot reach http:\/\/127.0.0.1:1/);
  assert.ok(none.cause instanceof TypeError);
  const site = await Site.for(context);
  site.say((response) => void response.destroy());
  assert.ok((await failed(site.url)) instanceof Unavailable);
  site.say((response) => {
    response.writeHead(200, { "Content-Length": "100" });
    response.write("{");
    setTimeout(() => response.destroy(), 20);
  });
  assert.ok((await failed(site.url)) instanceof Unavailable);
  site.say([200, { "Content-Encoding": "gzip" }, "no gzip"]);
  assert.ok((await failed(site.url)) instanceof Unavailable);
});

/** @type {[string, import("./support/site.js").Answer, string, string][]} */
const ANSWERS = [
  ["a portal's page", [200, { "Content-Type": "text/html" }, "<html>Sign in to the network</html>"], "UnexpectedResponse", "unexpected_response"],
  ["JSON of another type", [200, { "Content-Type": "text/plain" }, "[]"], "UnexpectedResponse", "unexpected_response"],
  ["nothing", [200, {}, ""], "UnexpectedResponse", "unexpected_response"],
  ["a proxy's 401", [401, { "Content-Type": "text/html", "WWW-Authenticate": "Basic" }, "<html>"], "Unavailable", "unavailable"],
  ["a proxy's 403 in JSON", said({ error: "blocked", message: TOKEN }, 403), "Unavailable", "unavailable"],
  ["another server's 404", [404, {}, "no such page"], "UnexpectedResponse", "unexpected_response"],
  ["an error in HTML", [500, { "Content-Type": "text/html" }, "<h1>Oops</h1>"], "UnexpectedResponse", "unexpected_response"],
  ["a problem with odd members", said({ code: "invalid_token", title: 7, detail: { a: TOKEN }, status: "x" }, 401), "NotAuthenticated", "invalid_token"],
  ["a problem that repeats the token", said({ code: "bad_request", detail: `what is ${TOKEN}` }, 400), "BadRequest", "bad_request"],
  ["a problem under __proto__", [403, {}, '{"__proto__": {"code": "forbidden"}, "failures": 7}'], "Unavailable", "unavailable"],
];

for (const [name, answer, error, code] of ANSWERS) {
  test(`${name} is ${error}`, async (context) => {
    const site = await Site.for(context);
    site.say(answer);
    const found = await failed(site.url);
    assert.deepEqual([found.name, found.code], [error, code]);
    assert.ok(!show(found, { depth: 9, showHidden: true }).includes(TOKEN.slice(5, 40)));
  });
}

test("when to try again is read from seconds and from a date", async (context) => {
  const site = await Site.for(context);
  site.say(said({ code: "rate_limited" }, 429, { "Retry-After": "7" }));
  const limited = await failed(site.url);
  assert.ok(limited instanceof RateLimited);
  assert.equal(limited.retryAfter, 7);
  site.say([503, { "Retry-After": "Sat, 21 Nov 2026 12:00:07 GMT", Date: "Sat, 21 Nov 2026 12:00:00 GMT" }, "busy"]);
  assert.equal((await failed(site.url)).retryAfter, 7);
  site.say([503, { "Retry-After": "soon" }, "busy"]);
  assert.equal((await failed(site.url)).retryAfter, null);
});

test("a call says what it accepts, and asks what anybody may ask without the token", async (context) => {
  const site = await Site.for(context);
  site.say(said({ service: "Caveats", version: "0" }));
  const client = new Client(`${site.url}/below/`, { token: TOKEN });
  await client.send(calls.about());
  await client.send(calls.listUsers({ after: "a&b", limit: 0 })).catch(() => {});
  const [about, list] = site.asked;
  assert.deepEqual([about.path, about.headers.accept, about.headers.authorization], ["/below/", "application/json", undefined]);
  assert.deepEqual([list.path, list.query.get("after"), list.query.get("limit")], ["/below/v1/users", "a&b", "0"]);
  assert.equal(list.headers.authorization, `Bearer ${TOKEN}`);
  assert.equal(list.headers.cookie, undefined);
});

test("an answer is compared with the token that was presented", async (context) => {
  const site = await Site.for(context);
  const times = { issued_at: "2026-11-21T12:00:00Z", expires_at: "2026-11-21T20:00:00Z" };
  const issued = { token: TOKEN, token_id: ID, user: "alice", audience: "photos", scope: "photos:*", ...times };
  const client = new Client(site.url, { token: TOKEN });
  site.say(said(issued));
  assert.equal((await client.renew()).tokenId, ID);
  const narrow = await attenuate(TOKEN, { note: "mine" });
  await assert.rejects(client.renew(narrow), (error) => error instanceof UnexpectedResponse && /another copy/.test(error.message));
  site.say(said({ sequence: 1, kind: "token", token_id: ID.replace(/.$/, "T"), expires_at: times.expires_at }, 201));
  await assert.rejects(client.revoke(TOKEN), (error) => error instanceof UnexpectedResponse && /another token/.test(error.message));
});

for (const address of [
  "",
  "photos.example",
  "/v1",
  "ftp://photos.example",
  "https://",
  "https:photos.example",
  "https:\\\\photos.example",
  " https://photos.example",
  "https://photos.example\nX: 1",
  "https://photos.example:99999",
  7,
  null,
]) {
  test(`${JSON.stringify(address)} is no address`, () => {
    assert.throws(() => checkedAddress(/** @type {any} */ (address)), UnusableAddress);
  });
}

for (const address of [
  "http://photos.example",
  "http://10.0.0.1:8080",
  "http://localhost.evil.example",
  "http://127.0.0.1.evil.example",
  "http://0.0.0.0",
]) {
  test(`plain http to ${address} is refused, unless it is allowed`, () => {
    assert.throws(() => new Client(address), /plain http/);
    new Client(address, { allowHttp: true });
  });
}

test("plain http to this machine is fine", () => {
  for (const address of ["http://localhost", "http://LOCALHOST:1", "http://127.9.9.9:80", "http://[::1]", "http://2130706433"]) {
    assert.ok(new Client(address).url.startsWith("http://"));
  }
});

test("an address with a password is refused and not repeated", () => {
  const refused = (/** @type {string} */ url) => {
    try {
      new Client(url);
    } catch (error) {
      return /** @type {Error} */ (error);
    }
    return assert.fail(url);
  };
  const error = refused("https://alice:hunter2@auth.example");
  assert.ok(error instanceof UnusableAddress && !show(error).includes("hunter2"));
});

for (const token of ["", " ", "nonsense", "cav1_AAAA\r\nX-Evil: 1", TOKEN.slice(0, -1)]) {
  test(`${JSON.stringify(token).slice(0, 24)} is no token and never becomes a header`, async () => {
    const fetch = () => assert.fail("asked");
    const code = token.startsWith("cav1_") ? "damaged_token" : "malformed_token";
    assert.throws(() => new Client("https://auth.example", { token, fetch }), { code });
    await assert.rejects(async () => new Client("https://auth.example", { fetch }).revoke(token), { code });
  });
}
