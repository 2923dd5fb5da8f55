/**
 * The client of a caveats service: what apps do every day, as methods. Knows how a call is sent; `calls.js` knows the calls.
 *
 * @module
 */

import { bundleOf, encode } from "../token/bundle.js";
import { serviceAddress } from "./address.js";
import * as calls from "./calls.js";
import { collect, lacksDischarges, thirdParty } from "./discharge/protocol.js";
import { NotAuthenticated, UnexpectedResponse } from "./errors.js";
import { exchange } from "./http.js";
import { answerOf } from "./messages.js";

/** @typedef {import("../attenuate.js").Narrowing} Narrowing */
/** @typedef {import("../token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./bodies.js").Issued} Issued */
/** @typedef {import("./calls.js").Page} Page */
/** @typedef {import("./calls.js").RequestFacts} RequestFacts */
/** @typedef {import("./calls.js").Token} Token */
/** @typedef {import("./calls.js").TokenWish} TokenWish */
/** @typedef {import("./discharge/protocol.js").Collecting} Collecting */
/** @typedef {import("./discharge/protocol.js").Unbound} Unbound */
/** @typedef {import("./http.js").Fetch} Fetch */
/**
 * @template T
 * @typedef {import("./messages.js").Call<T>} Call
 */

/**
 * How a client reaches its service.
 *
 * @typedef {object} ClientOptions
 * @property {Token | null} [token] presented until `login` stores another
 * @property {number} [timeout] seconds until an answer begins, 10 unless given. The whole of it may take twice as long
 * @property {"omit" | "include"} [credentials] `include`: while the client holds no token, calls that need a credential
 *   present the browser's session cookie: for pages, after `signIn`
 * @property {boolean} [allowHttp] plain http to any machine, not only to this one
 * @property {Fetch} [fetch] in place of the global one
 */

/** @typedef {{signal?: AbortSignal | null}} Abortable `signal`: gives the call up; it then throws what `signal` was aborted with */

/** The most bytes that an answer of the service may have. */
const LARGEST = 8 * 1024 * 1024;

/**
 * A client of a caveats service.
 *
 *     const client = new Client("https://auth.example");
 *     const token = await client.login("alice", password, { scope: "photos:*", expiresIn: "8h" });
 *
 * `login` stores the token in the client, and every call that needs a credential presents it. Endpoints without a method are
 * reached by `send`. The client follows no redirect and refuses plain http except to this machine. No log and no JSON
 * shows its token. Every method throws a `ClientError`.
 */
export class Client {
  #service;
  /** @type {string | null} */
  #token;
  #options;

  /**
   * Throws `UnusableAddress`, `MalformedToken`.
   *
   * @param {string | URL} url the service's address
   * @param {ClientOptions} [options]
   */
  constructor(url, { token = null, timeout = 10, credentials = "omit", allowHttp = false, fetch } = {}) {
    this.#service = serviceAddress(url, allowHttp);
    this.#token = token === null ? null : textOf(token);
    this.#options = { timeout, credentials, allowHttp, fetch };
  }

  /** The service's address. */
  get url() {
    return this.#service.base;
  }

  /** Whether the client holds a token. */
  get holdsToken() {
    return this.#token !== null;
  }

  /**
   * The result of a call, built by a function of `calls`.
   *
   * @template T
   * @param {Call<T>} call
   * @param {{token?: Token | null} & Abortable} [options] `token`: presented instead of this client's own, if the call
   *   needs a credential
   * @returns {Promise<T>}
   */
  async send(call, { token, signal } = {}) {
    const { origin, base } = this.#service;
    const { timeout, fetch } = this.#options;
    const cookies = this.#options.credentials === "include" && !call.open && (token ?? this.#token) === null;
    const byCookie = call.session || cookies;
    const presented = call.open || byCookie ? null : this.#own(token);
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (presented) headers.Authorization = `Bearer ${presented}`;
    if (call.cookie) Object.assign(headers, { Cookie: call.cookie, Origin: origin }); // not by browsers, which have their own
    const content = call.body && JSON.stringify(call.body);
    if (content) headers["Content-Type"] = "application/json";
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if ((value ?? null) !== null) query.set(name, String(value));
    }
    const within = `within ${timeout} seconds`;
    const reply = await exchange(
      `${base}${call.path}?${query}`.replace(/\?$/, ""),
      { method: call.method, headers, body: content, credentials: byCookie ? "include" : "omit" },
      { first: timeout, whole: 2 * timeout, within, largest: LARGEST, tooLarge: UnexpectedResponse },
      { fetch, signal },
    );
    return answerOf(call, reply, content, presented ? bundleOf(presented).macaroon : undefined);
  }

  // Accounts

  /**
   * Make an account. `asAdmin`: with this client's token; otherwise registration must be open. Throws `Conflict`.
   *
   * @param {string} username
   * @param {string} password
   * @param {{asAdmin?: boolean} & Abortable} [options]
   */
  register(username, password, { signal, ...how } = {}) {
    return this.send(calls.registerUser(username, password, how), { signal });
  }

  /**
   * Set a password, which revokes the user's tokens. `password`: the present one; null for an administrator.
   *
   * @param {string} username
   * @param {string | null} password
   * @param {string} newPassword
   * @param {Abortable} [options]
   */
  changePassword(username, password, newPassword, options) {
    return this.send(calls.changePassword(username, password, newPassword), options);
  }

  // Tokens

  /**
   * A token for a user and their password. This client stores it and presents it from now on.
   *
   * @param {string} username
   * @param {string} password
   * @param {TokenWish & Abortable} [wanted]
   * @returns {Promise<Macaroon>}
   */
  async login(username, password, { signal, ...wanted } = {}) {
    return this.#hold(await this.send(calls.login(username, password, wanted), { signal })).token;
  }

  /**
   * A new token against `token` or this client's own. It allows no more than that one and lives no longer.
   *
   * @param {TokenWish & {token?: Token} & Abortable} [wanted]
   */
  issue({ token, signal, ...wanted } = {}) {
    return this.send(calls.issue(wanted), { token, signal });
  }

  /**
   * `token` with a later expiry. Without `token`: this client's own, and the client stores the new one instead.
   *
   * @param {Token | null} [token]
   * @param {{expiresIn?: string | number} & Abortable} [options]
   */
  async renew(token, { expiresIn, signal } = {}) {
    const issued = await this.send(calls.renew({ expiresIn }), { token, signal });
    return (token ?? null) === null ? this.#hold(issued) : issued;
  }

  /**
   * The user, token id and scopes of `token`, or of this client's own. Throws `NotAuthenticated` if it is not live.
   *
   * @param {Token | null} [token]
   * @param {Abortable} [options]
   */
  async whoami(token, options) {
    return this.send(calls.whoami(this.#own(token)), options);
  }

  /**
   * A page of the caller's labelled tokens, newest first. `after`: `next` of the page before. `limit`: 1 to 1000.
   *
   * @param {Page & Abortable} [options]
   */
  tokens({ signal, ...page } = {}) {
    return this.send(calls.listTokens(page), { signal });
  }

  // Verification and revocation

  /**
   * Whether the service grants this token for a request. Throws `NotAuthenticated` if it is not authentic or not live.
   *
   * @param {Token} token
   * @param {RequestFacts & Abortable} [facts]
   */
  verify(token, { signal, ...facts } = {}) {
    return this.send(calls.verify(token, facts), { signal });
  }

  /**
   * As `verify`, for up to 100 tokens, in the order asked.
   *
   * @param {readonly (readonly [Token, RequestFacts?])[]} questions
   * @param {Abortable} [options]
   */
  verifyMany(questions, options) {
    return this.send(calls.verifyMany(questions), options);
  }

  /**
   * Revoke this copy of a token, and all tokens made from it. Who holds a copy may revoke it.
   *
   * @param {Token} token
   * @param {Abortable} [options]
   */
  revoke(token, options) {
    return this.send(calls.revokePresented(), { ...options, token });
  }

  /**
   * Revoke all copies of one of the caller's tokens. Administrators may revoke any user's.
   *
   * @param {string} tokenId
   * @param {Abortable} [options]
   */
  revokeToken(tokenId, options) {
    return this.send(calls.revokeToken(tokenId), options);
  }

  // Sessions of a browser, in a cookie that no script can read

  /**
   * Begin a session, whose cookie the browser keeps. A client with `credentials: "include"` presents it from now on.
   *
   * @param {string} username
   * @param {string} password
   * @param {{scope?: string | readonly string[], note?: string} & Abortable} [options]
   */
  signIn(username, password, { signal, ...how } = {}) {
    return this.send(calls.signIn(username, password, how), { signal });
  }

  /**
   * Who is signed in. The call extends the session.
   *
   * @param {Abortable} [options]
   */
  getSession(options) {
    return this.send(calls.getSession(), options);
  }

  /**
   * Sign out: the session's token is revoked.
   *
   * @param {Abortable} [options]
   */
  signOut(options) {
    return this.send(calls.signOut(), options);
  }

  // Third parties

  /**
   * A token and the discharges that it needs, unbound: keep it, and bind it again after each narrowing.
   *
   * Asks third parties at this service and at the origins in `allow`, and no others. Throws `UnusableAddress`,
   * `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
   *
   * @param {Token} token
   * @param {Collecting} [options]
   * @returns {Promise<Unbound>}
   */
  async collect(token, { allow = [], ...how } = {}) {
    const { origin } = this.#service;
    const { allowHttp, fetch } = this.#options;
    const bearer = this.#token !== null && !lacksDischarges(bundleOf(this.#token)) ? this.#token : undefined;
    return collect(token, { allowHttp, fetch, ...how, allow: [origin, ...allow], bearers: bearer ? { [origin]: bearer } : {} });
  }

  /**
   * A token with the discharges that it needs, ready to present. `attenuate`: how to narrow it before they are bound.
   *
   * Asks the same third parties as `collect`, and throws the same. Discharges that `token` has are collected again.
   *
   * @param {Token} token
   * @param {Collecting & {attenuate?: Narrowing}} [options]
   * @returns {Promise<Bundle>}
   */
  async discharge(token, { attenuate, ...how } = {}) {
    const unbound = await this.collect(token, how);
    return (attenuate ? await unbound.attenuate(attenuate) : unbound).bind();
  }

  /**
   * The third party at `url`, or this service.
   *
   * @param {string} [url]
   * @param {Abortable} [options]
   * @returns {Promise<import("./discharge/protocol.js").FoundParty>}
   */
  thirdParty(url = this.url, { signal } = {}) {
    const { allowHttp, fetch } = this.#options;
    return thirdParty(url, { allowHttp, fetch, signal });
  }

  /**
   * The text of `token`, else of this client's own. Throws `NotAuthenticated`.
   *
   * @param {Token | null} [token]
   * @returns {string}
   */
  #own(token) {
    const own = (token ?? null) === null ? this.#token : textOf(/** @type {Token} */ (token));
    if (own === null) throw new NotAuthenticated("this client holds no token: sign in, or give it one");
    return own;
  }

  /**
   * @param {Issued} issued
   * @returns {Issued}
   */
  #hold(issued) {
    this.#token = encode(issued.token);
    return issued;
  }
}

/**
 * The canonical text of a token, fit for a header. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {Token} token
 * @returns {string}
 */
export function textOf(token) {
  return encode(bundleOf(token));
}
