/**
 * One request to the service, and what its reply means. Does no I/O: knows statuses, headers and JSON; knows no endpoint.
 *
 * @module
 */

import { hex, text as textOf, utf8 } from "../bytes.js";
import { NoCrypto } from "../errors.js";
import { failure } from "./bodies.js";
import {
  BadRequest,
  Conflict,
  Forbidden,
  NotAuthenticated,
  NotFound,
  RateLimited,
  Unavailable,
  UnexpectedResponse,
} from "./errors.js";
import { WrongShape, isObject, rows } from "./members.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./http.js").Reply} Reply */
/** @typedef {import("./members.js").Members} Members */

/**
 * One request to the service, and the reader of its answer. What may be a secret is not enumerable.
 *
 * @template T
 * @typedef {object} Call
 * @property {string} method
 * @property {string} path
 * @property {(members: Members) => T} read makes the result from the members of the answer; throws `WrongShape`
 * @property {Members} [body]
 * @property {Record<string, unknown>} [query] members that are undefined or null are left out
 * @property {boolean} [open] whether it needs no credential, and none is presented
 * @property {boolean} [session] whether it is about the session cookie: a browser sends and keeps it
 * @property {string} [cookie] a session cookie, `name=value`, to send instead of a token
 * @property {boolean} [named] whether the answer names this request by the SHA-256 of its body, in `request_sha256`
 * @property {(result: T, presented: Macaroon | undefined) => void} [check] compares the result with what was asked and the
 *   token that was presented; throws `WrongShape`
 */

/**
 * A call.
 *
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {(members: Members) => T} read
 * @param {Omit<Call<T>, "method" | "path" | "read">} [more]
 * @returns {Call<T>}
 */
export function callOf(method, path, read, more = {}) {
  const hidden = Object.entries(more).map(([name, value]) => [name, { value }]);
  const fields = { ...Object.fromEntries(hidden), method: seen(method), path: seen(path), read: seen(read) };
  return Object.defineProperties(/** @type {any} */ ({}), fields);
}

/** @param {unknown} value */
const seen = (value) => ({ value, enumerable: true });

/**
 * The result of a call, from the reply to it. Throws a `ClientError` if it is none.
 *
 * An answer to another question is an `UnexpectedResponse`: a proxy or a pool of connections can mix them up.
 *
 * @template T
 * @param {Call<T>} call
 * @param {Reply} reply
 * @param {string} [content] the body that was sent
 * @param {Macaroon} [presented] the token that went with the request
 * @returns {Promise<T>}
 */
export async function answerOf(call, reply, content, presented) {
  const { status, headers, body, origin } = reply;
  if (status < 200 || status > 299) throw problemOf(reply);
  try {
    const members = status === 204 ? {} : objectOf(body);
    const cookie = headers.get("set-cookie")?.split(";")[0];
    if (call.named && members.request_sha256 !== (await sha256(content ?? ""))) {
      throw new WrongShape("it is the answer to another request");
    }
    const result = call.read(call.session ? { ...members, cookie } : members);
    call.check?.(result, presented);
    return result;
  } catch (error) {
    if (!(error instanceof WrongShape)) throw error;
    const what = `the answer of ${origin} to ${call.method} ${call.path}`;
    throw new UnexpectedResponse(`${what} is not that of a caveats service: ${error.message}`, { status, cause: error });
  }
}

/**
 * @param {string} text
 * @returns {Promise<string>} in hexadecimal
 */
async function sha256(text) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) throw new NoCrypto("there is no WebCrypto here: a page must come over https or from localhost");
  return hex(new Uint8Array(await subtle.digest("SHA-256", utf8(text))));
}

// Problems

/** @type {Record<number, typeof import("./errors.js").ClientError>} */
const BY_STATUS = {
  401: NotAuthenticated,
  403: Forbidden,
  404: NotFound,
  405: UnexpectedResponse,
  409: Conflict,
  429: RateLimited,
  502: Unavailable,
  503: Unavailable,
  504: Unavailable,
};
/** Statuses with which something on the way says that it does not let the request through now. */
const ON_THE_WAY = [401, 403, 407, 408, 413, 421, 423, 425];

/**
 * The error for a reply whose status is not 2xx.
 *
 * What has no code was not said by the service but by something on the way, a proxy or a portal: it is `Unavailable`, or
 * `UnexpectedResponse` where waiting would not help.
 *
 * @param {Reply} reply
 * @param {boolean} [coded] it has a code of another kind
 * @returns {import("./errors.js").ClientError}
 */
export function problemOf({ status, headers, body, origin }, coded) {
  if (status < 400) return new UnexpectedResponse(redirected(origin, headers.get("location")), { status });
  /** @type {Members} */
  let members = {};
  try {
    members = objectOf(body);
  } catch {
    // not a problem's body
  }
  const code = said(members, "code");
  let kind = BY_STATUS[status] ?? (status < 500 ? BadRequest : UnexpectedResponse);
  let detail = said(members, "detail") || said(members, "title") || `${origin} answers ${status}`;
  if (!code && !coded && status < 500) {
    if (status !== 429) kind = ON_THE_WAY.includes(status) ? Unavailable : UnexpectedResponse;
    detail = `something on the way answers ${status}, or what is at ${origin} is not a caveats service`;
  }
  const error = new kind(detail, { code, status });
  if (error instanceof Forbidden) error.failures = failuresIn(members);
  if (error instanceof RateLimited || error instanceof Unavailable) {
    error.retryAfter = secondsToWait(headers.get("retry-after"), headers.get("date"));
  }
  return error;
}

/**
 * The message for a redirect. It names the address that it leads to, without what belongs to the request.
 *
 * @param {string} origin
 * @param {string | null} location null also in a browser, which does not show it
 * @returns {string}
 */
function redirected(origin, location) {
  const [, target] = /^(https?:\/\/[\w.:[\]-]+)/i.exec(location ?? "") ?? [];
  const there = target ? ` to ${target}` : "";
  return `${origin} answers with a redirect${there}, which is not followed: is the address right?`;
}

/**
 * The members of a JSON object. Throws `WrongShape`.
 *
 * @param {Bytes} body
 * @returns {Members}
 */
export function objectOf(body) {
  let members;
  try {
    members = JSON.parse(textOf(body) ?? "");
  } catch {
    throw new WrongShape("it is not JSON"); // without its cause, which may hold a part of the text
  }
  if (!isObject(members)) throw new WrongShape("it is not a JSON object");
  return members;
}

/**
 * @param {Members} members
 * @param {string} name
 * @returns {string}
 */
function said(members, name) {
  const value = members[name];
  return typeof value === "string" ? value.slice(0, 1000) : "";
}

/**
 * @param {Members} members
 * @returns {readonly import("./errors.js").Failure[]}
 */
function failuresIn(members) {
  try {
    return /** @type {any} */ (rows(failure)(members, "failures"));
  } catch {
    return [];
  }
}

/**
 * The seconds in a header `Retry-After`, which has them or a date (RFC 9110, section 10.2.3); null for anything else.
 *
 * @param {string | null} header
 * @param {string | null} date the header `Date` of the same answer. Without one, a date is compared with this machine's clock
 * @returns {number | null}
 */
export function secondsToWait(header, date) {
  if (/^\d{1,9}$/.test(header ?? "")) return Number(header);
  const seconds = Math.ceil((httpDate(header) - (httpDate(date) || Date.now())) / 1000);
  return seconds < 1e9 ? Math.max(0, seconds) : null;
}

/**
 * Milliseconds since 1970; NaN for what is no date of HTTP.
 *
 * @param {string | null} text in one of the three forms
 * @returns {number}
 */
function httpDate(text) {
  const found = /^[A-Z][a-z]{2,8},? (.*?)( GMT)?$/.exec(text ?? "");
  return found ? Date.parse(`${found[1].replaceAll("-", " ")} GMT`) : NaN;
}
