/**
 * A registered verifier, and the key bundles that the service makes for it. Knows the verifier's file and the box that keys
 * come in; no network.
 *
 * @module
 */

import { text } from "../bytes.js";
import { CaveatsError, InvalidKey, RejectedDelivery } from "../errors.js";
import { isAudience, isTokenId } from "../token/identifier.js";
import { AudienceKeyring, keyOf } from "../verify/keyring.js";
import { openBox, privateKeyOf } from "./box.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */

/**
 * The content of the file that `caveats verifier register` completes.
 *
 * @typedef {object} RegistrationFile
 * @property {number} version 1
 * @property {string} url
 * @property {string} audience
 * @property {string} verifier_id
 * @property {string} private_key base64url, 32 bytes. Whoever has it can fetch the audience's keys
 * @property {string} service_public_key base64url, 32 bytes
 */

/**
 * An audience's keys for one verifier.
 *
 * @typedef {object} KeyBundle
 * @property {AudienceKeyring} keyring
 * @property {number} epoch of revocations; it grows when the service was restored from a backup
 * @property {number} serial when the service made it, in milliseconds since 1970. The larger one is newer
 * @property {number} notAfter milliseconds since 1970: the keys must not be used at this time or later
 */

/** A registered verifier. Its private key cannot be read again. */
export class Registration {
  #privateKey;
  #serviceKey;

  /**
   * Throws `InvalidKey` for a content that is no completed registration.
   *
   * @param {RegistrationFile} members of which nothing is believed
   */
  constructor(members) {
    const { version, url, audience, verifier_id: id, private_key: own, service_public_key: theirs } = members ?? {};
    if (version !== 1 || typeof own !== "string") throw new InvalidKey("not a verifier's file");
    if (!url || !isAudience(audience) || !isTokenId(id) || typeof theirs !== "string") {
      throw new InvalidKey("this verifier is not registered yet: caveats verifier register FILE");
    }
    this.url = url;
    this.audience = audience;
    this.verifierId = id;
    this.#serviceKey = keyOf(theirs, "service_public_key");
    this.#privateKey = privateKeyOf(keyOf(own, "private_key"));
    this.#privateKey.catch(() => {}); // told where it is needed
  }

  /**
   * The bundle in its box, made by the pinned service for this verifier. Throws `RejectedDelivery` for one that was changed, or
   * is from or for somebody else; `NoCrypto`, `InvalidKey`. Whether it has ended, and is the newest, is not asked.
   *
   * @param {Bytes} box
   * @returns {Promise<KeyBundle>}
   */
  async open(box) {
    const foreign = new RejectedDelivery("the pinned service did not make this key bundle for this verifier");
    if (box.length < 27 || box[0] !== 0x4b || box[1] !== 1) throw new RejectedDelivery("not a key bundle");
    const plain = await openBox(box.subarray(26), box.subarray(2, 26), this.#serviceKey, await this.#privateKey);
    if (!plain) throw foreign;
    let members, keyring;
    try {
      members = JSON.parse(text(plain) ?? "");
      keyring = AudienceKeyring.from(members);
    } catch (error) {
      throw error instanceof CaveatsError || error instanceof SyntaxError ? foreign : error;
    }
    const { verifier_id, epoch, serial, not_after } = members;
    if (![epoch, serial, not_after].every(Number.isSafeInteger) || Math.abs(not_after) > 253402300799) throw foreign;
    if (verifier_id !== this.verifierId || keyring.audience !== this.audience) {
      throw new RejectedDelivery("the key bundle is for another verifier or audience");
    }
    return { keyring, epoch, serial, notAfter: not_after * 1000 };
  }
}
