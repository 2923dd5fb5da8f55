/**
 * Verification: authenticate, then judge. Knows keys, checkers and revocations; no I/O.
 *
 * What is remembered of a token is that it was authentic. Whether it is live and what its caveats say is asked every time.
 *
 * @module
 */

import { authentic } from "../authenticate.js";
import { concat, utf8 } from "../bytes.js";
import { BadSignature, MalformedToken, Revoked, UnknownKey, UnsatisfiedCaveats, WrongAudience } from "../errors.js";
import { run } from "../hmac.js";
import { quoted } from "../kinds/base.js";
import { standardCheckers, unsatisfied } from "../kinds/checkers.js";
import { LIMITS } from "../limits.js";
import { bundleOf, decodeBundle } from "../token/bundle.js";
import { derive } from "../token/chain.js";
import { parseIdentifier } from "../token/identifier.js";
import { decodeAny } from "../token/legacy.js";
import { VerificationCache } from "./cache.js";
import { Grant } from "./grant.js";
import { keyringOf } from "./keyring.js";
import { branchesOf } from "./renewal.js";
import { RevocationSet } from "./revocations.js";

/** @typedef {import("../authenticate.js").Authenticated} Authenticated */
/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../kinds/checkers.js").Failure} Failure */
/** @typedef {import("../token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./keyring.js").AudienceKeyring} AudienceKeyring */
/** @typedef {import("./keyring.js").ExportedKeys} ExportedKeys */

/**
 * The facts of a request. The time is now, if it is left out.
 *
 * @typedef {Partial<import("../kinds/checkers.js").Context>} Facts
 */

/**
 * An authentic token: its grant, should the caveats hold, and what has been worked out about it so far.
 *
 * @typedef {object} Entry
 * @property {Grant} grant
 * @property {{keyId: string, tokenId: string, branches: string[]}[]} parents the tokens that it was issued against
 * @property {string[] | undefined} branches its branch ids, once they were needed
 * @property {number} liveAt `RevocationSet.changes` when it was last found live
 * @property {number} size
 */

/**
 * @typedef {object} VerifierOptions
 * @property {import("../kinds/checkers.js").Checkers} [checkers] the standard kinds if left out: see `standardCheckers`
 * @property {string | null} [location] the only one that tokens may carry, besides none; null: any
 * @property {import("../limits.js").Limits} [limits]
 * @property {number} [cacheEntries] how many texts are remembered at most; 0 remembers nothing
 * @property {number} [cacheBytes] how many bytes they may take, roughly
 * @property {import("../hmac.js").Hmac} [hmac] in place of WebCrypto, as `caveats/node` has one
 */

const ROOT = utf8("caveats/v1/root/");

/** Verifies tokens of one audience. Remembers which texts were authentic, within bounds. */
export class Verifier {
  #keyring;
  #revocations;
  #checkers;
  #location;
  #limits;
  #hmac;
  /** @type {VerificationCache<Entry>} */
  #cache;

  /**
   * Throws `InvalidKey`.
   *
   * @param {AudienceKeyring | ExportedKeys} keys
   * @param {VerifierOptions & {revocations?: RevocationSet}} [options]
   */
  constructor(keys, options = {}) {
    const { checkers = standardCheckers(), revocations = new RevocationSet(), location = "", limits = LIMITS } = options;
    this.#keyring = keyringOf(keys);
    this.#revocations = revocations;
    this.#checkers = checkers;
    this.#location = location;
    this.#limits = limits;
    this.#hmac = options.hmac;
    this.#cache = new VerificationCache(options.cacheEntries ?? 10_000, options.cacheBytes ?? 16 * 1024 * 1024);
  }

  /** The audience whose tokens are verified. */
  get audience() {
    return this.#keyring.audience;
  }

  /** The keys. Assign others of the same audience when they change: everything remembered is forgotten. */
  get keyring() {
    return this.#keyring;
  }

  set keyring(keys) {
    this.#keyring = keyringOf(keys, this.audience);
    this.#cache.clear();
  }

  /** What is revoked. Assigning another set forgets everything remembered. */
  get revocations() {
    return this.#revocations;
  }

  set revocations(revocations) {
    this.#revocations = revocations;
    this.#cache.clear();
  }

  /**
   * The grant for this token and this request. Throws why not: `MalformedToken`, `LimitExceeded`, `UnknownKey`,
   * `BadSignature`, `MissingDischarge`, `UnusedDischarge`, `Revoked`, `WrongAudience`, or `UnsatisfiedCaveats`, whose
   * `cause.failures` has every caveat that refuses.
   *
   * @param {string | Macaroon | Bundle} presented
   * @param {Facts} [facts]
   * @returns {Promise<Grant>}
   */
  async verify(presented, facts = {}) {
    const grant = await this.#live(presented);
    const { now = new Date(), audience } = facts;
    if (audience != null && audience !== grant.audience) throw wrongAudience(grant.audience, audience);
    const context = { ...facts, now, audience: grant.audience };
    const failures = unsatisfied(grant.caveats, context, { checkers: this.#checkers, addedBy: grant.addedBy });
    if (failures.length) throw new UnsatisfiedCaveats(failures.map(sentence).join("; "), { failures });
    return grant;
  }

  /**
   * Every caveat that refuses this request; empty where `verify` grants. Throws as `verify` otherwise.
   *
   * @param {string | Macaroon | Bundle} presented
   * @param {Facts} [facts]
   * @returns {Promise<readonly Failure[]>}
   */
  async failures(presented, facts) {
    try {
      await this.verify(presented, facts);
    } catch (error) {
      if (!(error instanceof UnsatisfiedCaveats)) throw error;
      return /** @type {{failures: Failure[]}} */ (error.cause).failures;
    }
    return [];
  }

  /**
   * The grant of an authentic, live token, should its caveats hold. What is awaited may take a while: if keys or
   * revocations have changed meanwhile, the question is asked again, and what it is answered by is seen at one moment.
   *
   * @param {string | Macaroon | Bundle} presented
   * @returns {Promise<Grant>}
   */
  async #live(presented) {
    for (;;) {
      const { generation } = this.#cache;
      const text = typeof presented === "string" ? presented : undefined;
      let entry = text === undefined ? undefined : this.#cache.find(text);
      if (!entry || (!entry.branches && this.#revocations.hasBranches(entry.grant.tokenId))) {
        const found = await this.#authenticate(presented);
        if (generation !== this.#cache.generation) continue;
        if (entry) entry.branches = found.branches;
        else if (text !== undefined) this.#cache.add(text, found, generation);
        entry ??= found;
      }
      if (entry.branches || !this.#revocations.hasBranches(entry.grant.tokenId)) {
        this.#checkLive(entry);
        return entry.grant;
      }
    }
  }

  /**
   * One of our tokens, by one walk of the chain.
   *
   * @param {string | Macaroon | Bundle} presented
   * @returns {Promise<Entry>}
   */
  async #authenticate(presented) {
    const limits = this.#limits;
    if (typeof presented !== "string" && !(presented instanceof Object)) {
      throw new MalformedToken("a token is text, a macaroon or a bundle");
    }
    const bundle =
      typeof presented === "string" ? decodeBundle(presented, { limits, decode: decodeAny }) : bundleOf(presented, limits);
    const { location, identifier } = bundle.macaroon;
    if (location && this.#location !== null && location !== this.#location) {
      throw new MalformedToken("the token carries the location of another service");
    }
    const named = parseIdentifier(identifier);
    if (!named) throw new UnknownKey("the identifier is not one that this service issues");
    if (named.audience !== this.audience) throw wrongAudience(named.audience, this.audience);
    const { keyId, tokenId } = named;
    if (!this.#keyring.has(keyId)) throw new UnknownKey(`no key ${keyId} here`, { keyId });
    const needsBranches = () => this.#revocations.hasBranches(tokenId);
    const entry = await run(entryOf(bundle, keyId, this.#keyring, this.#checkers, limits, needsBranches), this.#hmac);
    entry.size = sizeOf(String(presented), bundle);
    return entry;
  }

  /**
   * Throws `Revoked`. Looks only if something was revoked since the last look.
   *
   * @param {Entry} entry
   */
  #checkLive(entry) {
    const revocations = this.#revocations;
    if (entry.liveAt === revocations.changes) return;
    const { user, tokenId } = entry.grant;
    if (revocations.hitsToken(tokenId) || revocations.hitsUser(user, tokenId)) {
      throw new Revoked("the token has been revoked");
    }
    if (revocations.hitsBranch(tokenId, entry.branches ?? [])) throw new Revoked("this copy of the token has been revoked");
    for (const { tokenId: parent, branches } of entry.parents) {
      if (revocations.hitsToken(parent) || revocations.hitsUser(user, parent) || revocations.hitsBranch(parent, branches)) {
        throw new Revoked("the token that this one was issued against has been revoked");
      }
    }
    entry.liveAt = revocations.changes;
  }
}

/**
 * What is to be known of one of our tokens. Throws as `authenticate`; `BadSignature` for what no issuer of ours signs, and
 * `Revoked` if a token that it came of was under a key that is gone.
 *
 * @param {Bundle} bundle
 * @param {string} keyId
 * @param {AudienceKeyring} keyring
 * @param {import("../kinds/checkers.js").Checkers} checkers
 * @param {import("../limits.js").Limits} limits
 * @param {() => boolean} needsBranches asked while the signatures are at hand
 * @returns {import("../hmac.js").Steps<Entry>}
 */
function* entryOf(bundle, keyId, keyring, checkers, limits, needsBranches) {
  /** @param {Bytes} identifier @returns {import("../hmac.js").Steps<Bytes>} */
  const derivedKey = function* (identifier) {
    return yield* derive(yield* keyring.mac(keyId, concat(ROOT, identifier)));
  };
  const token = yield* authentic(bundle, yield* derivedKey(bundle.macaroon.identifier), checkers, limits);
  const { macaroon, addedBy } = token;
  const identifier = /** @type {import("../token/identifier.js").Identifier} */ (token.identifier);
  // Of their own bytes each: a part of the token's would keep its signature in memory.
  const caveats = token.caveats.map((caveat) => ({ ...caveat, predicate: caveat.predicate.slice() }));
  if (!(macaroon.caveats[0] instanceof Uint8Array) || caveats[0].kind !== "user") {
    throw new BadSignature("the issuer named no user in the first caveat");
  }
  if (identifier.issuerCaveats > macaroon.caveats.length) {
    throw new BadSignature("the identifier counts more issuer's caveats than there are");
  }
  const parents = caveats.filter(({ kind }) => kind === "parent").map(({ data }) => data);
  for (const { keyId: missing } of parents) {
    if (!keyring.has(missing)) {
      throw new Revoked(`the token was issued against one under key ${missing}, which is not here`, { keyId: missing });
    }
  }
  const branches = needsBranches() ? yield* branchesOf(token, derivedKey) : undefined;
  return { grant: new Grant(identifier, caveats[0].data, caveats, addedBy), parents, branches, liveAt: -1, size: 0 };
}

/**
 * What it takes to remember a text, roughly, in bytes: long lists of words take more than their text.
 *
 * @param {string} text
 * @param {Bundle} bundle
 * @returns {number}
 */
function sizeOf(text, { macaroon, discharges }) {
  let size = text.length * 4 + 1024;
  for (const { caveats } of [macaroon, ...discharges]) {
    for (const caveat of caveats) {
      if (caveat instanceof Uint8Array) size += 256 * caveat.filter((byte) => byte === 32).length;
    }
  }
  return size;
}

/**
 * @param {string} audience
 * @param {string} expected
 * @returns {WrongAudience}
 */
function wrongAudience(audience, expected) {
  const words = `the token is for audience ${quoted(audience)}, this is ${quoted(expected)}`;
  return new WrongAudience(words, { audience, expected });
}

/**
 * @param {Failure} failure
 * @returns {string}
 */
function sentence({ predicate, addedBy, reason, hint }) {
  return `${predicate} (added by the ${addedBy}): ${reason}; would pass: ${hint}`;
}
