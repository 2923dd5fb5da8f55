/**
 * Reads the answers of third parties as hostile input: returns values, or throws an error of `ClientError`'s family.
 *
 * Knows the bakery's bodies and error codes. Sends nothing and has no state.
 *
 * @module
 */

import { CaveatsError } from "../../errors.js";
import { sibling } from "../address.js";
import { BadDischarge, Forbidden } from "../errors.js";
import { isObject } from "../members.js";
import { objectOf, problemOf } from "../messages.js";
import { readEnvelope } from "./bakery.js";

/** @typedef {import("../http.js").Reply} Reply */
/** @typedef {import("../members.js").Members} Members */

export const DISCHARGE_REQUIRED = "macaroon discharge required";
export const INTERACTION_REQUIRED = "interaction required";

/**
 * The members of a JSON object; undefined for any other body.
 *
 * @param {Reply} reply
 * @returns {Members | undefined}
 */
export function membersOf({ body }) {
  try {
    return objectOf(body);
  } catch {
    return undefined;
  }
}

/**
 * The `Info` of the bakery's error `code`; undefined if the reply is not that error.
 *
 * @param {Reply} reply
 * @param {string} code
 * @returns {Members | undefined}
 */
export function infoOf(reply, code) {
  const members = [401, 407].includes(reply.status) ? membersOf(reply) : undefined;
  if (!members || either(members, "Code") !== code) return undefined;
  const info = either(members, "Info");
  return isObject(info) ? info : {};
}

/**
 * The members of a successful answer. Throws a `ClientError` for any other answer.
 *
 * @param {Reply} reply
 * @returns {Members}
 */
export function success(reply) {
  const members = membersOf(reply);
  const { status, origin } = reply;
  if (status < 200 || status > 299) throw refusal(reply, members ?? {});
  if (!members) throw new BadDischarge(`${origin} answers with something other than JSON`, { status });
  return members;
}

/**
 * The macaroon in a value of an answer. Throws `BadDischarge`.
 *
 * @param {string} origin
 * @param {unknown} value
 * @returns {import("./bakery.js").Envelope}
 */
export function macaroonIn(origin, value) {
  try {
    return readEnvelope(value);
  } catch (cause) {
    if (!(cause instanceof CaveatsError)) throw cause;
    throw new BadDischarge(`${origin} answers with what is no macaroon`, { cause });
  }
}

/**
 * The token that a sign-in gave, as fields of the next request for the discharge. Throws `BadDischarge`.
 *
 * @param {string} origin
 * @param {Members} members
 * @returns {Record<string, string>}
 */
export function tokenIn(origin, members) {
  for (const name of ["token", "token64"]) {
    const { [name]: value, kind } = members;
    if (typeof value === "string" && typeof kind === "string" && !/\p{Cs}/u.test(value + kind)) {
      return { [name]: value, "token-kind": kind };
    }
  }
  throw new BadDischarge(`${origin} gives no token for having signed in`);
}

/**
 * The URL that an answer names. Throws `BadDischarge` for another origin.
 *
 * @param {URL} place
 * @param {unknown} reference
 * @returns {URL}
 */
export function linkIn(place, reference) {
  const found = sibling(place, reference);
  if (!found) throw new BadDischarge(`${place.origin} leads to another site, which is not followed`);
  return found;
}

/**
 * The error for a third party's reply, with the reply's own message.
 *
 * @param {Reply} reply
 * @param {Members} members
 * @returns {Error}
 */
function refusal(reply, members) {
  const { status, origin } = reply;
  if (status < 400) return new BadDischarge(`${origin} answers with a redirect, which is not followed`, { status });
  const said = either(members, "Message");
  const words = typeof said === "string" && said ? `: ${said.slice(0, 1000)}` : "";
  const code = either(members, "Code");
  if (code === "permission denied") return new Forbidden(`${origin} does not agree${words}`, { status });
  const error = problemOf(reply, typeof code === "string");
  const kind = [404, 405, 500].includes(status) ? BadDischarge : /** @type {typeof BadDischarge} */ (error.constructor);
  const told = new kind(`${origin} gives no discharge${words || `: ${error.message}`}`, { status });
  const own = kind === error.constructor ? error : {};
  return Object.assign(told, { ...own, name: told.name });
}

/**
 * The member with this name. Some third parties write the name in lower case.
 *
 * @param {Members} members
 * @param {string} name
 * @returns {unknown}
 */
function either(members, name) {
  return members[name] ?? members[name.toLowerCase()];
}
