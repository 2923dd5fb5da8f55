/**
 * The keys of one audience, by the id of their master keys. Knows derivation, knows no token and no file.
 *
 * With them an app verifies tokens of its audience, and could mint them. No key is ever shown: not in a log, not as JSON.
 *
 * @module
 */

import { decodeBase64, hex } from "../bytes.js";
import { InvalidKey } from "../errors.js";
import { isAudience, isKeyId } from "../token/identifier.js";
import { quoted } from "../kinds/base.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */

/**
 * An exported keyring, as `caveats-service keys export` writes it into a file.
 *
 * @typedef {object} ExportedKeys
 * @property {string} audience
 * @property {{id: string, state: string, key: string}[]} keys `state`: published, active, verifying or retired; `key`:
 *   base64url, 32 bytes
 */

const STATES = ["published", "active", "verifying", "retired"];

/** The keys of one audience. Immutable: new keys are a new keyring. */
export class AudienceKeyring {
  /** @type {Map<string, Bytes>} */
  #secrets = new Map();

  /**
   * Throws `InvalidKey`, which says nothing of a key.
   *
   * @param {string} audience
   * @param {Iterable<readonly [string, Bytes]>} keys the id and the 32 bytes of each
   */
  constructor(audience, keys) {
    if (!isAudience(audience)) throw new InvalidKey("a keyring names the audience of its keys");
    this.audience = audience;
    for (const [keyId, secret] of keys) {
      if (!isKeyId(keyId)) throw new InvalidKey("a key id reads k1, k2, ...");
      if (!(secret instanceof Uint8Array) || secret.length !== 32 || !secret.some(Boolean)) {
        throw new InvalidKey("a key is 32 bytes, not all zero");
      }
      if (this.#secrets.has(keyId)) throw new InvalidKey(`two keys have the id ${keyId}`);
      this.#secrets.set(keyId, secret);
    }
    Object.freeze(this);
  }

  /**
   * The keys in an exported file, without those that are retired. Throws `InvalidKey`.
   *
   * @param {ExportedKeys} members the file's content, of which nothing is believed
   * @returns {AudienceKeyring}
   */
  static from(members) {
    const { audience, keys } = /** @type {Partial<ExportedKeys>} */ (members ?? {});
    if (typeof audience !== "string" || !Array.isArray(keys) || !keys.every(isExported)) {
      throw new InvalidKey("not an exported keyring");
    }
    const live = keys.filter(({ state }) => state !== "retired");
    return new AudienceKeyring(audience, live.map(({ id, key }) => [id, keyOf(key)]));
  }

  /** The ids of the keys that verify. */
  get keyIds() {
    return [...this.#secrets.keys()];
  }

  /**
   * Whether there is a key of this id: one that is known, and not retired.
   *
   * @param {string} keyId
   * @returns {boolean}
   */
  has(keyId) {
    return this.#secrets.has(keyId);
  }

  /**
   * The HMAC (32 bytes) of a message under a key. Throws `InvalidKey` without the key.
   *
   * @param {string} keyId
   * @param {Bytes} message
   * @returns {import("../hmac.js").Steps<Bytes>}
   */
  *mac(keyId, message) {
    const secret = this.#secrets.get(keyId);
    if (!secret) throw new InvalidKey(`no key ${keyId} here`);
    return yield [secret, message];
  }

  /**
   * The ids of the keys that the other keyring has not, or not with the same secret.
   *
   * @param {AudienceKeyring} other
   * @returns {string[]}
   */
  missingFrom(other) {
    const theirs = other.#secrets;
    return this.keyIds.filter((keyId) => {
      const secret = theirs.get(keyId);
      return !secret || hex(secret) !== hex(/** @type {Bytes} */ (this.#secrets.get(keyId)));
    });
  }

  /**
   * The keyring without some keys.
   *
   * @param {ReadonlySet<string>} keyIds
   * @returns {AudienceKeyring}
   */
  without(keyIds) {
    return new AudienceKeyring(this.audience, [...this.#secrets].filter(([keyId]) => !keyIds.has(keyId)));
  }
}

/**
 * @param {any} row
 * @returns {boolean}
 */
function isExported(row) {
  return typeof row?.id === "string" && typeof row.key === "string" && STATES.includes(row.state);
}

/**
 * The 32 bytes in a text. Throws `InvalidKey`.
 *
 * @param {string} text base64url without padding
 * @param {string} [what] what it is, for the message
 * @returns {Bytes}
 */
export function keyOf(text, what = "a key of an exported keyring") {
  const wrong = new InvalidKey(`${what} is not 32 bytes as 43 characters of base64url`);
  try {
    const key = decodeBase64(text);
    if (key.length === 32) return key;
  } catch {
    throw wrong; // without the cause, which would say nothing more
  }
  throw wrong;
}

/**
 * `keys` as a keyring. Throws `InvalidKey`.
 *
 * @param {AudienceKeyring | ExportedKeys} keys
 * @param {string} [audience] whose keys they must be
 * @returns {AudienceKeyring}
 */
export function keyringOf(keys, audience) {
  const keyring = keys instanceof AudienceKeyring ? keys : AudienceKeyring.from(keys);
  if (audience !== undefined && keyring.audience !== audience) {
    throw new InvalidKey(
      `this keyring has the keys of audience ${quoted(keyring.audience)}, and none of ${quoted(audience)}`,
    );
  }
  return keyring;
}
