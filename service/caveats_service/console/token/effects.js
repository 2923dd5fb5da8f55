// What each caveat of a token says and takes away, and which of them repeat or contradict others. Knows the kinds, by the client's
// table; knows no element. Nothing of it decides anything: what passes is up to checkers.

import { utf8 } from "../client/bytes.js";
import { effective, narrowed } from "../client/kinds/authority.js";
import { parsePredicate } from "../client/kinds/base.js";
import { pathCovers } from "../client/kinds/facts.js";
import { STANDARD } from "../client/kinds/standard.js";
import { asSentence, either, may, methodWords, pathWords } from "./sentence.js";
import { duration, moment } from "../words.js";

/** @typedef {import("../client/inspect.js").Inspection} Inspection */
/** @typedef {import("../client/kinds/authority.js").Authority} Authority */
/** @typedef {import("../client/kinds/base.js").Caveat} Caveat */

/**
 * What a caveat does.
 * @typedef {object} Effect
 * @property {string} says what it asks for
 * @property {string} takes what it takes away from what was left before it
 * @property {"repeats" | "contradicts" | "unknown" | null} mark
 * @property {string} because why it has this mark
 */

/**
 * The effect of each first-party caveat of a token, in the order of `inspection.caveats`.
 * @param {Inspection} inspection @param {Date} now @returns {Effect[]}
 */
export function effectsOf(inspection, now) {
  let before = effective([]);
  /** @type {Caveat[]} */
  const earlier = [];
  return inspection.caveats.map(({ predicate, redundant, unknown }) => {
    if (unknown !== null) {
      return { says: "A kind that is not known here.", takes: "Every verifier that does not know it refuses.", mark: "unknown", because: asSentence(unknown) };
    }
    const caveat = parsePredicate(utf8(predicate), STANDARD);
    const after = narrowed(before, caveat);
    const contradiction = contradicted(caveat, before, after, earlier, inspection);
    const effect = {
      says: said(caveat, before, now),
      takes: redundant !== null || contradiction ? "" : taken(caveat, before, after, now),
      mark: /** @type {Effect["mark"]} */ (contradiction ? "contradicts" : redundant !== null ? "repeats" : null),
      because: contradiction || (redundant === null ? "" : asSentence(redundant)),
    };
    earlier.push(caveat);
    before = after;
    return effect;
  });
}

/** What a caveat asks for. @param {Caveat} caveat @param {Authority} before @param {Date} now */
function said({ kind, value, data }, before, now) {
  const words = value.split(" ");
  switch (kind) {
    case "user": return `Belongs to ${value}.`;
    case "scope": return words.includes("*") && words.length === 1 ? "Everything but the administration of the service." : `Only to ${may(words, before.user)}.`;
    case "expires": return `Ends at ${moment(new Date(value), now)}.`;
    case "not-before": return `Begins at ${moment(new Date(value), now)}.`;
    case "audience": return `Only for the ${words.length === 1 ? "app" : "apps"} ${either(words)}.`;
    case "method": return `Only with ${methodWords(words)}.`;
    case "path": return `Only ${pathWords(data)}.`;
    case "host": return `Only on ${either(words)}.`;
    case "client-ip": return `Only from ${either(words)}.`;
    case "note": return `Note: ${value}`;
    case "renewed": return `Renewed: at first it would have ended at ${moment(new Date(value), now)}.`;
    case "parent": return `Issued against the token ${data.tokenId}, and revoked with it.`;
    default: return "";
  }
}

/** What it takes away. @param {Caveat} caveat @param {Authority} before @param {Authority} after @param {Date} now */
function taken({ kind }, before, after, now) {
  switch (kind) {
    case "scope": {
      const left = texts(after.scopes);
      if (before.scopes === null || texts(before.scopes).join() === "*") return left.join() === "*" ? "" : "Takes away everything else.";
      const lost = texts(before.scopes).filter((pattern) => !left.includes(pattern));
      return lost.length === 0 ? "" : `Before it: ${may(texts(before.scopes), before.user)}.`;
    }
    case "expires":
      return before.expiresAt === null ? "Takes away all that comes later." : `Takes away ${duration(Date.parse(before.expiresAt) - Date.parse(after.expiresAt ?? ""))}.`;
    case "not-before":
      return Date.parse(after.notBefore ?? "") <= now.getTime() ? "That is past." : "Takes away all that comes earlier.";
    case "method": {
      const lost = (before.lists[kind]?.[0] ?? []).filter((word) => !after.lists[kind]?.[0]?.includes(word));
      return lost.length > 0 ? `Takes away ${either(lost)}.` : "Takes away all other methods.";
    }
    case "audience": return "Takes away all other apps.";
    case "path": return "Takes away all other paths.";
    case "host": return "Takes away all other hosts.";
    case "client-ip": return "Takes away all other addresses.";
    default: return "";
  }
}

/** @param {Authority["scopes"]} scopes */
const texts = (scopes) => (scopes ?? []).map((pattern) => pattern.text);

/**
 * Why no request passes both this caveat and what stands before it; empty if one may.
 * @param {Caveat} caveat @param {Authority} before @param {Authority} after @param {Caveat[]} earlier @param {Inspection} inspection
 */
function contradicted({ kind, value, data }, before, after, earlier, inspection) {
  const same = earlier.filter((caveat) => caveat.kind === kind);
  switch (kind) {
    case "user":
      return before.user !== null && before.user !== value ? `It belongs to ${before.user} already, and a token has one user.` : "";
    case "scope":
      return after.scopes?.length === 0 && before.scopes?.length !== 0 ? "No scope is allowed by both this caveat and those before it." : "";
    case "expires":
    case "not-before":
      return after.notBefore !== null && after.expiresAt !== null && after.notBefore >= after.expiresAt && !isOver(before) ? "It ends before it begins." : "";
    case "audience":
      if (inspection.audience !== null && !value.split(" ").includes(inspection.audience)) return `The token is for the app ${inspection.audience}, which this excludes.`;
      return emptied(kind, before, after);
    case "method":
    case "host":
      return emptied(kind, before, after);
    case "path":
      return same.some((other) => !meet(data, other.data, (/** @type {string} */ a, /** @type {string} */ b) => pathCovers(a, b) || pathCovers(b, a)))
        ? "No path lies in both this caveat and those before it." : "";
    case "client-ip":
      return same.some((other) => !meet(data, other.data, (/** @type {any} */ a, /** @type {any} */ b) => a.size === b.size && (a.shared.startsWith(b.shared) || b.shared.startsWith(a.shared))))
        ? "No address lies in both this caveat and those before it." : "";
    default: return "";
  }
}

/** @param {Authority} authority */
const isOver = ({ notBefore, expiresAt }) => notBefore !== null && expiresAt !== null && notBefore >= expiresAt;

/** @param {string} kind @param {Authority} before @param {Authority} after */
const emptied = (kind, before, after) =>
  after.lists[kind]?.[0]?.length === 0 && before.lists[kind]?.[0]?.length !== 0 ? `No ${kind} is in both this caveat and those before it.` : "";

/** @template T @param {T[]} ones @param {T[]} others @param {(a: T, b: T) => boolean} overlap */
const meet = (ones, others, overlap) => ones.some((one) => others.some((other) => overlap(one, other)));
