/**
 * The decision yes, and what it rests on. A value: holds no key and no signature.
 *
 * @module
 */

import { effective } from "../kinds/authority.js";
import { issueTime } from "../token/identifier.js";

/** @typedef {import("../kinds/base.js").Caveat} Caveat */

/** A token that may do what a request asks: every caveat held. */
export class Grant {
  /** @type {import("../kinds/authority.js").Authority | undefined} */
  #authority;

  /**
   * @param {import("../token/identifier.js").Identifier} identifier
   * @param {string} user
   * @param {readonly Caveat[]} caveats
   * @param {readonly ("issuer" | "holder" | "discharger")[]} addedBy
   */
  constructor(identifier, user, caveats, addedBy) {
    /** Whose token it is: the issuer's word, which no holder can change. */
    this.user = user;
    /** The token's id, a ULID. */
    this.tokenId = identifier.tokenId;
    /** The audience that it was issued for. */
    this.audience = identifier.audience;
    /** The key that it is under. */
    this.keyId = identifier.keyId;
    /** The first-party caveats: the macaroon's in chain order, then its discharges'. */
    this.caveats = caveats;
    /** Who added each of them. */
    this.addedBy = addedBy;
    Object.freeze(this);
  }

  /** What all caveats together leave. Worked out when first asked for. */
  get authority() {
    return (this.#authority ??= effective(this.caveats));
  }

  /** The scope patterns that are left. */
  get scopes() {
    return this.authority.scopes?.map((pattern) => pattern.text) ?? ["*"];
  }

  /** When the token was first issued. */
  get issuedAt() {
    return new Date(issueTime(this.tokenId));
  }

  /** The earliest expiry; null if there is none. Every token of the service has one. */
  get expiresAt() {
    const { expiresAt } = this.authority;
    return expiresAt === null ? null : new Date(expiresAt);
  }
}
