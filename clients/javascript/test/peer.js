/**
 * The JavaScript side of a conversation with another language: reads a JSON value from each line of standard input and
 * answers with one line. The tests in tests/javascript speak to it.
 */

import { createInterface } from "node:readline";
import {
  CaveatsError,
  attenuate,
  authenticate,
  bind,
  branchId,
  decode,
  decodeAny,
  decodeBundle,
  encode,
  inspect,
  parseDuration,
  unsatisfied,
} from "../src/index.js";
import { decodeBase64, hex, unhex } from "../src/bytes.js";
import * as client from "../src/client/index.js";
import { parseAddress, parseHost, plainPath } from "../src/kinds/facts.js";
import { readEnvelope } from "../src/client/discharge/bakery.js";
import { hmac } from "../src/node.js";
import { run } from "../src/hmac.js";
import { openLine } from "../src/follow/pages.js";
import { Registration } from "../src/follow/registration.js";
import { Replica } from "../src/follow/replica.js";
import { AudienceKeyring, MalformedCaveat, RevocationSet, Verifier, standardCheckers } from "../src/verify/index.js";

const CHECKERS = standardCheckers({
  kind: "photos/album",
  read(value) {
    if (!/^[0-9]{1,2}$/.test(value)) throw new MalformedCaveat("the number of an album");
    return value;
  },
  check: (number, { extra }) =>
    extra?.["photos/album"] === number || { reason: "the request is about another album", hint: `album ${number}` },
});

/** @type {Registration} */
let registration;
/** @type {Replica} */
let replica;

/** @type {Record<string, (asked: any) => unknown>} */
const ANSWERS = {
  /** The content of a token. */
  inspect: ({ token, now }) => inspect(decodeBundle(token, { decode: decodeAny }), { now: new Date(now) }),
  /** A token in its one form, from any encoding. */
  decode: ({ token }) => encode(decodeBundle(token, { decode: decodeAny })),
  /** A narrower copy. */
  attenuate: ({ token, narrowing, now }) => attenuate(token, narrowing, { hmac, now: new Date(now) }),
  /** A copy with these predicates, whatever they are. */
  append: async ({ token, predicates }) => encode(await attenuate(decode(token), { caveats: predicates.map(unhex) }, { hmac })),
  /** A bundle of a macaroon and unbound discharges. */
  bind: async ({ token, discharges }) => encode(await bind(token, discharges, { hmac })),
  /** A copy's branch id. */
  branch: ({ token }) => branchId(token, { hmac }),
  /** Facts in the one form in which they are compared, and the seconds of a length of time; null for what is none. */
  facts: ({ path, host, address, duration }) => {
    let seconds = null;
    try {
      seconds = parseDuration(duration);
    } catch (error) {
      if (!(error instanceof CaveatsError)) throw error;
    }
    return [plainPath(path) ?? null, parseHost(host) ?? null, parseAddress(address)?.text ?? null, seconds];
  },
  /** Which caveats refuse a request; what of an authentic token they are, and who added them. */
  judge: async ({ token, key, context }) => {
    const { caveats, addedBy, signatures } = await authenticate(token, unhex(key), { hmac });
    const failures = unsatisfied(caveats, { ...context, now: new Date(context.now) }, { addedBy });
    return { failures, addedBy, caveats: caveats.map(({ text }) => text), signatures: signatures.map(hex) };
  },
  /** A new replica, for a registered verifier. */
  replica({ file }) {
    registration = new Registration(file);
    replica = new Replica();
  },
  /** What a replica makes of a key box or of a line of the feed, and what it knows then; of `tokens` which are revoked. */
  take: async ({ box, line, instant, took, tokens }) => {
    let result;
    try {
      if (box) result = replica.takeBundle(await registration.open(decodeBase64(box)), instant, took);
      else {
        const { page, seal } = await run(openLine(line, replica.keyring ?? new AudienceKeyring("photos", [])), hmac);
        result = replica.takePage(page, seal, instant);
      }
    } catch (error) {
      if (!(error instanceof CaveatsError)) throw error;
      result = error.constructor.name;
    }
    const { epoch, serial, keyIds, clock, place, behind, known, confirmed } = replica;
    const revoked = known && tokens.filter((/** @type {string} */ id) => known.revocations.hitsToken(id));
    return { result, epoch, serial, keyIds, clock, place, behind, confirmed, fresh: known && known.fresh, revoked };
  },
  /** What a verifier says of a token, of which it has not heard and then has. */
  verify: async ({ keys, revoked, token, context, location }) => {
    const verifier = new Verifier(keys, { checkers: CHECKERS, revocations: new RevocationSet(revoked), location, hmac });
    return [await verdict(verifier, token, context), await verdict(verifier, token, context)];
  },
  /** What the client of a service offers. */
  names: () => ({
    calls: Object.keys(client.calls),
    methods: Object.getOwnPropertyNames(client.Client.prototype),
    errors: Object.keys(client).filter((name) => /** @type {any} */ (client)[name].prototype instanceof client.ClientError),
  }),
  /** A bakery's macaroon with the discharges that it needs, and the pages that were visited on the way. */
  collect: async ({ macaroon, ...how }) => {
    const { visited, ...collecting } = await collectingOf(how);
    const unbound = await client.collect(readEnvelope(macaroon), collecting);
    return { bundle: encode(await unbound.bind()), visited };
  },
  /** The answers to requests with a token, or with what their origin asks for. */
  fetch: async ({ token, origin, urls, ...how }) => {
    const { visited, ...collecting } = await collectingOf(how);
    const fetch = client.tokenFetch(token, origin, collecting);
    const answers = [];
    for (const url of urls) {
      const answer = await fetch(url, { method: "POST", body: "hello" });
      answers.push([answer.status, await answer.json()]);
    }
    return { answers, visited };
  },
};

/** @param {{allow: string[], agent?: string, form?: any, visit?: boolean}} how */
async function collectingOf({ allow, agent, form, visit }) {
  /** @type {string[]} */
  const visited = [];
  const interact = {
    ...(agent && { agent: await client.parseAgent(agent) }),
    ...(form && { fill: () => form }),
    ...(visit && { visit: (/** @type {string} */ url) => visited.push(url) }),
  };
  return { allow, interact, visited };
}

/**
 * @param {Verifier} verifier
 * @param {string} token
 * @param {any} context
 */
async function verdict(verifier, token, context) {
  try {
    const grant = await verifier.verify(token, { ...context, now: new Date(context.now) });
    const { user, tokenId, audience, keyId, scopes, issuedAt, expiresAt, caveats } = grant;
    const until = expiresAt && `${expiresAt.toISOString().slice(0, 19)}Z`;
    const texts = caveats.map(({ text }) => text);
    return { user, tokenId, audience, keyId, scopes, issuedAt: issuedAt.getTime(), expiresAt: until, caveats: texts };
  } catch (error) {
    if (!(error instanceof CaveatsError)) throw error;
    const { code, message } = error;
    return { code, message, failures: /** @type {any} */ (error.cause)?.failures ?? [] };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = { answer: await ANSWERS[asked.do](asked) };
  } catch (error) {
    if (!(error instanceof CaveatsError)) throw error;
    answer = { code: error.code, message: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
