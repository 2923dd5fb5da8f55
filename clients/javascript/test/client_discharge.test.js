/** Discharges are collected from third parties, and from hostile ones nothing worse than a typed error comes. */

import assert from "node:assert/strict";
import { inspect as show } from "node:util";
import { test } from "node:test";
import { attenuate, authenticate, bind, decodeBundle, encode, inspect, mint, requireDischarge } from "../src/index.js";
import { encodeBase64, utf8 } from "../src/bytes.js";
import {
  BadDischarge,
  BadRequest,
  Client,
  Forbidden,
  InteractionRequired,
  Unavailable,
  UnusableAddress,
  collect,
  parseAgent,
  thirdParty,
  tokenFetch,
} from "../src/client/index.js";
import { decodeLenient } from "../src/token/legacy.js";
import { Site, said } from "./support/site.js";
import { dischargeOf, newKey, ticketFor, toJson } from "./support/tickets.js";

/** @typedef {import("../src/index.js").Macaroon} Macaroon */

const ROOT_KEY = new Uint8Array(32).fill(7);
const KEY = await newKey();
const AGENT = await newKey();
const IN_AN_HOUR = () => `expires = ${new Date(Date.now() + 3600_000).toISOString().slice(0, 19)}Z`;

/**
 * A token that third parties at these locations have to agree to.
 *
 * @param {...string} locations
 * @returns {Promise<Macaroon>}
 */
async function guarded(...locations) {
  let token = await mint(ROOT_KEY, "root");
  for (const location of locations) token = await needing(token, location);
  return token;
}

/**
 * @param {Macaroon} token
 * @param {string} location
 */
async function needing(token, location) {
  const { ticket, key } = await ticketFor(KEY.publicKey, "is-ok");
  return requireDischarge(token, { location, key, ticket });
}

/** A third party that agrees with everything. */
class ThirdParty {
  /** What it offers to who comes without a token. @type {unknown} */
  offers = null;
  decided = true;
  /** Predicates of its discharges. */
  predicates = () => [IN_AN_HOUR()];

  /** @param {Site} site */
  constructor(site) {
    this.site = site;
    site.places.set("/discharge", (asked) => this.discharge(asked));
    site.say(said({ PublicKey: btoa(String.fromCharCode(...KEY.publicKey)), Version: 3 }), "/discharge/info");
    site.places.set("/wait", () => (this.decided ? said({ kind: "browser-window", token: "it was alice" }) : said({}, 503)));
  }

  /**
   * @param {import("./support/site.js").Asked} asked
   * @returns {Promise<import("./support/site.js").Said>}
   */
  async discharge({ form }) {
    if (this.offers && !(form.get("token") === "it was alice" || form.get("token64"))) {
      return said({ Code: "interaction required", Message: "who?", Info: this.offers }, 401);
    }
    return said({ Macaroon: toJson(await this.made(form)) });
  }

  /** @param {URLSearchParams} form */
  async made(form) {
    const ticket = decodeLenient(/** @type {string} */ (form.get("caveat64") ?? form.get("id64")));
    return (await dischargeOf(ticket, KEY, this.predicates())).macaroon;
  }
}

/**
 * @param {import("node:test").TestContext} context
 */
async function there(context) {
  const site = await Site.for(context);
  return { site, third: new ThirdParty(site), near: { allow: [site.url] } };
}

const PAGE = { InteractionMethods: { "browser-window": { VisitURL: "visit?w=1", WaitTokenURL: "/wait?w=1" } } };

// What works

test("a third party discharges, and the bundle is authentic", async (context) => {
  const { site, near } = await there(context);
  const token = await guarded(site.url, site.url);
  const bundle = await (await collect(token, near)).bind();
  await authenticate(bundle, ROOT_KEY);
  const [asked] = site.asked;
  assert.deepEqual([site.paths.length, asked.method, asked.headers["bakery-protocol-version"]], [2, "POST", "3"]);
  assert.deepEqual([asked.headers.authorization, asked.headers.cookie], [undefined, undefined]);
});

test("the client's token goes along to its own service and nowhere else", async (context) => {
  const [own, other] = [await there(context), await there(context)];
  const client = new Client(own.site.url, { token: await mint(ROOT_KEY, "mine") });
  await client.discharge(await guarded(own.site.url, other.site.url), other.near);
  assert.match(own.site.asked[0].headers.authorization ?? "", /^Bearer cav1_/);
  assert.equal(other.site.asked[0].headers.authorization, undefined);
});

test("where its token is not accepted, the client asks without it", async (context) => {
  const { site, third } = await there(context);
  site.places.set("/discharge", (asked) =>
    asked.headers.authorization ? said({ Code: "permission denied" }, 401) : third.discharge(asked),
  );
  const client = new Client(site.url, { token: await mint(ROOT_KEY, "mine") });
  assert.equal((await client.collect(await guarded(site.url))).discharges.length, 1);
  assert.deepEqual(site.asked.map(({ headers }) => !!headers.authorization), [true, false]);
});

test("a token is narrowed before its discharges are bound, and bound again", async (context) => {
  const { site, near } = await there(context);
  const client = new Client("https://auth.example");
  const token = await guarded(site.url);
  const bundle = await client.discharge(encode(token), { ...near, attenuate: { note: "for the printer" } });
  assert.equal(inspect(bundle).caveats[0].predicate, "note = for the printer");
  await authenticate(bundle, ROOT_KEY);
  const unbound = await client.collect(bundle, near); // those that it has are collected again
  await authenticate(await unbound.bind(), ROOT_KEY);
  await authenticate(await (await unbound.attenuate({ note: "x" })).bind(), ROOT_KEY);
  assert.ok(!show(unbound, { depth: 9, showHidden: true }).includes(String(unbound.discharges[0].signature)));
});

test("a token without third-party caveats needs nobody", async () => {
  const fetch = () => assert.fail("asked");
  const bundle = await new Client("https://auth.example", { fetch }).discharge(await guarded());
  assert.equal(bundle.discharges.length, 0);
});

test("a ticket that a caveat only names travels beside its name", async (context) => {
  const { site, third, near } = await there(context);
  const { ticket, key } = await ticketFor(KEY.publicKey, "is-ok", 3);
  const named = await requireDischarge(await mint(ROOT_KEY, "root"), { location: site.url, key, ticket: Uint8Array.of(3, 1) });
  site.places.set("/discharge", async ({ form }) => {
    assert.equal(form.get("id64"), encodeBase64(Uint8Array.of(3, 1)));
    assert.deepEqual(decodeLenient(form.get("caveat64") ?? ""), ticket);
    return said({ Macaroon: { m: toJson(await mint(key, Uint8Array.of(3, 1))), v: 3, ns: "std:" } });
  });
  const tickets = new Map([[encodeBase64(Uint8Array.of(3, 1)), ticket]]);
  const bundle = await (await collect({ macaroon: named, tickets }, near)).bind();
  await authenticate(bundle, ROOT_KEY);
  assert.ok(third);
});

test("a person is taken to a page, and the answer is polled for, through lost replies and empty ones", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = PAGE;
  const waited = [said({}, 503), [200, {}, "   "], [202, {}, ""]];
  site.places.set("/wait", () => /** @type {any} */ (waited.pop()) ?? said({ kind: "x", token: "it was alice" }));
  /** @type {string[]} */
  const visited = [];
  const bounds = { pause: 0.01 };
  await collect(await guarded(site.url), { ...near, bounds, interact: { visit: (url) => visited.push(url) } });
  assert.deepEqual(visited, [`${site.url}/visit?w=1`]);
  assert.deepEqual(site.paths, ["/discharge", "/wait", "/wait", "/wait", "/wait", "/discharge"]);
  assert.equal(site.asked[1].query.get("w"), "1");
});

test("the oldest way to sign in gives the discharge itself", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = { VisitURL: "/visit", WaitURL: `${site.url}/old` };
  site.places.set("/old", async () => said({ Macaroon: toJson(await third.made(site.asked[0].form)) }));
  const unbound = await collect(await guarded(site.url), { ...near, interact: { visit: () => {} } });
  await authenticate(await unbound.bind(), ROOT_KEY);
});

test("a form is filled in", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = { InteractionMethods: { form: { url: "/form" }, ...PAGE.InteractionMethods } };
  site.places.set("/form", ({ method, body }) => {
    if (method === "GET") return said({ schema: { name: { position: 1 } } });
    assert.deepEqual(JSON.parse(body), { form: { name: "alice" } });
    return said({ token: { kind: "form", value: encodeBase64(utf8("it was alice")) } });
  });
  const fill = (/** @type {any} */ schema) => {
    assert.deepEqual(schema, { name: { position: 1 } });
    return { name: "alice" };
  };
  await collect(await guarded(site.url), { ...near, interact: { fill, visit: assert.fail } });
  assert.deepEqual(site.paths, ["/discharge", "/form", "/form", "/discharge"]);
});

for (const version of [2, 3]) {
  test(`an agent shows its key, by a ticket of version ${version}`, async (context) => {
    const { site, third, near } = await there(context);
    third.offers = { InteractionMethods: { agent: { "login-url": "/login" }, ...PAGE.InteractionMethods } };
    const { ticket, key } = await ticketFor(AGENT.publicKey, "true", version);
    const login = await requireDischarge(await mint(ROOT_KEY, "login"), { location: "local", key, ticket });
    site.places.set("/login", ({ query }) => {
      assert.deepEqual([query.get("username"), query.get("public-key")], ["robot", btoa(String.fromCharCode(...AGENT.publicKey))]);
      return said({ macaroon: toJson(login) });
    });
    const agent = await parseAgent(agentFile(site.url));
    await collect(await guarded(site.url), { ...near, interact: { agent, visit: assert.fail } });
    assert.deepEqual(site.paths, ["/discharge", "/login", "/discharge"]);
    const { form } = site.asked[2];
    assert.equal(form.get("token-kind"), "agent");
    const proof = decodeLenient(form.get("token64") ?? "");
    const discharge = await bind(login, [await mint(key, ticket)]);
    assert.equal(encodeBase64(proof.slice(-32)), encodeBase64(discharge.discharges[0].signature));
  });
}

/** @param {string} url */
function agentFile(url) {
  const secret = AGENT.secret;
  return JSON.stringify({
    key: { public: btoa(String.fromCharCode(...AGENT.publicKey)), private: secret },
    agents: [{ url: `${url}/`, username: "robot" }],
  });
}

test("an agent is not sent on, and proves nothing but that it has its key", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = { InteractionMethods: { agent: { "login-url": "/login" } } };
  const agent = await parseAgent(agentFile(site.url));
  const elsewhere = await ticketFor(AGENT.publicKey, "true");
  const more = await ticketFor(AGENT.publicKey, "drop the database");
  const others = await ticketFor(KEY.publicKey, "true");
  const nobodys = { ticket: new Uint8Array(90).fill(2), key: elsewhere.key };
  for (const [location, { ticket, key }] of /** @type {[string, any][]} */ ([
    ["https://elsewhere.example", elsewhere],
    ["local", more],
    ["local", others],
    ["local", nobodys],
    ["local", { ticket: utf8("x"), key: elsewhere.key }],
  ])) {
    const login = await requireDischarge(await mint(ROOT_KEY, "login"), { location, key, ticket });
    site.say(said({ macaroon: toJson(login) }), "/login");
    await assert.rejects(collect(await guarded(site.url), { ...near, interact: { agent } }), (error) => error instanceof BadDischarge && /agent/.test(error.message));
  }
  const stranger = await parseAgent(agentFile("https://elsewhere.example"));
  await assert.rejects(collect(await guarded(site.url), { ...near, interact: { agent: stranger } }), InteractionRequired);
});

test("an agent file is read as the bakery's, and no error or log shows its key", async () => {
  const agent = await parseAgent(agentFile("https://idm.example"));
  assert.deepEqual([agent.username("https://idm.example"), agent.username("https://evil.example")], ["robot", undefined]);
  assert.ok(!show(agent, { depth: 9, showHidden: true }).includes(AGENT.secret));
  const { secret } = AGENT;
  for (const file of [
    "",
    "[]",
    "{}",
    '{"key": 1}',
    '{"key": {"private": "AAAA"}}',
    '{"key": {"private": 7}}',
    "[".repeat(5000),
    `{"key": {"private": "${secret}"}, "agents": [{"url": 7, "username": "x"}]}`,
    `{"key": {"private": "${secret}"}, "agents": [{"url": "x", "username": 7}]}`,
    `{"key": {"private": "${secret}"}, "agents": 7}`,
    `{"key": {"private": "${secret}", "public": "${secret}"}}`,
    `{"key": {"private": "${secret}`,
  ]) {
    const error = await parseAgent(file).catch((one) => one);
    assert.ok(error instanceof TypeError && /agent/.test(error.message), file);
    assert.ok(!show(error).includes(secret));
  }
});

test("without X25519 an agent file is read nowhere, and the error says why", async (context) => {
  const original = crypto.subtle.importKey;
  context.after(() => (crypto.subtle.importKey = original));
  crypto.subtle.importKey = () => Promise.reject(new DOMException("Unrecognized algorithm name", "NotSupportedError"));
  await assert.rejects(parseAgent(agentFile("https://idm.example")), { code: "no_crypto" });
});

test("a third party tells its key, one of the first version at another place", async (context) => {
  const { site } = await there(context);
  const told = await thirdParty(`${site.url}/`);
  assert.deepEqual(told, { location: site.url, publicKey: KEY.publicKey, version: 3 });
  site.say(said({}, 404), "/discharge/info");
  site.say(said({ PublicKey: btoa(String.fromCharCode(...KEY.publicKey)) }), "/publickey");
  assert.equal((await thirdParty(site.url)).version, 1);
  for (const members of [{}, { PublicKey: "AAAA" }, { PublicKey: 7 }, { PublicKey: "A".repeat(43), Version: "3" }, { PublicKey: "A".repeat(43), Version: 0 }]) {
    site.say(said(members), "/discharge/info");
    await assert.rejects(thirdParty(site.url), BadDischarge);
  }
});

// Who is asked, and who is not

test("nothing is sent but to origins on the list", async (context) => {
  const { site } = await there(context);
  const token = await guarded(site.url);
  for (const allow of [[], ["http://127.0.0.1:1"], [site.url.replace("127.0.0.1", "localhost")]]) {
    await assert.rejects(collect(token, { allow }), (error) => error instanceof UnusableAddress && error.unlisted === site.url);
  }
  assert.equal(site.asked.length, 0);
});

for (const location of [
  "",
  "local",
  "javascript:alert(1)",
  "http://idm.example",
  "https://a:b@idm.example",
  "https://idm.example?x=1",
  "https://idm.example#x",
  "https://idm.example\r\nX: 1",
  "https:\\\\idm.example",
  "/discharge",
  "//idm.example",
]) {
  test(`nobody is asked at ${JSON.stringify(location)}`, async () => {
    const token = await requireDischarge(await mint(ROOT_KEY, "root"), { location, key: ROOT_KEY, ticket: utf8("ticket") });
    const fetch = () => assert.fail("asked");
    await assert.rejects(collect(token, { allow: ["https://idm.example"], fetch }), UnusableAddress);
  });
}

test("nobody to show is a typed error, which says what is offered", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = { InteractionMethods: { form: {}, "browser-window": {}, ["x".repeat(100)]: {} } };
  const error = await collect(await guarded(site.url), near).catch((one) => one);
  assert.ok(error instanceof InteractionRequired);
  assert.match(error.message, /offers: browser-window, form, x{40}$/);
});

test("who is not believed after signing in is not asked for ever", async (context) => {
  const { site, near } = await there(context);
  site.say(said({ Code: "interaction required", Info: PAGE }, 401), "/discharge");
  /** @type {string[]} */
  const visited = [];
  const visit = (/** @type {string} */ url) => visited.push(url);
  await assert.rejects(collect(await guarded(site.url), { ...near, interact: { visit } }), (error) => error instanceof Forbidden && /its own sign-in/.test(error.message));
  assert.deepEqual([visited.length, site.paths], [1, ["/discharge", "/wait", "/discharge"]]);
});

// Bounds

test("ever new caveats end after 16 requests, or 8 deep", async (context) => {
  const { site, third, near } = await there(context);
  let count = 40;
  site.places.set("/discharge", async ({ form }) => {
    let made = await third.made(form);
    for (; count; count--) made = await needing(made, site.url);
    return said({ Macaroon: toJson(made) });
  });
  await assert.rejects(collect(await guarded(site.url), near), (error) => error instanceof BadDischarge && /16/.test(error.message));
  assert.equal(site.asked.length, 16);
  site.asked.length = 0;
  site.places.set("/discharge", async ({ form }) => said({ Macaroon: toJson(await needing(await third.made(form), site.url)) }));
  await assert.rejects(collect(await guarded(site.url), near), /8 deep/);
  assert.equal(site.asked.length, 8);
});

test("requests are counted, those of sign-ins too", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = PAGE;
  const token = await guarded(...Array(6).fill(site.url));
  const error = await collect(token, { ...near, interact: { visit: () => {} } }).catch((one) => one);
  assert.ok(error instanceof BadDischarge && /^16 requests were not enough/.test(error.message), String(error));
  assert.equal(site.asked.length, 16);
});

test("a discharge cannot replace an earlier ticket", async (context) => {
  const { site, near } = await there(context);
  const names = [Uint8Array.of(3, 1), Uint8Array.of(3, 2)];
  let token = await mint(ROOT_KEY, "root");
  const tickets = new Map();
  const keys = new Map();
  for (const name of names) {
    const { ticket, key } = await ticketFor(KEY.publicKey, "is-ok");
    token = await requireDischarge(token, { location: site.url, key, ticket: name });
    tickets.set(encodeBase64(name), ticket);
    keys.set(encodeBase64(name), key);
  }
  site.places.set("/discharge", async ({ form }) => {
    const name = decodeLenient(form.get("id64") ?? "");
    const cdata = { [encodeBase64(names[1])]: encodeBase64(utf8("another ticket")) };
    return said({ Macaroon: { m: toJson(await mint(keys.get(encodeBase64(name)), name)), v: 3, cdata } });
  });
  await authenticate(await (await collect({ macaroon: token, tickets }, near)).bind(), ROOT_KEY);
  const sent = site.asked.map(({ form }) => form.get("caveat64"));
  assert.deepEqual(sent, names.map((name) => encodeBase64(tickets.get(encodeBase64(name)))));
});

test("a loop, a ticket that comes again, is an error", async (context) => {
  const { site, third, near } = await there(context);
  const token = await guarded(site.url);
  const [caveat] = token.caveats;
  site.places.set("/discharge", async ({ form }) => {
    const made = await third.made(form);
    const ticket = /** @type {any} */ (caveat).ticket;
    return said({ Macaroon: toJson(await requireDischarge(made, { location: site.url, key: ROOT_KEY, ticket })) });
  });
  await assert.rejects(collect(token, near), /two caveats ask for the same discharge/);
  assert.equal(site.asked.length, 1);
});

test("the time is for all requests together, and a person's is not counted", async (context) => {
  const { site, third, near } = await there(context);
  const slow = async (/** @type {any} */ asked) => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    return third.discharge(asked);
  };
  site.places.set("/discharge", slow);
  const bounds = { seconds: 0.5 };
  await assert.rejects(collect(await guarded(...Array(4).fill(site.url)), { ...near, bounds }), Unavailable);
  assert.ok(site.asked.length <= 3);
  third.offers = PAGE;
  const visit = () => new Promise((resolve) => setTimeout(resolve, 700));
  await collect(await guarded(site.url), { ...near, bounds: { seconds: 0.6 }, interact: { visit } });
});

test("a person who does not come is waited for in vain", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = PAGE;
  third.decided = false;
  const how = { ...near, bounds: { pause: 0.05 }, interact: { visit: () => {}, patience: 0.3 } };
  await assert.rejects(collect(await guarded(site.url), how), (error) => error instanceof Unavailable && /nobody has decided/.test(error.message));
  site.say(() => {}, "/wait"); // and by a place that never answers
  await assert.rejects(collect(await guarded(site.url), how), /nobody has decided/);
});

test("a collection is given up with what its signal was aborted with", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = PAGE;
  third.decided = false;
  const reason = new Error("the page was left");
  const aborting = new AbortController();
  setTimeout(() => aborting.abort(reason), 100);
  const how = { ...near, signal: aborting.signal, interact: { visit: () => {} } };
  await assert.rejects(collect(await guarded(site.url), how), (error) => error === reason);
});

/** @type {[string, (response: import("node:http").ServerResponse) => void][]} */
const TRICKLES = [
  ["headers", (response) => void response.socket?.write("HTTP/1.1 200 OK\r\nX-Slow: x")],
  ["a body", (response) => void response.writeHead(200).write("{")],
];
for (const [name, say] of TRICKLES) {
  test(`${name} without end are cut by the deadline`, async (context) => {
    const { site, near } = await there(context);
    site.say(say, "/discharge");
    await assert.rejects(collect(await guarded(site.url), { ...near, bounds: { seconds: 0.2 } }), (error) => error instanceof Unavailable && /in time/.test(error.message));
  });
}

test("a third party's answer has at most 64 KiB", async (context) => {
  const { site, near } = await there(context);
  site.say([200, {}, " ".repeat(65537)], "/discharge");
  await assert.rejects(collect(await guarded(site.url), near), (error) => error instanceof BadDischarge && /more than 65536 bytes/.test(error.message));
});

// Hostile answers

const OTHERS = [
  "http://127.0.0.1:1/x",
  "https://127.0.0.1/x",
  "http://127.0.0.1/x",
  "//evil.example/x",
  "http://127.0.0.1:PORT@evil.example/x",
  "http://me@127.0.0.1:PORT/x",
  "http://localhost:PORT/x",
  "javascript:alert(1)",
  "file:///etc/passwd",
  "http://[::1/x",
  "/x\r\nX-Evil: 1",
  " /x",
  "http:\\\\evil.example",
  "\\\\evil.example",
  "",
  null,
  7,
  { url: "/x" },
];
for (const which of ["visit", "wait", "login", "form", "old visit", "old wait"]) {
  test(`a ${which} address of another origin is an error, and nothing is sent`, async (context) => {
    const { site, near } = await there(context);
    const agent = await parseAgent(agentFile(site.url));
    const interact = { agent, fill: () => assert.fail("filled"), visit: () => assert.fail("visited") };
    for (const other of OTHERS) {
      const url = typeof other === "string" ? other.replace("PORT", new URL(site.url).port) : other;
      if (which === "old visit" && !url) continue; // then there is no old way
      const page = { VisitURL: "/visit", WaitTokenURL: "/wait" };
      /** @type {Record<string, unknown>} */
      const infos = {
        visit: { InteractionMethods: { "browser-window": { ...page, VisitURL: url } } },
        wait: { InteractionMethods: { "browser-window": { ...page, WaitTokenURL: url } } },
        login: { InteractionMethods: { agent: { "login-url": url } } },
        form: { InteractionMethods: { form: { url } } },
        "old visit": { VisitURL: url, WaitURL: "/wait" },
        "old wait": { VisitURL: "/visit", WaitURL: url },
      };
      site.say(said({ Code: "interaction required", Info: infos[which] }, 401), "/discharge");
      site.asked.length = 0;
      await assert.rejects(collect(await guarded(site.url), { ...near, interact }), (error) => error instanceof BadDischarge && /another site/.test(error.message), String(url));
      assert.deepEqual(site.paths, ["/discharge"]);
    }
  });
}

const MADE = toJson(await mint(ROOT_KEY, "another ticket"));
/** @type {[any, Function, RegExp][]} */
const ANSWERS = [
  [[200, {}, "<html>"], BadDischarge, /other than JSON/],
  [[200, {}, Uint8Array.of(255, 254)], BadDischarge, /other than JSON/],
  [[200, {}, "[".repeat(60000)], BadDischarge, /other than JSON/],
  [[200, {}, "[]"], BadDischarge, /other than JSON/],
  [[200, {}, ""], BadDischarge, /other than JSON/],
  [[204, {}, ""], BadDischarge, /other than JSON/],
  [[200, { "Content-Encoding": "gzip" }, "{}"], Unavailable, /cannot reach/],
  [said({}), BadDischarge, /no macaroon/],
  [said({ Macaroon: null }), BadDischarge, /no macaroon/],
  [said({ Macaroon: "cav1_" }), BadDischarge, /no macaroon/],
  [said({ Macaroon: { m: {}, v: 3 } }), BadDischarge, /no macaroon/],
  [said({ Macaroon: { m: MADE, v: 4 } }), BadDischarge, /no macaroon/],
  [said({ Macaroon: { m: MADE, v: 3, more: 1 } }), BadDischarge, /no macaroon/],
  [said({ Macaroon: { m: MADE, v: 3, cdata: { "!": "AAAA" } } }), BadDischarge, /no macaroon/],
  [said({ Macaroon: { m: MADE, v: 3, cdata: [] } }), BadDischarge, /no macaroon/],
  [said({ Macaroon: MADE }), BadDischarge, /not the discharge that was asked for/],
  [[302, { Location: "http://evil.example/" }, ""], BadDischarge, /redirect/],
  [[307, { Location: "/discharge" }, ""], BadDischarge, /redirect/],
  [[500, {}, "oh"], BadDischarge, /no discharge/],
  [[404, {}, ""], BadDischarge, /no discharge/],
  [[503, { "Retry-After": "7" }, ""], Unavailable, /no discharge/],
  [[401, { "WWW-Authenticate": "Basic" }, "<html>"], Unavailable, /no discharge/],
  [said({ Code: "bad request", Message: "cannot read that ticket" }, 400), BadRequest, /cannot read that ticket/],
  [said({ Code: "permission denied", Message: "no" }, 401), Forbidden, /does not agree: no/],
  [said({ code: "permission denied", message: "no" }, 401), Forbidden, /does not agree: no/],
  [said({ Code: "interaction required" }, 401), InteractionRequired, /nothing known here/],
  [said({ Code: "interaction required", Info: [] }, 401), InteractionRequired, /nothing known here/],
];
test("an answer that is no discharge is a typed error", async (context) => {
  const { site, near } = await there(context);
  for (const [answer, kind, words] of ANSWERS) {
    site.say(answer, "/discharge");
    site.asked.length = 0;
    const error = await collect(await guarded(site.url), near).catch((one) => one);
    assert.ok(error.constructor === kind, `${answer}: ${error}`);
    assert.match(error.message, words);
    assert.equal(site.asked.length, 1);
    if (answer[0] === 503) assert.equal(error.retryAfter, 7);
  }
});

test("what a stranger says can be printed", async (context) => {
  const { site, near } = await there(context);
  for (const words of ["\u001b[2Jno", "\ud800no", "\u202eno", "\r\nno"]) {
    site.say(said({ Code: "permission denied", Message: words }, 401), "/discharge");
    const error = await collect(await guarded(site.url), near).catch((one) => one);
    assert.ok(error instanceof Forbidden && /no$/.test(error.message) && !/\p{C}/u.test(error.message));
  }
});

test("a sign-in that gives no token is a typed error", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = PAGE;
  for (const answer of [{}, { kind: "x" }, { token: "x" }, { kind: 1, token: "x" }, { kind: "x", token: null }, { kind: "x", token: "\ud800" }]) {
    site.say(said(answer), "/wait");
    await assert.rejects(collect(await guarded(site.url), { ...near, interact: { visit: () => {} } }), /no token/);
  }
});

test("what is no form is a typed error", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = { InteractionMethods: { form: { url: "/form" } } };
  for (const schema of [{}, { schema: [] }, { schema: { name: "text" } }, { token: "x" }]) {
    site.say(said(schema), "/form");
    await assert.rejects(collect(await guarded(site.url), { ...near, interact: { fill: () => assert.fail("filled") } }), /a form that cannot be read/);
  }
});

test("where an asker waits is in no error: whoever knows that address can have the discharge", async (context) => {
  const { site, third, near } = await there(context);
  third.offers = { InteractionMethods: { "browser-window": { VisitURL: "/visit/s3cret", WaitTokenURL: "/wait/s3cret" } } };
  for (const answer of [[302, { Location: "/x/s3cret" }, ""], [500, {}, ""], [200, {}, "x"]]) {
    site.say(/** @type {any} */ (answer), "/wait/s3cret");
    const error = await collect(await guarded(site.url), { ...near, interact: { visit: () => {} } }).catch((one) => one);
    assert.ok(error instanceof BadDischarge && !show(error, { depth: 9, showHidden: true }).includes("s3cret"));
  }
  const fetch = async () => {
    throw new TypeError("error sending request for url (http://127.0.0.1/wait/s3cret)");
  };
  const error = await collect(await guarded(site.url), { ...near, fetch }).catch((one) => one);
  assert.ok(error instanceof Unavailable && !show(error, { depth: 9, showHidden: true }).includes("s3cret"));
});

// A token on an app's own requests

/** An app that takes bundles as bearer tokens. @param {Site} app */
function appOf(app) {
  /** @type {import("../src/index.js").Bundle[]} */
  const seen = [];
  const state = { closed: false, seen };
  app.places.set("/things", async ({ headers, body }) => {
    try {
      const bundle = decodeBundle((headers.authorization ?? "").replace("Bearer ", ""));
      await authenticate(bundle, ROOT_KEY);
      seen.push(bundle);
      return said({ body }, state.closed ? 401 : 200);
    } catch {
      return said({ status: 401, code: "discharge_required" }, 401, { "Content-Type": "application/problem+json" });
    }
  });
  return state;
}

test("a token is put on requests to its own origin, and on no others", async (context) => {
  const [home, other] = [await Site.for(context), await Site.for(context)];
  [home, other].forEach((site) => site.say(said({})));
  const token = encode(await guarded());
  const photos = tokenFetch(token, `${home.url}/deep/inside`);
  await photos(`${home.url}/albums?x=1`, { headers: { "X-Own": "kept" }, method: "POST", body: "hello" });
  await photos(new Request(`${other.url}/albums`, { method: "POST", body: "theirs" }));
  await photos(new URL(`${home.url.replace("127.0.0.1", "localhost")}/`));
  const [first, second] = home.asked;
  assert.deepEqual([first.headers.authorization, first.headers["x-own"], first.body], [`Bearer ${token}`, "kept", "hello"]);
  assert.equal(first.headers["bakery-protocol-version"], undefined, "nobody could be asked for a discharge");
  assert.equal(second.headers.authorization, undefined);
  assert.equal(other.asked[0].body, "theirs");
  assert.deepEqual([other.asked[0].headers.authorization, other.asked[0].headers["bakery-protocol-version"]], [undefined, undefined]);
  assert.ok(!show(photos, { showHidden: true }).includes(token));
});

test("a redirect of a request with the token is the answer, wherever it leads", async (context) => {
  const [home, other] = [await Site.for(context), await Site.for(context)];
  const photos = tokenFetch(await guarded(), home.url);
  for (const Location of [`${other.url}/x`, "/elsewhere"]) {
    home.say([302, { Location }, ""]);
    assert.equal((await photos(`${home.url}/`)).status, 302);
  }
  assert.deepEqual([home.asked.length, other.asked.length], [2, 0]);
});

test("what is no address, plain http elsewhere and no token are refused at once", () => {
  assert.throws(() => tokenFetch(null, "http://photos.example"), UnusableAddress);
  assert.throws(() => tokenFetch(null, "https://photos.example", { allow: ["http://idm.example"] }), UnusableAddress);
  assert.throws(() => tokenFetch("nonsense", "https://photos.example"), { code: "malformed_token" });
});

test("a token with third-party caveats is discharged once, and bound anew for each narrower copy", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  const app = appOf(home);
  const photos = tokenFetch(await guarded(site.url), home.url, { ...near, narrow: ({ method }) => ({ method }) });
  const answers = await Promise.all([
    photos(`${home.url}/things`),
    photos(`${home.url}/things`, { method: "POST", body: "hello" }),
    photos(new Request(`${home.url}/things`, { method: "PUT", body: "hello" })),
  ]);
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  assert.deepEqual(app.seen.map((bundle) => inspect(bundle).caveats[0].predicate).sort(), ["method = GET", "method = POST", "method = PUT"]);
  assert.deepEqual(site.paths, ["/discharge"]);
});

test("what has expired is collected again, and what is refused after it was good, once", async (context) => {
  const { site, third, near } = await there(context);
  const home = await Site.for(context);
  const app = appOf(home);
  third.predicates = () => ["expires = 2020-01-01T00:00:00Z"];
  const photos = tokenFetch(await guarded(site.url), home.url, near);
  await photos(`${home.url}/things`);
  third.predicates = () => [IN_AN_HOUR()];
  await photos(`${home.url}/things`);
  assert.equal(site.asked.length, 2);
  app.closed = true;
  for (let time = 0; time < 3; time++) assert.equal((await photos(`${home.url}/things`)).status, 401);
  assert.equal(site.asked.length, 3);
  app.closed = false;
  assert.equal((await photos(`${home.url}/things`)).status, 200);
});

test("the problem discharge_required is acted on: the token that comes with it, for the path that it names", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  appOf(home);
  const judged = /** @type {any} */ (home.places.get("/things"));
  const token = encode(await guarded(site.url));
  home.places.set("*", async (asked) => {
    const answer = await judged(asked);
    const members = { code: "discharge_required", token, path: "/" };
    return answer[0] === 401 ? said(members, 401, { "Content-Type": "application/problem+json; charset=utf-8" }) : answer;
  });
  home.places.delete("/things");
  const photos = tokenFetch(encode(await mint(ROOT_KEY, "own")), home.url, near);
  const plain = await photos(`${home.url}/things`, { method: "POST", body: "hello" });
  assert.deepEqual(await plain.json(), { body: "hello" });
  const given = tokenFetch(null, home.url, near);
  assert.equal((await given(`${home.url}/things`)).status, 200);
  assert.equal((await given(`${home.url}/others`)).status, 200);
  assert.equal(site.asked.length, 1, "one collection is enough for all paths");
});

test("a bakery's answer is acted on: the bundle goes into the header Macaroons", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  const token = await guarded(site.url);
  home.places.set("*", async ({ headers }) => {
    const [value] = [headers.macaroons].flat();
    if (value) {
      const members = JSON.parse(atob(value));
      assert.equal(headers.authorization, undefined);
      return said({ count: members.length });
    }
    const info = { Macaroon: toJson(token), MacaroonPath: "/" };
    return said({ Code: "macaroon discharge required", Info: info }, 401, { "WWW-Authenticate": "Macaroon" });
  });
  const photos = tokenFetch(null, home.url, near);
  assert.deepEqual(await (await photos(`${home.url}/things`)).json(), { count: 2 });
  assert.equal(home.asked[0].headers["bakery-protocol-version"], "3");
  assert.deepEqual(await (await photos(`${home.url}/others`)).json(), { count: 2 });
  assert.equal(home.asked.length, 3);
});

test("after two rounds the answer is the answer, and a stream is sent once", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  const members = { code: "discharge_required", token: encode(await guarded(site.url)) };
  home.say(said(members, 401, { "Content-Type": "application/problem+json" }));
  const photos = tokenFetch(null, home.url, near);
  const answer = await photos(`${home.url}/things`);
  assert.deepEqual([answer.status, (await answer.json()).code, home.asked.length], [401, "discharge_required", 3]);
  home.asked.length = 0;
  const body = new Blob(["hello"]).stream();
  await photos(`${home.url}/others`, /** @type {any} */ ({ method: "POST", body, duplex: "half" }));
  assert.deepEqual(home.asked.map((asked) => asked.body), ["hello"]);
});

test("a macaroon for another site or path, and a malformed one, are refused", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  const macaroon = toJson(await guarded(site.url));
  const token = encode(await guarded(site.url));
  const bakery = (/** @type {unknown} */ Info) =>
    said({ Code: "macaroon discharge required", Info }, 401, { "WWW-Authenticate": "Macaroon" });
  const problem = (/** @type {object} */ more) =>
    said({ code: "discharge_required", ...more }, 401, { "Content-Type": "application/problem+json" });
  const paths = ["https://evil.example/", "//evil.example/", "http://127.0.0.1:1/", "http:\\\\evil.example", "https:/x", "/other", "http://[::1", 7];
  for (const answer of [
    ...paths.map((path) => bakery({ Macaroon: macaroon, MacaroonPath: path })),
    ...paths.map((path) => problem({ token, path })),
    bakery({}),
    bakery({ Macaroon: "x" }),
    problem({ token: 7 }),
    problem({ token: "cav1_" }),
    [401, { "Content-Type": "application/problem+json" }, " ".repeat(70000)],
  ]) {
    home.say(/** @type {any} */ (answer));
    home.asked.length = 0;
    await assert.rejects(tokenFetch(null, home.url, near)(`${home.url}/things`), BadDischarge, String(answer));
    assert.equal(home.asked.length, 1);
  }
  assert.equal(site.asked.length, 0);
});

test("any other refusal is handed on, and can be read", async (context) => {
  const home = await Site.for(context);
  for (const answer of [
    said({ Code: "macaroon discharge required" }, 401),
    said({ Code: "macaroon discharge required" }, 401, { "WWW-Authenticate": "Bearer" }),
    said({ Code: "macaroon discharge required" }, 403, { "WWW-Authenticate": "Macaroon" }),
    said({ Code: "something else" }, 401, { "WWW-Authenticate": "Macaroon" }),
    [401, { "WWW-Authenticate": "Macaroon", "Content-Type": "application/json" }, "<html>"],
    [401, { "WWW-Authenticate": "Macaroon" }, "{}"],
    said({ code: "invalid_token" }, 401, { "Content-Type": "application/problem+json" }),
    said({ code: "discharge_required" }, 401, { "Content-Type": "application/problem+json" }),
  ]) {
    home.say(/** @type {any} */ (answer));
    const got = await tokenFetch(await guarded(), home.url)(`${home.url}/things`);
    assert.deepEqual([got.status, await got.text()], [answer[0], answer[2]]);
  }
});

test("many requests at once share one collection, and its error; the next one asks again", async (context) => {
  const { site, third, near } = await there(context);
  const home = await Site.for(context);
  appOf(home);
  site.say([503, { "Retry-After": "7" }, "busy"], "/discharge");
  const photos = tokenFetch(await guarded(site.url), home.url, near);
  const found = await Promise.allSettled(Array.from({ length: 5 }, () => photos(`${home.url}/things`)));
  assert.ok(found.every((one) => one.status === "rejected" && one.reason instanceof Unavailable && one.reason.retryAfter === 7));
  assert.equal(site.asked.length, 1);
  site.places.set("/discharge", (asked) => third.discharge(asked));
  assert.equal((await photos(`${home.url}/things`)).status, 200);
});

test("who gives a request up does not wait for the discharges", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  site.say(() => {}, "/discharge");
  const photos = tokenFetch(await guarded(site.url), home.url, { ...near, bounds: { seconds: 0.5 } });
  await assert.rejects(photos(`${home.url}/things`, { signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
  await assert.rejects(photos(`${home.url}/things`), Unavailable);
});

test("a bundle that is bound already goes out as it is", async (context) => {
  const { site, near } = await there(context);
  const home = await Site.for(context);
  const app = appOf(home);
  const bundle = await (await collect(await guarded(site.url), near)).bind();
  assert.equal((await tokenFetch(bundle, home.url)(`${home.url}/things`)).status, 200);
  assert.equal(encode(app.seen[0]), encode(bundle));
  const early = { ...bundle, macaroon: await attenuate(bundle.macaroon, { note: "later" }) };
  assert.equal((await tokenFetch(early, home.url, near)(`${home.url}/things`)).status, 200, "it is discharged again");
});
