/**
 * Lines of the feed: pages of revocations, each authenticated under a key made from an audience's key. Knows text and keys, no
 * network and no clock.
 *
 * @module
 */

import { hex, same, utf8 } from "../bytes.js";
import { RejectedDelivery } from "../errors.js";
import { isKeyId } from "../token/identifier.js";

/** @typedef {import("../verify/keyring.js").AudienceKeyring} AudienceKeyring */
/**
 * @template T
 * @typedef {import("../hmac.js").Steps<T>} Steps
 */

/**
 * A part of the feed: all live entries with a sequence above `after`, up to `upto`.
 *
 * @typedef {object} Page
 * @property {number} epoch
 * @property {number} after
 * @property {number} upto
 * @property {number} last the newest sequence when the page was made
 * @property {number} at the service's clock, milliseconds since 1970
 * @property {string[]} keys the ids of the keys that verify
 * @property {import("../verify/revocations.js").Row[]} entries not checked: `RevocationSet.add` checks them
 */

const LABEL = utf8("caveats/v1/feed");
const MOST_VALUES = 20_000; // lists and objects in a page, which has 5000 entries
const LAST = 253402300799999; // the end of the year 9999, in milliseconds

/** A page under a key that is not here: a newer key, or a forged key id. */
export class UnknownSeal extends RejectedDelivery {}

/**
 * The page in a line, and the id of its key. Throws `UnknownSeal`, or `RejectedDelivery` for a wrong MAC or an unknown form.
 *
 * @param {string} line
 * @param {AudienceKeyring} keyring
 * @returns {Steps<{page: Page, seal: string}>}
 */
export function* openLine(line, keyring) {
  const [, seal, mac, json] = /** @type {RegExpExecArray} */ (/^([^ ]*) ?([^ ]*) ?([^]*)$/.exec(line));
  if (!keyring.has(seal)) throw new UnknownSeal("a page of the feed under a key that is not here");
  const made = yield [yield* keyring.mac(seal, LABEL), utf8(`${keyring.audience}\0${json}`)];
  if (!same(utf8(mac), utf8(hex(made)))) throw new RejectedDelivery("the service did not make this page of the feed");
  return { page: pageOf(json), seal };
}

/**
 * The proof that a reader holds a key of its audience, for the header `X-Feed-Proof`.
 *
 * @param {AudienceKeyring} keyring
 * @param {string} keyId
 * @param {number} now milliseconds since 1970
 * @returns {Steps<string>}
 */
export function* proofOf(keyring, keyId, now) {
  const at = Math.floor(now / 1000);
  const mac = yield [yield* keyring.mac(keyId, LABEL), utf8(`caveats/v1/feed-reader/${at}`)];
  return `${keyring.audience} ${keyId} ${at} ${hex(mac)}`;
}

/**
 * The page in authentic JSON. Only a service of another version, or a thief of its key, makes this fail.
 *
 * @param {string} json
 * @returns {Page}
 */
function pageOf(json) {
  const unreadable = new RejectedDelivery("a page of the feed in a form that this version cannot read");
  if ((json.match(/[[{]/g)?.length ?? 0) > MOST_VALUES) throw unreadable;
  let page;
  try {
    page = JSON.parse(json);
  } catch {
    throw unreadable; // without its cause, which may hold the text
  }
  const { epoch, after, upto, last, at, keys, entries } = page ?? {};
  const areNumbers = [epoch, after, upto, last, at].every((number) => Number.isSafeInteger(number) && number >= 0);
  if (!areNumbers || at > LAST || !Array.isArray(entries) || !Array.isArray(keys) || !keys.every(isKeyId)) throw unreadable;
  return { epoch, after, upto, last, at, keys, entries };
}
