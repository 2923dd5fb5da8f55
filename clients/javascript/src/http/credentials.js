/**
 * Which token a request carries: exactly one, in a header, never in the URL. Knows the fields of a request's head, verifies
 * nothing. Sources: RFC 9110 (fields), RFC 6750 (bearer tokens).
 *
 * @module
 */

import { badRequest, credentialRequired, invalidToken, twoCredentials } from "./problems.js";

/**
 * The head of a request as it came in, nothing of it decoded.
 *
 * @typedef {object} Head
 * @property {string | undefined} method the HTTP method that the app acts on
 * @property {string | undefined} path the path that the app acts on, without the query
 * @property {string} query what stands after the `?`
 * @property {readonly (readonly [string, string])[]} headers one pair a line; names in lower case; of a value, each character
 *   is a byte
 * @property {string | null | undefined} peer the address at the other end of the connection; null on a Unix socket, undefined
 *   if it is not known
 */

/** In an `Authorization` with a comma: several lines were joined. A token has no comma; other schemes' parameters do. */
const JOINED = /(?:^|,)[ \t]*(?:bearer|basic)(?:[ \t,]|$)/i;
const TOKEN = "cav1_";
const SECRET_MEMBERS = ["access_token", "token", "password"];
const IN_THE_URL = "a credential goes into a header or the body, never into a URL, which logs keep";

/**
 * The one token in these headers. Throws `Problem`: 400 for two credentials, 401 for none, for another scheme than Bearer,
 * and for a token that is not ASCII. All credentials are counted before one is read; an empty header counts.
 *
 * @param {Head["headers"]} headers
 * @returns {string}
 */
export function tokenOf(headers) {
  const found = headers.filter(([name]) => name === "authorization" || name === "x-auth-token");
  if (!found.length) throw credentialRequired();
  const [[name, value]] = found;
  const bare = name === "x-auth-token";
  if (found.length > 1 || (value.includes(",") && (bare || JOINED.test(value)))) throw twoCredentials();
  const text = value.replace(/^[ \t]+|[ \t]+$/g, "");
  const token = bare ? text : /^bearer +([^]+)/i.exec(text)?.[1];
  if (token === undefined) throw credentialRequired();
  if (/[^\0-\x7f]/.test(token)) throw invalidToken();
  return token;
}

/**
 * Throws a 400 `Problem` for a credential in a URL, and for NUL in a path.
 *
 * A credential is a token of this format anywhere in the path, the query or a referer, or a member `access_token`, `token`
 * or `password` of the query. Percent-encoding is undone once, as servers do.
 *
 * @param {Head} head
 */
export function checkUrl({ path = "", query, headers }) {
  const decoded = unescaped(path);
  if (decoded.includes(TOKEN)) throw badRequest(IN_THE_URL);
  if (decoded.includes("\0")) throw badRequest("a path has no NUL");
  const referers = headers.filter(([name]) => name === "referer").map(([, value]) => value);
  const isSecret = query.split(/[&;]/).some((member) => SECRET_MEMBERS.includes(unescaped(member.split("=", 1)[0])));
  if (isSecret || [query, ...referers].some((text) => text.includes(TOKEN) || unescaped(text).includes(TOKEN))) {
    throw badRequest(IN_THE_URL);
  }
}

/**
 * A text with its escapes undone, of which only the ASCII counts here.
 *
 * @param {string} text
 * @returns {string}
 */
function unescaped(text) {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
}
