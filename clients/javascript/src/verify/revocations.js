/**
 * The revocations in force: a set that answers in constant time. Knows no keys and no clock.
 *
 * @module
 */

import { MalformedCaveat } from "../errors.js";
import { checkValue } from "../kinds/base.js";
import { isTokenId, issueTime } from "../token/identifier.js";

/**
 * A revocation as the feed has it: sequence, kind, expiry in seconds since 1970, and what is revoked. Of kind `t` a token
 * id; of `b` a token id and a branch id (32 hexadecimal digits); of `u` a user, and the milliseconds since 1970 up to which
 * their tokens are revoked.
 *
 * @typedef {[number, "t", number, string] | [number, "b", number, string, string] | [number, "u", number, string, number]} Row
 */

const LAST_SECOND = 253402300799; // of the year 9999

/** Revocations in memory. */
export class RevocationSet {
  /** @type {Map<string, number>} */
  #tokens = new Map();
  /** @type {Map<string, Map<string, number>>} */
  #branches = new Map();
  /** @type {Map<string, {upTo: number, expires: number}>} */
  #users = new Map();

  /** How many entries were added. It only grows. */
  changes = 0;

  /** @param {Iterable<Row>} [rows] throws `MalformedCaveat` for a malformed one */
  constructor(rows = []) {
    this.add(rows);
  }

  /** How many entries there are. */
  get size() {
    let size = this.#tokens.size + this.#users.size;
    for (const branches of this.#branches.values()) size += branches.size;
    return size;
  }

  /**
   * Add the entries with a sequence above `after`. Throws `MalformedCaveat` for a malformed one; those before it are added.
   *
   * @param {Iterable<Row>} rows
   * @param {number} [after]
   */
  add(rows, after = -1) {
    for (const row of rows) {
      const [sequence, kind, expires, name, detail] = checkRow(row);
      if (sequence <= after) continue;
      if (kind === "t") keepLonger(this.#tokens, name, expires);
      else if (kind === "b") {
        let branches = this.#branches.get(name);
        if (!branches) this.#branches.set(name, (branches = new Map()));
        keepLonger(branches, detail, expires);
      } else {
        const known = this.#users.get(name);
        const upTo = Math.max(detail, known?.upTo ?? 0);
        this.#users.set(name, { upTo, expires: Math.max(expires, known?.expires ?? 0) });
      }
      this.changes++;
    }
  }

  /**
   * Whether the whole token is revoked.
   *
   * @param {string} tokenId
   * @returns {boolean}
   */
  hitsToken(tokenId) {
    return this.#tokens.has(tokenId);
  }

  /**
   * Whether the tokens of a user are revoked up to the issue time of this one, or later.
   *
   * @param {string} user
   * @param {string} tokenId
   * @returns {boolean}
   */
  hitsUser(user, tokenId) {
    const known = this.#users.get(user);
    return !!known && issueTime(tokenId) <= known.upTo;
  }

  /**
   * Whether some branch of this token is revoked: almost never, and then no branch id need be computed.
   *
   * @param {string} tokenId
   * @returns {boolean}
   */
  hasBranches(tokenId) {
    return this.#branches.has(tokenId);
  }

  /**
   * Whether one of these branches of this token is revoked.
   *
   * @param {string} tokenId
   * @param {readonly string[]} branchIds in lower-case hexadecimal
   * @returns {boolean}
   */
  hitsBranch(tokenId, branchIds) {
    const known = this.#branches.get(tokenId);
    return !!known && branchIds.some((branchId) => known.has(branchId));
  }

  /**
   * Forget the entries that had expired at a time, after which they can hit nothing.
   *
   * @param {number} at milliseconds since 1970, on the clock of the service
   */
  prune(at) {
    const second = at / 1000;
    dropUntil(this.#tokens, second);
    for (const [user, { expires }] of this.#users) if (expires <= second) this.#users.delete(user);
    for (const [tokenId, branches] of this.#branches) {
      dropUntil(branches, second);
      if (!branches.size) this.#branches.delete(tokenId);
    }
  }
}

/**
 * @param {Map<string, number>} map
 * @param {string} name
 * @param {number} expires
 */
function keepLonger(map, name, expires) {
  map.set(name, Math.max(expires, map.get(name) ?? 0));
}

/**
 * @param {Map<string, number>} map
 * @param {number} second
 */
function dropUntil(map, second) {
  for (const [name, expires] of map) if (expires <= second) map.delete(name);
}

/**
 * A row of which every value has been checked. Throws `MalformedCaveat`.
 *
 * @param {any} row
 * @returns {[number, string, number, string, any]}
 */
function checkRow(row) {
  if (!Array.isArray(row) || row.length < 4) throw new MalformedCaveat("not a revocation");
  const [sequence, kind, expires, name, detail] = row;
  if (!isCount(sequence) || !isCount(expires) || expires > LAST_SECOND) {
    throw new MalformedCaveat("a revocation must have a sequence and an expiry, whole numbers");
  }
  const isOfItsKind =
    row.length === (kind === "t" ? 4 : 5) &&
    (kind === "u"
      ? isCount(detail) && detail <= LAST_SECOND * 1000 + 999
      : (kind === "t" || (kind === "b" && /^[0-9a-f]{32}$/.test(detail))) && isTokenId(name));
  if (!isOfItsKind) throw new MalformedCaveat("a revocation must be of kind t, b or u, with the values of that kind");
  if (kind === "u") checkValue(name);
  return [sequence, kind, expires, name, detail];
}

/**
 * @param {unknown} number
 * @returns {boolean}
 */
function isCount(number) {
  return Number.isSafeInteger(number) && /** @type {number} */ (number) >= 0;
}
