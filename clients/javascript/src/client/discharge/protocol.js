/**
 * Collects discharges over HTTP: asks third parties for the discharges that a token's third-party caveats need.
 *
 * Requests go only to origins on the list, since anybody may have written a third party's address into a token; and every
 * answer is read as hostile input. The protocol is the bakery's (docs/third-parties.md); tickets of this project's own
 * format are sent the same way. Knows no endpoint of the service.
 *
 *     asking ──discharge──> discharged
 *      │ ▲
 *      │ └──token of a sign-in── identifying      at most twice: as an agent, then as a person
 *      └──"interaction required"──^
 *
 * @module
 */

import { encodeBase64, text as textOf } from "../../bytes.js";
import { attenuate } from "../../attenuate.js";
import { LIMITS } from "../../limits.js";
import { bind } from "../../third_party/bind.js";
import { bundleOf } from "../../token/bundle.js";
import { thirdPartyAddress, checkedAddress } from "../address.js";
import { BadDischarge, Forbidden, InteractionRequired, Unavailable } from "../errors.js";
import { exchange, unlessAborted } from "../http.js";
import { anyBase64, isObject } from "../members.js";
import { INTERACTION_REQUIRED, infoOf, linkIn, macaroonIn, success, tokenIn } from "./answers.js";

/** @typedef {import("../../bytes.js").Bytes} Bytes */
/** @typedef {import("../../token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("../../token/macaroon.js").ThirdPartyCaveat} ThirdPartyCaveat */
/** @typedef {import("../calls.js").Token} Token */
/** @typedef {import("../http.js").Reply} Reply */
/** @typedef {import("../members.js").Members} Members */
/** @typedef {import("./bakery.js").Envelope} Envelope */

/** The version of the bakery's protocol that is spoken. */
export const PROTOCOL = { "Bakery-Protocol-Version": "3" };

/**
 * A third party: its location, its public key (32 bytes), and the version of the protocol that it speaks.
 *
 * @typedef {object} FoundParty
 * @property {string} location
 * @property {Bytes} publicKey
 * @property {number} version
 */

/**
 * How much third parties may take.
 *
 * @typedef {object} DischargeBounds
 * @property {number} requests the most requests for all discharges of one token together
 * @property {number} seconds for these requests together, without the time that people take
 * @property {number} pause seconds between two polls for a person's decision
 * @property {number} largest bytes of an answer
 */

/** @type {Readonly<DischargeBounds>} */
export const DISCHARGE_BOUNDS = { requests: 16, seconds: 10, pause: 1, largest: 65536 };

/**
 * How to show a third party who asks: an agent's key, a form, or a page to visit. They are tried in this order.
 *
 * @typedef {object} Interact
 * @property {import("./agent.js").Agent} [agent]
 * @property {(schema: Members) => Members | Promise<Members>} [fill] fills in a form: takes its schema, which describes
 *   each field by name, and returns the fields' values
 * @property {(url: string) => unknown} [visit] shows a page to a person; what it returns is awaited
 * @property {number} [patience] seconds that people have, for all discharges together; 300 unless given
 */

/**
 * @typedef {object} Collecting
 * @property {Iterable<string | URL>} [allow] the origins of third parties that may be asked
 * @property {Interact} [interact] nobody unless given
 * @property {boolean} [allowHttp] plain http to any machine
 * @property {typeof globalThis.fetch} [fetch] in place of the global one
 * @property {AbortSignal | null} [signal] gives it up
 * @property {Partial<DischargeBounds>} [bounds]
 */

/**
 * A macaroon and its discharges before they are bound: to keep, and to bind again after each narrowing.
 */
export class Unbound {
  #macaroon;
  #discharges;

  /**
   * @param {Macaroon} macaroon
   * @param {readonly Macaroon[]} [discharges]
   */
  constructor(macaroon, discharges = []) {
    this.#macaroon = macaroon;
    this.#discharges = discharges;
  }

  /** The macaroons of the discharges, unbound. */
  get discharges() {
    return this.#discharges;
  }

  /**
   * A narrower copy. Throws as `attenuate` of the library.
   *
   * @param {import("../../attenuate.js").Narrowing} narrowing
   * @param {Parameters<typeof attenuate>[2]} [options]
   * @returns {Promise<Unbound>}
   */
  async attenuate(narrowing, options) {
    return new Unbound(await attenuate(this.#macaroon, narrowing, options), this.#discharges);
  }

  /**
   * The bundle to present.
   *
   * @returns {Promise<Bundle>}
   */
  bind() {
    return bind(this.#macaroon, this.#discharges);
  }
}

/**
 * Whether a token has a third-party caveat and no discharge at all.
 *
 * @param {Bundle} bundle
 * @returns {boolean}
 */
export function lacksDischarges({ macaroon, discharges }) {
  return !discharges.length && thirdPartiesOf(macaroon).length > 0;
}

/**
 * The third-party caveats of a macaroon.
 *
 * @param {Macaroon} macaroon
 * @returns {ThirdPartyCaveat[]}
 */
export function thirdPartiesOf({ caveats }) {
  return /** @type {ThirdPartyCaveat[]} */ (caveats.filter((caveat) => !(caveat instanceof Uint8Array)));
}

/**
 * Every discharge that a token needs, depth first; discharges of discharges too, at most 8 deep.
 *
 * At most 16 requests and 10 seconds, without the time that persons take. Discharges that the token has are collected
 * again. Throws `UnusableAddress`, `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
 *
 * @param {Token | Envelope} token
 * @param {Collecting & {bearers?: Record<string, string>}} [options] `bearers`: by origin, tokens that show there who asks
 * @returns {Promise<Unbound>}
 */
export async function collect(token, options = {}) {
  const { macaroon, tickets } = typeof token === "object" && "tickets" in token ? token : { ...bundleOf(token), tickets: null };
  const discharge = dischargerOf(options);
  const payloads = new Map(tickets);
  /** @type {Macaroon[]} */
  const found = [];
  const asked = new Set();
  const waiting = needed(macaroon, 1);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { caveat, depth } = next;
    const name = encodeBase64(caveat.ticket);
    if (asked.has(name)) throw new BadDischarge("two caveats ask for the same discharge");
    if (depth > LIMITS.depth) throw new BadDischarge(`discharges nest at most ${LIMITS.depth} deep`);
    if (found.length >= LIMITS.discharges) throw new BadDischarge(`at most ${LIMITS.discharges} discharges are asked for`);
    asked.add(name);
    const answer = await discharge(caveat, payloads.get(name));
    if (encodeBase64(answer.macaroon.identifier) !== name) {
      throw new BadDischarge("the answer is not the discharge that was asked for");
    }
    found.push(answer.macaroon);
    waiting.push(...needed(answer.macaroon, depth + 1));
    // A discharge cannot replace an earlier ticket.
    for (const [also, ticket] of answer.tickets) if (!payloads.has(also)) payloads.set(also, ticket);
  }
  return new Unbound(macaroon, found);
}

/**
 * The third-party caveats with their depth, in reverse order: the last one is taken first.
 *
 * @param {Macaroon} macaroon
 * @param {number} depth
 */
function needed(macaroon, depth) {
  return thirdPartiesOf(macaroon).reverse().map((caveat) => ({ caveat, depth }));
}

/**
 * The third party at an address. Throws `UnusableAddress`, `BadDischarge`, `Unavailable`.
 *
 * @param {string} url
 * @param {Omit<Collecting, "allow" | "interact">} [options]
 * @returns {Promise<FoundParty>}
 */
export async function thirdParty(url, options = {}) {
  const { send, placeOf } = sender({ ...options, allow: [url] });
  const place = placeOf(url);
  let reply = await send("GET", new URL("discharge/info", place));
  const old = reply.status === 404;
  if (old) reply = await send("GET", new URL("publickey", place));
  const members = success(reply);
  const { Version: version = old ? 1 : 3 } = members;
  try {
    const publicKey = anyBase64(members, "PublicKey");
    if (publicKey.length !== 32 || !Number.isSafeInteger(version) || version < 1) throw new RangeError("of another size");
    return { location: url.replace(/\/+$/, ""), publicKey, version: Math.min(version, 3) };
  } catch (cause) {
    throw new BadDischarge(`${place.origin} gives no public key, or speaks no version that is known here`, { cause });
  }
}

/**
 * What sends the requests for one token, and counts them and their seconds.
 *
 * @param {Collecting} options
 */
function sender({ allow = [], allowHttp, fetch, signal, bounds: given, interact = {} }) {
  const bounds = { ...DISCHARGE_BOUNDS, ...given };
  const origins = new Set([...allow].map((each) => checkedAddress(each, allowHttp).origin));
  const clock = () => performance.now() / 1000;
  let requests = bounds.requests;
  let until = clock() + bounds.seconds;
  let patience = interact.patience ?? 300;

  /** @param {URL} place counts a request, which may be sent several times */
  const count = (place) => {
    if (!requests--) {
      throw new BadDischarge(`${bounds.requests} requests were not enough: ${place.origin} asks for more`);
    }
  };

  /**
   * @param {string} method
   * @param {URL} url
   * @param {HeadersInit} headers
   * @param {BodyInit | undefined} body
   * @param {number} seconds
   */
  const ask = (method, url, headers, body, seconds) =>
    exchange(
      url,
      { method, headers, body, credentials: "omit" },
      { first: seconds, whole: seconds, largest: bounds.largest, tooLarge: BadDischarge, secret: true },
      { fetch, signal },
    );

  return {
    /** @param {string} location */
    placeOf: (location) => thirdPartyAddress(location, origins, allowHttp),

    /**
     * The reply to one request, which is counted.
     *
     * @param {string} method
     * @param {URL} url
     * @param {Record<string, string>} [headers]
     * @param {BodyInit} [body]
     */
    send(method, url, headers, body) {
      count(url);
      return ask(method, url, { ...PROTOCOL, ...headers }, body, until - clock());
    },

    /**
     * What a person does, whose time is not the third party's.
     *
     * @template T
     * @param {(seconds: number) => T | Promise<T>} does
     * @returns {Promise<T>}
     */
    async person(does) {
      const began = clock();
      const result = await does(patience);
      patience -= clock() - began;
      until += clock() - began;
      return result;
    },

    /**
     * The reply of a place that is polled until somebody has decided. Counted as one request.
     *
     * @param {URL} wait
     * @param {number} seconds
     * @returns {Promise<Reply>}
     */
    async poll(wait, seconds) {
      const end = clock() + seconds;
      for (;;) {
        let cause;
        try {
          const reply = await ask("GET", wait, {}, undefined, end - clock());
          // Only spaces: they kept the connection open, and it ended without an answer.
          const isBlank = reply.body.length > 0 && textOf(reply.body)?.trim() === "";
          if (!NOT_YET.includes(reply.status) && !isBlank) return reply;
        } catch (error) {
          if (!(error instanceof Unavailable)) throw error;
          cause = error; // a reply that was lost can be asked for again
        }
        if (clock() + bounds.pause >= end) throw new Unavailable(`nobody has decided at ${wait.origin} in time`, { cause });
        await unlessAborted(new Promise((resolve) => setTimeout(resolve, bounds.pause * 1000)), signal);
      }
    },

    count,
    interact,
  };
}

/** Statuses after which a decision is asked for again. */
const NOT_YET = [202, 204, 408, 425, 429, 502, 503, 504];

/**
 * What gets the discharge of one caveat, and then of the next: the bounds are for all of them.
 *
 * @param {Collecting & {bearers?: Record<string, string>}} options
 * @returns {(caveat: ThirdPartyCaveat, payload: Bytes | undefined) => Promise<Envelope>} `payload`: the ticket, if the
 *   caveat only names it
 */
function dischargerOf({ bearers = {}, ...options }) {
  const { send, placeOf, person, poll, count, interact } = sender(options);

  /**
   * @param {URL} place
   * @param {Record<string, string>} form
   * @param {Record<string, string>} token
   */
  const question = async (place, form, token) => {
    const there = new URL("discharge", place);
    const bearer = token["token-kind"] === undefined && bearers[place.origin];
    if (bearer) {
      const reply = await send("POST", there, { Authorization: `Bearer ${bearer}` }, new URLSearchParams(form));
      if (![401, 403].includes(reply.status) || infoOf(reply, INTERACTION_REQUIRED)) return reply;
      // That origin does not accept the token: it is asked without it.
    }
    return send("POST", there, {}, new URLSearchParams({ ...form, ...token }));
  };

  /**
   * Shows a page to the person, and polls until they decide.
   *
   * @param {URL} there
   * @param {URL} wait
   * @param {(url: string) => unknown} visit
   */
  const byBrowser = async (there, wait, visit) => {
    count(wait);
    const reply = await person(async (seconds) => {
      const began = performance.now();
      await visit(there.href);
      return poll(wait, seconds - (performance.now() - began) / 1000);
    });
    return success(reply);
  };

  /**
   * Signs in, in the first way that both sides know: the fields of the next request for the discharge. The oldest way gives
   * the discharge itself.
   *
   * @param {URL} place
   * @param {string} location
   * @param {Members} offers
   * @param {boolean} asPerson whether an agent's key has been used: then only a person can sign in
   * @returns {Promise<{token: Record<string, string>} | Envelope>}
   */
  const identify = async (place, location, offers, asPerson) => {
    const { origin } = place;
    const { agent, fill, visit } = interact;
    /** @type {Members} */
    const methods = isObject(offers.InteractionMethods) ? offers.InteractionMethods : {};
    const { agent: key, form, "browser-window": page } = methods;
    const username = asPerson ? undefined : agent?.username(location);
    if (agent && username !== undefined && isObject(key)) {
      const login = linkIn(place, key["login-url"]);
      login.searchParams.set("username", username);
      login.searchParams.set("public-key", agent.publicKey);
      const { macaroon } = success(await send("GET", login));
      return { token: { token64: await agent.prove(macaroonIn(origin, macaroon), origin), "token-kind": "agent" } };
    }
    if (fill && isObject(form)) {
      const there = linkIn(place, form.url);
      const { schema } = success(await send("GET", there));
      if (!isObject(schema) || !Object.values(schema).every(isObject)) {
        throw new BadDischarge(`${origin} gives a form that cannot be read`);
      }
      const fields = await person(() => fill(schema));
      const filled = JSON.stringify({ form: fields });
      const { token } = success(await send("POST", there, { "Content-Type": "application/json" }, filled));
      return { token: tokenIn(origin, isObject(token) ? { kind: token.kind, token64: token.value } : {}) };
    }
    if (visit && isObject(page)) {
      const wait = linkIn(place, page.WaitTokenURL);
      return { token: tokenIn(origin, await byBrowser(linkIn(place, page.VisitURL), wait, visit)) };
    }
    if (visit && !Object.keys(methods).length && offers.VisitURL) {
      const wait = linkIn(place, offers.WaitURL);
      return macaroonIn(origin, (await byBrowser(linkIn(place, offers.VisitURL), wait, visit)).Macaroon);
    }
    const names = Object.keys(methods).sort().slice(0, 8);
    const ways = names.map((name) => name.slice(0, 40)).join(", ");
    const old = offers.VisitURL ? "browser-window" : "nothing known here";
    throw new InteractionRequired(`${origin} wants to know who asks, and offers: ${ways || old}`);
  };

  return async ({ location, ticket }, payload) => {
    const place = placeOf(location);
    const form = binaryField("id", ticket);
    if (payload) form.caveat64 = encodeBase64(payload);
    /** @type {Record<string, string>} */
    let token = {};
    let asPerson = false;
    for (;;) {
      const reply = await question(place, form, token);
      const offers = infoOf(reply, INTERACTION_REQUIRED);
      if (!offers) return macaroonIn(place.origin, success(reply).Macaroon);
      const signedIn = token["token-kind"];
      if (asPerson || (signedIn !== undefined && signedIn !== "agent")) {
        const { status } = reply;
        throw new Forbidden(`${place.origin} does not accept the token that its own sign-in gave`, { status });
      }
      asPerson = signedIn !== undefined;
      const found = await identify(place, location, offers, asPerson);
      if (!("token" in found)) return found;
      token = found.token;
    }
  };
}

/**
 * A field of a form: plain text as it is, other bytes in base64 as `name64`.
 *
 * @param {string} name
 * @param {Bytes} data
 * @returns {Record<string, string>}
 */
function binaryField(name, data) {
  const plain = textOf(data);
  if (plain === undefined || /[\0-\x1f\x7f]/.test(plain)) return { [`${name}64`]: encodeBase64(data) };
  return { [name]: plain };
}
