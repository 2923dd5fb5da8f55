/**
 * Whether an answer is about what was asked: a proxy or a pool of connections can mix answers up.
 *
 * Each check compares what the answer says with what was asked and with the token that was presented, and throws
 * `WrongShape`. Knows no signature: a service that lies is not found out.
 *
 * @module
 */

import { escapedText, utf8 } from "../bytes.js";
import { parseDuration } from "../durations.js";
import { CaveatsError } from "../errors.js";
import { parsePredicate } from "../kinds/base.js";
import { parseScope, scopeCovers } from "../kinds/scopes.js";
import { STANDARD } from "../kinds/standard.js";
import { parseIdentifier } from "../token/identifier.js";
import { WrongShape } from "./members.js";

/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./bodies.js").Issued} Issued */

/**
 * The answer has these members. Upper and lower case count as the same: names are stored in lower case.
 *
 * @param {Record<string, string>} asked
 * @returns {(answer: any) => void}
 */
export function matches(asked) {
  return (answer) => {
    for (const name in asked) {
      if (String(answer[name]).toLowerCase() !== asked[name].toLowerCase()) wrong(`it is about another ${name}`);
    }
  };
}

/**
 * The new token is for the user who asked, allows no more than was asked, and lives no longer.
 *
 * @param {import("./members.js").Members} asked the members of the request's body. What it does not say is the service's choice
 * @returns {(answer: Issued, presented: Macaroon | undefined) => void}
 */
export function issuedAsAsked(asked) {
  return (answer, presented) => {
    const username = asked.username ?? asked.user;
    if (username !== undefined) matches({ user: username })(answer);
    let { audience } = asked;
    if (presented) {
      sameUser(answer, presented);
      const own = parseIdentifier(presented.identifier);
      audience ??= own?.audience;
      const parents = caveatsOf(answer.token).filter(({ kind }) => kind === "parent");
      if (own && !parents.some(({ data }) => data.tokenId === own.tokenId)) {
        wrong("it has a token that was issued against another one");
      }
    }
    if (audience !== undefined && answer.audience !== audience) wrong("it has a token for another audience");
    if (asked.scope !== undefined && !isWithin(answer.scopes, asked.scope.split(" "))) {
      wrong("it has a token that allows more than was asked");
    }
    const has = predicatesOf(answer.token);
    for (const predicate of asked.caveats ?? []) {
      const { unknown } = parsePredicate(utf8(predicate), STANDARD);
      if (unknown === null && !has.has(predicate)) wrong("it has a token without the caveats that were asked");
    }
    if (livesLonger(answer, asked.expires_in)) wrong("it has a token that lives longer than was asked");
  };
}

/**
 * The answer has the presented token again, with all its caveats but the issuer's expiry.
 *
 * @param {Issued} answer
 * @param {Macaroon | undefined} presented
 */
export function renewedAsPresented(answer, presented) {
  if (!presented) return;
  sameUser(answer, presented);
  sameToken(answer, presented);
  const has = predicatesOf(answer.token);
  for (const predicate of predicatesOf(presented)) {
    if (!predicate.startsWith("expires = ") && !has.has(predicate)) wrong("it has another copy of the token");
  }
}

/**
 * The answer is about the presented token.
 *
 * @param {{tokenId: string | null}} answer
 * @param {Macaroon | undefined} presented
 */
export function sameToken(answer, presented) {
  const own = presented && parseIdentifier(presented.identifier);
  if (own && own.tokenId !== answer.tokenId) wrong("it is about another token");
}

/**
 * @param {Issued} answer
 * @param {Macaroon} presented
 */
function sameUser(answer, presented) {
  const [first] = caveatsOf(presented);
  if (first?.kind === "user" && first.value !== answer.user) wrong("it has a token of another user");
}

/**
 * @param {string} why
 * @returns {never}
 */
function wrong(why) {
  throw new WrongShape(why);
}

/**
 * The first-party caveats.
 *
 * @param {Macaroon} token
 */
function caveatsOf({ caveats }) {
  return caveats.flatMap((one) => (one instanceof Uint8Array ? [parsePredicate(one, STANDARD)] : []));
}

/**
 * The first-party caveats as they are written.
 *
 * @param {Macaroon} token
 */
function predicatesOf({ caveats }) {
  return new Set(caveats.flatMap((one) => (one instanceof Uint8Array ? [escapedText(one)] : [])));
}

/**
 * @param {readonly string[]} scopes
 * @param {readonly string[]} wider
 * @returns {boolean}
 */
function isWithin(scopes, wider) {
  try {
    const allowed = wider.map(parseScope);
    return scopes.every((scope) => allowed.some((one) => scopeCovers(one, parseScope(scope))));
  } catch {
    return false; // not scopes
  }
}

/**
 * @param {Issued} answer
 * @param {string | number | undefined} asked
 * @returns {boolean}
 */
function livesLonger({ issuedAt, expiresAt }, asked) {
  if (asked === undefined) return false;
  try {
    // Times in answers are in whole seconds.
    return expiresAt.getTime() - issuedAt.getTime() > (parseDuration(asked) + 1) * 1000;
  } catch (error) {
    if (error instanceof CaveatsError) return false; // which the service itself refuses
    throw error;
  }
}
