/**
 * Readers of the members of JSON objects, and of whole objects. Knows JSON types, knows no HTTP and no endpoint.
 *
 * A reader returns the member in its JavaScript type and throws `WrongShape` if it is missing or has another. Members that
 * nobody asks for are ignored, so that an older client understands a newer service. A field's name is its member's in
 * camelCase: `tokenId` is read from `token_id`.
 *
 * @module
 */

import { decodeBase64 } from "../bytes.js";
import { CaveatsError } from "../errors.js";
import { decode } from "../token/bundle.js";
import { decodeLenient } from "../token/legacy.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../token/macaroon.js").Macaroon} Macaroon */
/** @typedef {Record<string, any>} Members */
/**
 * @template T
 * @typedef {(members: Members, name: string) => T} Reader
 */

/** A member is missing or has another type. The message names the member, and never shows its value. */
export class WrongShape extends Error {}

/**
 * A reader of a member that passes a test.
 *
 * @template T
 * @param {(value: any) => boolean} fits
 * @param {(value: any) => T} [make] what the result is made of; may throw an error of ours
 * @returns {Reader<T>}
 */
function reader(fits, make = (value) => value) {
  return (members, name) => {
    const value = members[name];
    try {
      if (fits(value)) return make(value);
    } catch (error) {
      if (!(error instanceof CaveatsError)) throw error; // ours say nothing that is needed here
    }
    throw new WrongShape(`no ${name}, or not as expected`);
  };
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const isText = (/** @type {unknown} */ value) => typeof value === "string";

/** @type {Reader<string>} */
export const text = /* @__PURE__ */ reader(isText);
/** @type {Reader<number>} a whole number */
export const number = /* @__PURE__ */ reader(Number.isSafeInteger);
/** @type {Reader<boolean>} */
export const flag = /* @__PURE__ */ reader((value) => typeof value === "boolean");
/** @type {Reader<readonly string[]>} */
export const texts = /* @__PURE__ */ reader((value) => Array.isArray(value) && value.every(isText));
/** @type {Reader<Date>} a time in ISO 8601 with its zone */
export const moment = /* @__PURE__ */ reader(
  (value) => TIME.test(value) && isText(value) && Date.parse(value) === Date.parse(value),
  (value) => new Date(value),
);
/** @type {Reader<Macaroon>} */
export const token = /* @__PURE__ */ reader(isText, (value) => decode(value));
/** @type {Reader<Bytes>} base64url without padding */
export const binary = /* @__PURE__ */ reader(isText, decodeBase64);
/** @type {Reader<Bytes>} base64 of either alphabet, padded or not: bakeries write all of these */
export const anyBase64 = /* @__PURE__ */ reader(isText, decodeLenient);
/** @type {Reader<readonly string[]>} the member `scope`: patterns with spaces between them */
export const scopes = (members) => text(members, "scope").split(/ +/).filter(Boolean);

/**
 * A reader of a member that may be missing or null.
 *
 * @template T, [F=null]
 * @param {Reader<T>} read
 * @param {F} [instead]
 * @returns {Reader<T | F>}
 */
export function optional(read, instead = /** @type {any} */ (null)) {
  return (members, name) => (members[name] ?? null) === null ? /** @type {any} */ (instead) : read(members, name);
}

/**
 * A reader of a list of objects.
 *
 * @template T
 * @param {(members: Members) => T} read
 * @returns {Reader<readonly T[]>}
 */
export function rows(read) {
  const list = reader((value) => Array.isArray(value) && value.every(isObject));
  return (members, name) => /** @type {any} */ (list(members, name)).map(read);
}

/**
 * An object, read field by field.
 *
 * @template {Record<string, Reader<any>>} S
 * @param {Members} members
 * @param {S} shape
 * @param {keyof S} [secret] a field that is a live credential: it is not enumerable, so that no log and no JSON shows it
 * @returns {{readonly [F in keyof S]: ReturnType<S[F]>}}
 */
export function bodyOf(members, shape, secret) {
  /** @type {any} */
  const body = {};
  for (const field in shape) {
    const value = shape[field](members, snake(field));
    Object.defineProperty(body, field, { value, enumerable: field !== secret });
  }
  return Object.freeze(body);
}

/**
 * Whether a value is an object of JSON.
 *
 * @param {unknown} value
 * @returns {value is Members}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * A field's name as the service writes it.
 *
 * @param {string} name
 * @returns {string}
 */
export function snake(name) {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
