/**
 * A fetch that puts a token on requests, with the discharges that it needs. Knows origins and headers; `discharge` collects
 * the discharges. Knows no endpoint of the service: the requests are an app's own, to any server.
 *
 * @module
 */

import { CaveatsError } from "../errors.js";
import { expiryOf } from "../inspect.js";
import { bundleOf, decodeBundle, encode } from "../token/bundle.js";
import { checkedAddress } from "./address.js";
import { DISCHARGE_REQUIRED, infoOf, linkIn, macaroonIn, membersOf } from "./discharge/answers.js";
import { encodeHeader } from "./discharge/bakery.js";
import { DISCHARGE_BOUNDS, PROTOCOL, collect, thirdPartiesOf } from "./discharge/protocol.js";
import { BadDischarge } from "./errors.js";
import { readBody, unlessAborted } from "./http.js";

/** @typedef {import("../attenuate.js").Narrowing} Narrowing */
/** @typedef {import("./calls.js").Token} Token */
/** @typedef {import("./discharge/bakery.js").Envelope} Envelope */
/** @typedef {import("./discharge/protocol.js").Collecting} Collecting */
/** @typedef {import("./discharge/protocol.js").Unbound} Unbound */
/** @typedef {import("./http.js").Reply} Reply */

/** How many times one request is sent again with what its answer asked for. */
const ROUNDS = 2;
/** The most paths of an origin that have a macaroon of their own; the one given longest ago goes first. */
const MOST_PATHS = 64;

/**
 * A macaroon, and the discharges that were collected for it.
 *
 * @typedef {object} Held
 * @property {Envelope} envelope
 * @property {boolean} bakery whether it is presented as bakeries take it, in the header `Macaroons`
 * @property {Unbound} [unbound]
 * @property {boolean} [accepted] whether the origin has accepted these discharges
 * @property {Promise<Unbound>} [collecting] shared by all requests that need it at the same moment
 */

/**
 * A fetch that puts a token into `Authorization: Bearer` of the requests to one origin.
 *
 *     const photos = tokenFetch(narrow, "https://photos.example");
 *     await photos("https://photos.example/albums");
 *
 * Scheme, host and port of a request must equal the origin's; all others are sent without the token. Plain http is refused
 * except to this machine. A redirect of a request with the token is not followed: it is the answer, and in browsers an opaque
 * one.
 *
 * Discharges are collected if the token has third-party caveats, or if the origin answers that a macaroon must be
 * discharged: as a bakery does, or with the problem `discharge_required`. They are kept, and bound again for every request.
 * Only third parties in `allow` are asked. Throws `UnusableAddress`, `MalformedToken`; its fetch also a `ClientError`.
 *
 * @param {Token | null} token null if the origin gives its own macaroons
 * @param {string | URL} origin any URL of that origin
 * @param {Omit<Collecting, "signal"> & {narrow?: (request: Request) => Narrowing}} [options] `narrow`: how to narrow the
 *   token that a request presents
 * @returns {typeof globalThis.fetch}
 */
export function tokenFetch(token, origin, { narrow, ...how } = {}) {
  const home = checkedAddress(origin, how.allowHttp).origin;
  const send = how.fetch ?? ((input, init) => globalThis.fetch(input, init));
  const bundle = token === null ? null : bundleOf(token);
  const text = bundle && encode(bundle);
  const needs = bundle !== null && thirdPartiesOf(bundle.macaroon).length > 0;
  /** @returns {Held | null} */
  const fresh = () => bundle && { envelope: { macaroon: bundle.macaroon, tickets: new Map() }, bakery: false };
  let own = narrow || (needs && !bundle.discharges.length) ? fresh() : null;
  /** What the origin wants presented, by path: the newest last. @type {Map<string, Held>} */
  const given = new Map();
  const allow = [...(how.allow ?? [])];
  allow.forEach((each) => checkedAddress(each, how.allowHttp));

  /** What a request to this path presents. @param {string} path */
  const heldFor = (path) => {
    const above = [...given.keys()].filter((each) => isBelow(path, each));
    const longest = above.reduce((best, each) => (each.length > best.length ? each : best), "");
    return given.get(longest) ?? own;
  };

  /**
   * The discharges of a macaroon: those that it has, else new ones.
   *
   * @param {Held} held
   * @returns {Promise<Unbound>}
   */
  const dischargesOf = (held) => {
    if (held.unbound && !held.unbound.discharges.some(hasExpired)) return Promise.resolve(held.unbound);
    held.collecting ??= collect(held.envelope, { ...how, allow })
      .then((unbound) => Object.assign(held, { unbound, accepted: false }).unbound)
      .finally(() => (held.collecting = undefined));
    return held.collecting;
  };

  /**
   * The request with its credentials.
   *
   * @param {Request} request
   * @param {Held | null} held
   */
  const attach = async (request, held) => {
    const { headers } = request;
    // Only where somebody can be asked: from a page, an app at another origin has to allow this header.
    if (allow.length) for (const [name, value] of Object.entries(PROTOCOL)) headers.set(name, value);
    if (held) {
      const unbound = await unlessAborted(dischargesOf(held), request.signal);
      const ready = await (narrow ? await unbound.attenuate(narrow(request)) : unbound).bind();
      if (held.bakery) headers.set("Macaroons", encodeHeader(ready));
      else headers.set("Authorization", `Bearer ${encode(ready)}`);
    } else if (text) headers.set("Authorization", `Bearer ${text}`);
    // A redirect would be followed with what is meant for this address.
    return new Request(request, { redirect: request.redirect === "follow" ? "manual" : request.redirect });
  };

  /**
   * Whether the request is to be sent again, with other credentials.
   *
   * @param {Response} response
   * @param {URL} url
   * @param {Held | null} held what was presented
   */
  const asksAgain = async (response, url, held) => {
    const reply = asks(response) ? await readReply(response, url.origin) : null;
    const wanted = reply && requiredBy(reply, url);
    if (wanted) {
      const { path, ...asked } = wanted;
      if (!isBelow(url.pathname, path)) {
        throw new BadDischarge(`${url.origin} gives a macaroon for other paths than the one asked`);
      }
      for (const each of given.keys()) if (isBelow(url.pathname, each)) given.delete(each);
      given.set(path, asked);
      for (const [oldest] of given) if (given.size > MOST_PATHS) given.delete(oldest);
      return true;
    }
    if (!held && needs && reply && isDischargeRequired(reply)) {
      own ??= fresh();
      return true;
    }
    if (!held?.unbound?.discharges.length) return false;
    const refused = response.status === 401;
    if (!refused) held.accepted = true;
    const again = refused && held.accepted === true;
    if (again) Object.assign(held, { unbound: undefined, accepted: false });
    return again;
  };

  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input, globalThis.document?.baseURI);
    if (url.origin !== home) return send(input, init);
    const request = new Request(input, init);
    const source = /** @type {any} */ (init?.body ?? (input instanceof Request ? input.body : null));
    const repeatable = !(source?.getReader || source?.[Symbol.asyncIterator]);
    for (let left = repeatable ? ROUNDS : 0; ; left--) {
      const held = heldFor(url.pathname);
      const next = left ? request.clone() : request;
      const response = await send(await attach(next, held));
      if (!(await asksAgain(response, url, held)) || !left) return response;
      response.body?.cancel().catch(() => {});
    }
  };
}

/** @param {import("../token/macaroon.js").Macaroon} discharge */
function hasExpired(discharge) {
  const end = expiryOf(discharge);
  return end !== null && Date.parse(end) <= Date.now();
}

/**
 * Whether status and headers say that the body may ask for discharges, in one of the two forms.
 *
 * @param {Response} response
 * @returns {boolean}
 */
function asks({ status, headers }) {
  const kind = (headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();
  if (status !== 401) return false; // fetch gives no 407, with which bakeries answer those who speak an older version
  if (kind === "application/problem+json") return true;
  return kind === "application/json" && headers.get("www-authenticate")?.trim().toLowerCase() === "macaroon";
}

/**
 * A copy of an answer, which stays readable. Throws `BadDischarge` if it is too large.
 *
 * @param {Response} response
 * @param {string} origin
 * @returns {Promise<Reply>}
 */
async function readReply(response, origin) {
  const { status, headers } = response;
  const { largest, seconds } = DISCHARGE_BOUNDS;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new BadDischarge(`${origin} answers too slowly`)), seconds * 1000);
  try {
    const body = await readBody(response.clone(), largest, late.signal);
    if (!body) throw new BadDischarge(`${origin} answers with more than ${largest} bytes`);
    return { status, headers, body, origin };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Whether a reply is the problem `discharge_required`.
 *
 * @param {Reply} reply
 * @returns {boolean}
 */
function isDischargeRequired(reply) {
  return membersOf(reply)?.code === "discharge_required";
}

/**
 * What a first party asks for: a macaroon with its discharges, at this path and below; undefined if it asks for none.
 *
 * Throws `BadDischarge` if the reply is malformed, or names another site.
 *
 * @param {Reply} reply
 * @param {URL} place
 * @returns {Held & {path: string} | undefined}
 */
function requiredBy(reply, place) {
  const info = infoOf(reply, DISCHARGE_REQUIRED);
  if (info) {
    const { Macaroon: macaroon, MacaroonPath: path } = info;
    return { envelope: macaroonIn(place.origin, macaroon), bakery: true, path: pathIn(place, path) };
  }
  const members = membersOf(reply);
  if (members?.code !== "discharge_required" || !("token" in members)) return undefined;
  const { token, path } = members;
  try {
    const { macaroon } = decodeBundle(token);
    return { envelope: { macaroon, tickets: new Map() }, bakery: false, path: pathIn(place, path) };
  } catch (cause) {
    if (!(cause instanceof CaveatsError) || cause instanceof BadDischarge) throw cause;
    throw new BadDischarge(`${place.origin} answers with what is no token`, { cause });
  }
}

/**
 * @param {URL} place
 * @param {unknown} path as an answer names it
 * @returns {string}
 */
function pathIn(place, path) {
  return path ? linkIn(place, path).pathname : place.pathname;
}

/**
 * Whether a path is another one or below it, segment by segment, as cookies' paths are compared.
 *
 * @param {string} path
 * @param {string} above
 * @returns {boolean}
 */
function isBelow(path, above) {
  return path === above || path.startsWith(above.endsWith("/") ? above : `${above}/`);
}
