/**
 * The bodies of the service's answers. Knows their members; how one is read says `members.js`.
 *
 * @module
 */

import { anyBase64, bodyOf, flag, moment, number, optional, rows, scopes, text, texts, token } from "./members.js";

/** @typedef {import("./members.js").Members} Members */
/**
 * @template {(members: Members) => any} R
 * @typedef {ReturnType<R>} Of
 */

/** A new token, and what the service says about it. @param {Members} members */
export const issued = (members) =>
  bodyOf(members, {
    token,
    tokenId: text,
    user: text,
    audience: text,
    scopes,
    issuedAt: moment,
    expiresAt: moment,
  });

/**
 * The record of a labelled token. `status`: `live`, `expired` or `revoked`. `lastUsedAt`: null for never.
 *
 * @param {Members} members
 */
export const tokenRecord = (members) =>
  bodyOf(members, {
    tokenId: text,
    note: text,
    scopes,
    audience: text,
    issuedAt: moment,
    expiresAt: moment,
    lastUsedAt: optional(moment),
    status: optional(text, ""),
    revokedBy: optional(text),
    revokedAt: optional(moment),
    revokedCopies: optional(number, 0),
    unreportedUse: optional(flag, false),
  });

const CAVEAT = { index: number, kind: text, predicate: text, addedBy: text };

/** A caveat that refuses. @param {Members} members */
export const failure = (members) =>
  bodyOf(members, { ...CAVEAT, reason: optional(text, ""), hint: optional(text, "") });

/** @param {Members} members */
const judged = (members) => bodyOf(members, { ...CAVEAT, satisfied: flag, reason: optional(text, ""), hint: optional(text, "") });

/** @param {Members} members */
const verified = (members) => bodyOf(members, {
  granted: flag,
  user: text,
  tokenId: text,
  audience: text,
  scopes,
  expiresAt: optional(moment),
  caveats: rows(judged),
  branches: texts,
});

/**
 * The verification of an authentic, live token: its user, the result of each caveat, and those that refuse.
 *
 * @param {Members} members
 */
export function verification(members) {
  const body = verified(members);
  return Object.freeze({ ...body, failures: body.caveats.filter((caveat) => !caveat.satisfied) });
}

/** @param {Members} members */
const notLive = (members) => bodyOf(members, { code: text });

/**
 * One result of several. A token that is not authentic or not live has only the service's code for it.
 *
 * @param {Members} members
 * @returns {Verification | NotLive}
 */
export function result(members) {
  return (members.token_id ?? null) === null ? { granted: false, ...notLive(members) } : verification(members);
}

/**
 * A revocation. `kind`: `token`, `branch` or `user`. `already`: why nothing was written.
 *
 * @param {Members} members
 */
export const revocation = (members) =>
  bodyOf(members, {
    sequence: number,
    kind: text,
    tokenId: optional(text),
    branchId: optional(text),
    user: optional(text),
    expiresAt: moment,
    issuedUpTo: optional(moment),
    already: optional(text),
  });

/**
 * Revocations in the order of their sequences. `resync`: some may be missing; read again from 0.
 *
 * @param {Members} members
 */
export const revocationPage = (members) =>
  bodyOf(members, { epoch: number, lastSequence: number, resync: flag, revocations: rows(revocation) });

/** An account. `scopes`: the widest scope of its tokens. @param {Members} members */
export const user = (members) =>
  bodyOf(members, {
    username: text,
    isAdmin: flag,
    scopes,
    createdAt: moment,
    disabledAt: optional(moment),
  });

/** A group of users. @param {Members} members */
export const group = (members) =>
  bodyOf(members, { name: text, members: texts, createdAt: moment });

/** A program that signs in with a key: X25519, 32 bytes. @param {Members} members */
export const agent = (members) =>
  bodyOf(members, { agentId: text, username: text, publicKey: anyBase64, name: text, createdAt: moment });

const CLIENT = {
  clientId: text,
  name: text,
  users: texts,
  groups: texts,
  audiences: texts,
  scopes,
  longestLife: number,
  createdAt: moment,
};

/**
 * A site that issues tokens for its users. `scopes` and `longestLife` (seconds): the most that these have.
 *
 * @param {Members} members
 */
export const client = (members) =>
  bodyOf(members, CLIENT);

/**
 * A client that was just added. `clientSecret` is in no other answer.
 *
 * @param {Members} members
 */
export const newClient = (members) =>
  bodyOf(members, { ...CLIENT, clientSecret: text }, "clientSecret");

/**
 * A browser's session. `cookie`: `name=value`, a live credential; null where scripts cannot read it, in browsers.
 *
 * @param {Members} members
 */
export const session = (members) =>
  bodyOf(members, { user: text, tokenId: text, scopes, expiresAt: moment, cookie: optional(text) }, "cookie");

/**
 * A registered verifier, and the service's public key that it trusts. Both keys are text in base64url. `following`,
 * `lastReadAt`, `entriesBehind`: how it follows the feed, at the process that answers.
 *
 * @param {Members} members
 */
export const verifier = (members) =>
  bodyOf(members, {
    verifierId: text,
    audience: text,
    name: text,
    publicKey: text,
    servicePublicKey: text,
    createdAt: moment,
    revokedAt: optional(moment),
    following: optional(flag, false),
    lastReadAt: optional(moment),
    entriesBehind: optional(number),
  });

/** @param {Members} members */
const id = (members) => text(members, "id");

/**
 * The state of a master key: `published`, `active`, `verifying` or `retired`; not the key itself.
 *
 * @param {Members} members
 */
export const key = (members) =>
  bodyOf(members, {
    keyId: id,
    state: text,
    createdAt: moment,
    activatedAt: optional(moment),
    verifyingSince: optional(moment),
    retireAfter: optional(moment),
    retiredAt: optional(moment),
  });

/**
 * The requests that one process of the service has answered in a minute. `refused` and `failed` are among `requests`.
 *
 * @param {Members} members
 */
export const minuteCount = (members) =>
  bodyOf(members, { at: moment, requests: number, refused: number, failed: number });

/**
 * A third party's X25519 public key, 32 bytes, and the newest protocol version that it speaks.
 *
 * @param {Members} members
 */
export const dischargeInfo = (members) => ({
  publicKey: anyBase64(members, "PublicKey"),
  version: number(members, "Version"),
});

/** The name and version of the service. @param {Members} members */
export const about = (members) => bodyOf(members, { service: text, version: text });

/** @typedef {Of<typeof issued>} Issued */
/** @typedef {Of<typeof tokenRecord>} TokenRecord */
/** @typedef {Of<typeof verification>} Verification */
/** @typedef {{readonly granted: false, readonly code: string}} NotLive */
/** @typedef {Pick<Verification, "user" | "tokenId" | "audience" | "scopes" | "expiresAt">} TokenIdentity */
/** @typedef {Of<typeof revocation>} RevocationEntry */
/** @typedef {Of<typeof user>} UserRecord */
/** @typedef {Of<typeof session>} Session */
