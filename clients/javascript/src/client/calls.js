/**
 * The endpoints of the service: one function each, which builds the call for it. Does no I/O.
 *
 *     await client.send(calls.disableUser("bob"));
 *
 * Knows methods, paths, bodies and the readers of answers. The functions are in the order of the service's route list, and
 * have the names of those of `caveats_client.calls` in camelCase. What is left out or null is left to the service.
 *
 * @module
 */

import { encodeBase64, text as textOf } from "../bytes.js";
import { MalformedCaveat } from "../errors.js";
import { bundleOf, encode } from "../token/bundle.js";
import { parseIdentifier } from "../token/identifier.js";
import * as bodies from "./bodies.js";
import { BadRequest, NotAuthenticated } from "./errors.js";
import { issuedAsAsked, matches, renewedAsPresented, sameToken } from "./matching.js";
import { anyBase64, binary, bodyOf, optional, rows, snake, text } from "./members.js";
import { callOf } from "./messages.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./members.js").Members} Members */
/** @typedef {string | Macaroon | Bundle} Token a token as text, as a macaroon, or as a bundle with its discharges */
/** @typedef {{after?: string | null, limit?: number | null}} Page `after`: `next` of the page before */

/**
 * What a caller asks of a new token.
 *
 * @typedef {object} TokenWish
 * @property {string | readonly string[] | null} [scope] what the token allows
 * @property {string | null} [audience] the app, or group of apps, that it is for
 * @property {string | number | null} [expiresIn] how long it lives: whole seconds, or a text such as `8h`
 * @property {readonly (string | Uint8Array)[] | null} [caveats] predicates of more caveats, which the service adds in this order
 * @property {string | null} [note] a label. The service lists labelled tokens and keeps nothing about others
 */

/**
 * The facts of the request that presents a token. A caveat refuses if the fact that it needs is missing.
 *
 * @typedef {object} RequestFacts
 * @property {string | readonly string[] | null} [scope]
 * @property {string | null} [audience]
 * @property {string | null} [method]
 * @property {string | null} [path]
 * @property {string | null} [host]
 * @property {string | null} [clientIp]
 * @property {string | null} [user]
 * @property {Record<string, unknown> | null} [extra] facts for plug-in kinds
 */

const nothing = () => undefined;

// Users

/**
 * Make an account. `asAdmin`: with a token; otherwise registration must be open. `mustChangePassword`: at the first
 * sign-in, for administrators. The call throws `Conflict`.
 *
 * @param {string} username
 * @param {string} password
 * @param {{asAdmin?: boolean, mustChangePassword?: boolean}} [options]
 */
export const registerUser = (username, password, { asAdmin, mustChangePassword } = {}) =>
  callOf("POST", "/v1/users", bodies.user, {
    body: given({ username, password, mustChangePassword: mustChangePassword || null }),
    open: !asAdmin,
  });

/**
 * A page of accounts in the order of their names, for administrators. `limit`: 1 to 1000.
 *
 * @param {Page} [page]
 */
export const listUsers = (page) => list("/v1/users", "users", bodies.user, page);

/**
 * Set a password, which revokes the user's tokens. `password`: the present one; null for an administrator.
 * `mustChangePassword`: the new one is good for its own change only.
 *
 * @param {string} username
 * @param {string | null} password
 * @param {string} newPassword
 * @param {{mustChangePassword?: boolean}} [options]
 */
export const changePassword = (username, password, newPassword, { mustChangePassword } = {}) =>
  callOf("PUT", path`/v1/users/${username}/password`, nothing, {
    body: given({ password, newPassword, mustChangePassword: mustChangePassword || null }),
    open: password !== null,
  });

/** Revoke the user's tokens and refuse their sign-ins, for administrators. @param {string} username */
export const disableUser = (username) => callOf("POST", path`/v1/users/${username}/disable`, bodies.user, { body: {} });

/** Accept the user's sign-ins again, for administrators. Revoked tokens stay revoked. @param {string} username */
export const enableUser = (username) => callOf("POST", path`/v1/users/${username}/enable`, bodies.user, { body: {} });

/** Delete an account with all it had, for administrators. Nobody gets the name again. @param {string} username */
export const deleteUser = (username) => callOf("DELETE", path`/v1/users/${username}`, nothing);

// Groups and agents, for administrators

/** A page of groups in the order of their names. `limit`: 1 to 1000. @param {Page} [page] */
export const listGroups = (page) => list("/v1/groups", "groups", bodies.group, page);

/** One group. @param {string} group */
export const getGroup = (group) => callOf("GET", path`/v1/groups/${group}`, bodies.group);

/**
 * Give a group exactly these members, at most 1000 usernames. Makes the group if it does not exist.
 *
 * @param {string} group
 * @param {readonly string[]} members
 */
export const setGroup = (group, members) => callOf("PUT", path`/v1/groups/${group}`, bodies.group, { body: { members } });

/** Remove a group. @param {string} group */
export const deleteGroup = (group) => callOf("DELETE", path`/v1/groups/${group}`, nothing);

/** Add a user to a group. @param {string} group @param {string} username */
export const addGroupMember = (group, username) =>
  callOf("PUT", path`/v1/groups/${group}/members/${username}`, bodies.group);

/** Remove a user from a group. @param {string} group @param {string} username */
export const removeGroupMember = (group, username) =>
  callOf("DELETE", path`/v1/groups/${group}/members/${username}`, bodies.group);

/**
 * Let the program with this X25519 public key, 32 bytes, sign in as `username` when it asks for a discharge.
 *
 * @param {string} username
 * @param {Uint8Array} publicKey
 * @param {string} [name]
 */
export const registerAgent = (username, publicKey, name = "") =>
  callOf("POST", "/v1/agents", bodies.agent, { body: given({ username, publicKey: encodeBase64(publicKey), name }) });

/** A page of agents, oldest first. `limit`: 1 to 1000. @param {Page} [page] */
export const listAgents = (page) => list("/v1/agents", "agents", bodies.agent, page);

/** Remove an agent: its key is no longer accepted. @param {string} agentId */
export const removeAgent = (agentId) => callOf("DELETE", path`/v1/agents/${agentId}`, nothing);

// Issuing clients

/**
 * Let a site issue tokens for these users and the members of these groups, for administrators. The call throws `Conflict`.
 * `audiences`, `scope`, `longestLife`: the most that its tokens have.
 *
 * @param {string} name
 * @param {{users?: readonly string[], groups?: readonly string[], audiences: readonly string[],
 *   scope: string | readonly string[], longestLife?: string | number}} bounds
 */
export const addClient = (name, { users = [], groups = [], audiences, scope, longestLife }) =>
  callOf("POST", "/v1/clients", bodies.newClient, {
    body: given({ name, users, groups, audiences, scope: words(scope), longestLife }),
  });

/** A page of clients, oldest first, for administrators. `limit`: 1 to 1000. @param {Page} [page] */
export const listClients = (page) => list("/v1/clients", "clients", bodies.client, page);

/** Remove a client and revoke all that it has issued, for administrators. @param {string} clientId */
export const removeClient = (clientId) => callOf("DELETE", path`/v1/clients/${clientId}`, nothing);

// Third parties

/** The service's public key as a third party, and the newest version of the protocol that it supports. */
export const dischargeInfo = () => callOf("GET", "/discharge/info", bodies.dischargeInfo, { open: true });

/** The same public key, 32 bytes, from the endpoint for the oldest clients. */
export const publicKey = () =>
  callOf("GET", "/publickey", (members) => anyBase64(members, "PublicKey"), { open: true });

// Tokens

/**
 * Issue a token for a user and their password.
 *
 * @param {string} username
 * @param {string} password
 * @param {TokenWish} [wanted]
 */
export const login = (username, password, wanted) => issuing({ username, password }, wanted, true);

/** Issue a token against the presented one. The new token allows no more and lives no longer. @param {TokenWish} [wanted] */
export const issue = (wanted) => issuing({}, wanted);

/**
 * Issue a token for a user who is signed in at the site that asks, by the site's own secret: see `addClient`.
 *
 * @param {string} user
 * @param {{clientId: string, clientSecret: string} & TokenWish} site
 */
export const issueFor = (user, { clientId, clientSecret, ...wanted }) =>
  issuing({ clientId, clientSecret, user }, wanted, true);

/** A page of the caller's labelled tokens, newest first. `limit`: 1 to 1000. @param {Page} [page] */
export const listTokens = (page) => list("/v1/tokens", "tokens", bodies.tokenRecord, page);

/**
 * A page of a user's labelled tokens, newest first, for administrators and the user. `limit`: 1 to 1000.
 *
 * @param {string} username
 * @param {Page} [page]
 */
export const listUserTokens = (username, page) =>
  list(path`/v1/users/${username}/tokens`, "tokens", bodies.tokenRecord, page);

/**
 * Revoke all copies of a labelled token of this user, for administrators and the user. The call throws `NotFound`.
 *
 * @param {string} username
 * @param {string} tokenId
 */
export const revokeUserToken = (username, tokenId) =>
  callOf("DELETE", path`/v1/users/${username}/tokens/${tokenId}`, nothing);

/** Issue the presented token again with a later expiry. @param {{expiresIn?: string | number | null}} [options] */
export const renew = ({ expiresIn } = {}) =>
  callOf("POST", "/v1/tokens/renew", bodies.issued, { body: given({ expiresIn }), check: renewedAsPresented });

/** One of the caller's labelled tokens. @param {string} tokenId */
export const getToken = (tokenId) =>
  callOf("GET", path`/v1/tokens/${tokenId}`, bodies.tokenRecord, { check: matches({ tokenId }) });

/** Revoke all copies of a token, as `revokeToken` does. The answer is empty. @param {string} tokenId */
export const deleteToken = (tokenId) => callOf("DELETE", path`/v1/tokens/${tokenId}`, nothing);

// Verification

/**
 * Verify a token for a request. The call throws `NotAuthenticated` for one that is not authentic or not live.
 *
 * @param {Token} token
 * @param {RequestFacts} [facts]
 */
export const verify = (token, facts) => verifying(question(token, facts), bodies.verification);

/**
 * Verify up to 100 tokens, each separately. The results are in the order of the questions.
 *
 * @param {readonly (readonly [Token, RequestFacts?])[]} questions
 */
export const verifyMany = (questions) =>
  verifying({ tokens: questions.map(([token, facts]) => question(token, facts)) }, (members) =>
    rows(bodies.result)(members, "results"),
  );

/** The user, token id and scopes of a live token; its other caveats do not count. @param {Token} token */
export const whoami = (token) => {
  const audience = parseIdentifier(bundleOf(token).macaroon.identifier)?.audience;
  return verifying(question(token, { audience }), identity);
};

/**
 * @param {Members} members
 * @returns {import("./bodies.js").TokenIdentity}
 */
function identity(members) {
  const { user, tokenId, audience, scopes, expiresAt, failures } = bodies.verification(members);
  if (failures.some(({ kind }) => kind === "expires")) {
    throw new NotAuthenticated("the token has expired", { code: "invalid_token" });
  }
  return { user, tokenId, audience, scopes, expiresAt };
}

// Sessions: a token in a cookie, for browsers. Elsewhere the two calls after `signIn` are given the cookie of the answer.

/**
 * Begin a session.
 *
 * @param {string} username
 * @param {string} password
 * @param {{scope?: string | readonly string[], note?: string}} [options]
 */
export const signIn = (username, password, { scope, note } = {}) =>
  callOf("POST", "/v1/session", bodies.session, {
    body: given({ username, password, scope: words(scope), note }),
    session: true,
    open: true,
  });

/** The session of the browser, or of this cookie, `name=value`. The call extends the session. @param {string} [cookie] */
export const getSession = (cookie) => callOf("GET", "/v1/session", bodies.session, { session: true, open: true, cookie });

/** End the session of the browser, or of this cookie, and revoke its token. @param {string} [cookie] */
export const signOut = (cookie) => callOf("DELETE", "/v1/session", nothing, { session: true, open: true, cookie });

// Revocation

/** Revoke the presented copy of a token, and all tokens made from it. */
export const revokePresented = () => revoking({ presented: true }, sameToken);

/** Revoke all copies of a token. @param {string} tokenId */
export const revokeToken = (tokenId) => revoking({ tokenId });

/**
 * Revoke one copy by its branch id: 32 hex digits, as in `Verification.branches`.
 *
 * @param {string} tokenId
 * @param {string} branchId
 */
export const revokeBranch = (tokenId, branchId) => revoking({ tokenId, branchId });

/** Revoke every token that was issued to a user up to now. @param {string} user */
export const revokeUser = (user) => revoking({ user });

/**
 * A page of the revocations after the sequence `after`, for administrators. `limit`: 1 to 5000.
 *
 * @param {{after?: number | null, limit?: number | null}} [query]
 */
export const listRevocations = (query) => callOf("GET", "/v1/revocations", bodies.revocationPage, { query });

// Verifiers: apps that verify locally

/**
 * Let an app with this X25519 public key, 32 bytes, fetch the audience's keys, for administrators.
 *
 * @param {Uint8Array} publicKey
 * @param {string} audience
 * @param {string} [name]
 */
export const registerVerifier = (publicKey, audience, name = "") =>
  callOf("POST", "/v1/verifiers", bodies.verifier, {
    body: given({ publicKey: encodeBase64(publicKey), audience, name }),
  });

/** All registered verifiers, for administrators. */
export const listVerifiers = () =>
  callOf("GET", "/v1/verifiers", (members) => rows(bodies.verifier)(members, "verifiers"));

/** Stop giving keys to a verifier, for administrators. @param {string} verifierId */
export const revokeVerifier = (verifierId) => callOf("DELETE", path`/v1/verifiers/${verifierId}`, nothing);

/** The audience's keys in a NaCl box. Only the verifier's private key opens it. @param {string} verifierId */
export const getVerifierKeys = (verifierId) =>
  callOf("GET", path`/v1/verifiers/${verifierId}/keys`, (members) => binary(members, "box"), { open: true });

// Master keys, for administrators

/** The requests of each minute of the last hour, oldest first, at the process that answers. For administrators. */
export const listCounts = () =>
  callOf("GET", "/v1/counts", (members) => rows(bodies.minuteCount)(members, "minutes"));

/** The states of all master keys. */
export const listKeys = () => callOf("GET", "/v1/keys", (members) => rows(bodies.key)(members, "keys"));

/** Publish a new master key. `now`: issue under it at once, before every node can have it. @param {{now?: boolean}} [options] */
export const rotateKeys = ({ now } = {}) =>
  callOf("POST", "/v1/keys/rotate", bodies.key, { body: given({ now: now || null }) });

/**
 * Destroy a master key. The call throws `Conflict` while tokens under it may be live, except with `force`.
 *
 * @param {string} keyId
 * @param {{force?: boolean}} [options]
 */
export const retireKey = (keyId, { force } = {}) =>
  callOf("POST", path`/v1/keys/${keyId}/retire`, bodies.key, { body: given({ force: force || null }) });

// Operations

/** The service's name and version. */
export const about = () => callOf("GET", "/", bodies.about, { open: true });

/** Whether the process answers: the call throws if not. */
export const health = () => callOf("GET", "/healthz", nothing, { open: true });

/** Whether the service can issue and revoke: the call throws `Unavailable` if not. */
export const ready = () => callOf("GET", "/readyz", nothing, { open: true });

// What the calls are made of

/**
 * @param {Members} credential
 * @param {TokenWish} [wanted]
 * @param {boolean} [open]
 */
function issuing(credential, { scope, audience, expiresIn, caveats, note } = {}, open = false) {
  const predicates = caveats?.length ? caveats.map(predicateText) : null;
  const body = given({ ...credential, scope: words(scope), audience, expiresIn, caveats: predicates, note });
  return callOf("POST", "/v1/tokens", bodies.issued, { body, open, check: issuedAsAsked(body) });
}

/**
 * @template T
 * @param {Members} body
 * @param {(members: Members) => T} read
 */
function verifying(body, read) {
  return callOf("POST", "/v1/verify", read, { body, open: true, named: true });
}

/**
 * @param {Members} target
 * @param {(answer: any, presented: Macaroon | undefined) => void} [check]
 */
function revoking(target, check = matches(target)) {
  return callOf("POST", "/v1/revocations", bodies.revocation, { body: given(target), check });
}

/**
 * A call for a page of rows: `next` is where the next page begins, null on the last one.
 *
 * @template {string} N, T
 * @param {string} where
 * @param {N} name
 * @param {(members: Members) => T} read
 * @param {Page} [query]
 * @returns {import("./messages.js").Call<{readonly [F in N]: readonly T[]} & {readonly next: string | null}>}
 */
function list(where, name, read, query) {
  const shape = { [name]: rows(read), next: optional(text) };
  return callOf("GET", where, (members) => /** @type {any} */ (bodyOf(members, shape)), { query });
}

/**
 * @param {Token} token
 * @param {RequestFacts} [facts]
 * @returns {Members}
 */
function question(token, { scope, extra, ...facts } = {}) {
  return given({
    token: typeof token === "string" ? token : encode(token),
    scope: words(scope),
    ...facts,
    extra: extra && Object.keys(extra).length ? extra : null,
  });
}

/**
 * The members that are neither undefined nor null, by the names that the service has for them.
 *
 * @param {Members} members
 * @returns {Members}
 */
function given(members) {
  const named = Object.entries(members).filter(([, value]) => (value ?? null) !== null);
  return Object.fromEntries(named.map(([name, value]) => [snake(name), value]));
}

/**
 * Scope patterns as one text.
 *
 * @param {string | readonly string[] | null} [scope]
 */
function words(scope) {
  return typeof scope === "object" ? scope?.join(" ") : scope;
}

/**
 * @param {string | Uint8Array} predicate
 * @returns {string}
 */
function predicateText(predicate) {
  const written = typeof predicate === "string" ? predicate : textOf(predicate);
  if (written === undefined) throw new MalformedCaveat("a predicate is UTF-8");
  return written;
}

/**
 * A path with names in it, each one segment. Throws `BadRequest` for the empty name, `.`, `..` and half a character.
 *
 * @param {TemplateStringsArray} parts
 * @param {...string} names
 * @returns {string}
 */
function path(parts, ...names) {
  return String.raw(
    parts,
    ...names.map((name) => {
      if (/^\.{0,2}$|\p{Cs}/u.test(name)) throw new BadRequest("such a name cannot be part of an address: give another");
      return encodeURIComponent(name);
    }),
  );
}
