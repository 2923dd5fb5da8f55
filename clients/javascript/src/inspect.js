/**
 * The content of a token: who added which caveat, and what all of them allow together. Pure, and offline.
 *
 * Knows tokens and kinds, knows no keys: nothing here is verified, and whoever shows it must say so. The members are those
 * of `caveats inspect --json`, name by name and value by value.
 *
 * @module
 */

import { encodeBase64, escapedText, text as textOf } from "./bytes.js";
import { effective, repeated } from "./kinds/authority.js";
import { parsePredicate } from "./kinds/base.js";
import { STANDARD } from "./kinds/standard.js";
import { readMoment, writeMoment } from "./kinds/values.js";
import { bundleOf } from "./token/bundle.js";
import { issueTime, parseIdentifier } from "./token/identifier.js";

/** @typedef {import("./kinds/base.js").Caveat} Caveat */
/** @typedef {import("./token/macaroon.js").Bundle} Bundle */
/** @typedef {import("./token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./token/macaroon.js").ThirdPartyCaveat} ThirdPartyCaveat */

/**
 * A first-party caveat, and its position among all caveats that a verifier judges.
 *
 * @typedef {object} InspectedCaveat
 * @property {number} index
 * @property {string} kind
 * @property {string} predicate
 * @property {"issuer" | "holder" | "discharger" | "unknown"} added_by
 * @property {string | null} redundant why it changes nothing; null if it narrows the token
 * @property {string | null} unknown why no known kind can read it; null if one can
 */

/**
 * A third-party caveat, and its discharge.
 *
 * @typedef {object} InspectedThirdParty
 * @property {string} location
 * @property {"issuer" | "holder" | "discharger" | "unknown"} added_by
 * @property {"caveats" | "bakery 1" | "bakery 2" | "bakery 3" | "unknown"} ticket its format
 * @property {boolean} discharged
 * @property {number | null} discharge its position in the bundle, from 1
 * @property {string | null} expires_at
 */

/**
 * What all caveats together allow.
 *
 * @typedef {object} InspectedAuthority
 * @property {string | null} user
 * @property {string[]} scopes
 * @property {string | null} expires_at
 * @property {number | null} expires_in seconds, below 0 after the expiry
 * @property {boolean} expired
 * @property {string | null} not_before
 * @property {string[] | null} audiences
 * @property {string[] | null} methods
 * @property {string[][]} paths one list for each caveat: a request must match one of each
 * @property {string[] | null} hosts
 * @property {string[][]} client_ips
 * @property {string[]} notes
 * @property {string[]} others
 */

/**
 * @typedef {object} Inspection
 * @property {false} verified
 * @property {string | null} token_id
 * @property {string | null} key_id
 * @property {string | null} audience
 * @property {string | null} issued_at
 * @property {string} identifier
 * @property {string} location
 * @property {InspectedCaveat[]} caveats
 * @property {InspectedThirdParty[]} third_parties
 * @property {number} stray_discharges discharges that no caveat needs. With one of them, every verifier refuses
 * @property {InspectedAuthority} authority
 */

/**
 * The content of a token and its discharges. Throws `MalformedToken` (`DamagedToken`), `LimitExceeded`.
 *
 * @param {string | Macaroon | Bundle} token
 * @param {{now?: Date}} [options]
 * @returns {Inspection}
 */
export function inspect(token, { now = new Date() } = {}) {
  const { macaroon, discharges } = bundleOf(token);
  const identifier = parseIdentifier(macaroon.identifier);
  const waiting = new Map(discharges.map((discharge, at) => [encodeBase64(discharge.identifier), at]));
  /** @type {InspectedThirdParty[]} */
  const thirdParties = [];
  /** @type {{caveat: Caveat, added_by: InspectedCaveat["added_by"]}[]} */
  const judged = [];

  /**
   * @param {Macaroon} one
   * @param {number} issued how many of its first caveats the issuer wrote
   * @param {InspectedCaveat["added_by"]} later who wrote the rest
   */
  const visit = (one, issued, later) => {
    const asked = /** @type {[ThirdPartyCaveat, InspectedCaveat["added_by"]][]} */ ([]);
    one.caveats.forEach((caveat, place) => {
      const added_by = place < issued ? "issuer" : later;
      if (caveat instanceof Uint8Array) judged.push({ caveat: parsePredicate(caveat, STANDARD), added_by });
      else asked.push([caveat, added_by]);
    });
    for (const [{ location, ticket }, added_by] of asked) {
      const key = encodeBase64(ticket);
      const at = waiting.get(key);
      const discharge = at === undefined ? undefined : discharges[at];
      waiting.delete(key);
      thirdParties.push({
        location,
        added_by,
        ticket: formatOf(ticket),
        discharged: !!discharge,
        discharge: at === undefined ? null : at + 1,
        expires_at: discharge ? expiryOf(discharge) : null,
      });
      if (discharge) visit(discharge, 0, "discharger");
    }
  };
  visit(macaroon, identifier?.issuerCaveats ?? 0, identifier ? "holder" : "unknown");

  const caveats = judged.map(({ caveat }) => caveat);
  const because = repeated(caveats);
  return {
    verified: false,
    token_id: identifier?.tokenId ?? null,
    key_id: identifier?.keyId ?? null,
    audience: identifier?.audience ?? null,
    issued_at: identifier ? writeMoment(issueTime(identifier.tokenId)) : null,
    identifier: escapedText(macaroon.identifier),
    location: macaroon.location,
    caveats: judged.map(({ caveat, added_by }, index) => ({
      index,
      kind: caveat.kind,
      predicate: caveat.text,
      added_by,
      redundant: because[index],
      unknown: caveat.unknown,
    })),
    third_parties: thirdParties,
    stray_discharges: discharges.length - thirdParties.filter((one) => one.discharged).length,
    authority: authorityOf(caveats, identifier?.audience, now),
  };
}

/**
 * @param {Caveat[]} caveats
 * @param {string | undefined} audience the token's own
 * @param {Date} now
 * @returns {InspectedAuthority}
 */
function authorityOf(caveats, audience, now) {
  const left = effective(caveats);
  const until = left.expiresAt === null ? null : Date.parse(left.expiresAt) - now.getTime();
  /** @type {Record<string, any>} */
  const lists = {};
  for (const [kind, row] of Object.entries(STANDARD)) {
    const found = left.lists[kind] ?? [];
    if (row.lists) lists[`${kind.replace("-", "_")}s`] = row.joint ? (found[0] ?? null) : found;
  }
  const { audiences, ...others } = lists;
  return /** @type {InspectedAuthority} */ ({
    user: left.user,
    scopes: left.scopes?.map((pattern) => pattern.text) ?? ["*"],
    expires_at: left.expiresAt,
    expires_in: until === null ? null : Math.trunc(until / 1000) + 0,
    expired: until !== null && until <= 0,
    not_before: left.notBefore,
    audiences: audience && (!audiences || audiences.includes(audience)) ? [audience] : audience ? [] : audiences,
    ...others,
    notes: left.notes,
    others: left.others.map((caveat) => caveat.text),
  });
}

/**
 * The format of a ticket: ours, or one of the bakery's.
 *
 * @param {Uint8Array} ticket
 * @returns {InspectedThirdParty["ticket"]}
 */
function formatOf(ticket) {
  if (ticket[0] === 0x43 && ticket[1] === 1) return "caveats";
  return ticket[0] === 0x65 ? "bakery 1" : ticket[0] === 2 ? "bakery 2" : ticket[0] === 3 ? "bakery 3" : "unknown";
}

/**
 * When a discharge expires, by `expires` or by the bakery's `time-before`; null for never.
 *
 * @param {Macaroon} discharge
 * @returns {string | null}
 */
export function expiryOf(discharge) {
  let earliest = null;
  for (const predicate of discharge.caveats) {
    const at = predicate instanceof Uint8Array ? endOf(textOf(predicate) ?? "") : null;
    if (at !== null && (earliest === null || at < earliest)) earliest = at;
  }
  return earliest;
}

/**
 * @param {string} predicate
 * @returns {string | null}
 */
function endOf(predicate) {
  const found =
    /^(?:expires = (.*)|time-before (\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.\d{1,9})?(?:Z|([+-])(\d\d):(\d\d)))$/.exec(predicate);
  if (!found) return null;
  const [, expires, local, sign, hours, minutes] = found;
  try {
    if (expires !== undefined) return readMoment(expires);
    const zone = (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * (sign === "-" ? -60000 : 60000);
    const time = Date.parse(readMoment(`${local}Z`)) - zone;
    return Math.abs(zone) < 86400000 ? writeMoment(time) : null;
  } catch {
    return null; // not in its grammar: it refuses, and says nothing of an expiry
  }
}
