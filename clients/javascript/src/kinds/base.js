/**
 * What a caveat is: the grammar of predicates, the shape of a kind. Knows no kind by name.
 *
 * A predicate reads `kind = value`, with exactly one ` = `. The kind is `[a-z][a-z0-9-]{0,31}`, a plug-in's has `vendor/`
 * before it. The value is UTF-8 without control characters and without outer spaces. Nothing is stripped, folded to lower
 * case or read leniently.
 *
 * @module
 */

import { escapedText, text as textOf, utf8 } from "../bytes.js";
import { MalformedCaveat } from "../errors.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */

/**
 * A first-party caveat, read. What its kind cannot read, or what no kind here reads, has the kind `unknown`.
 *
 * @typedef {object} Caveat
 * @property {string} kind
 * @property {string} text the predicate as text: `kind = value`, of an unknown one in a form that is safe to print
 * @property {string} value what stands after ` = `; empty for an unknown one
 * @property {Bytes} predicate the bytes that are signed
 * @property {string | null} unknown why it is unknown; null for one that was read
 * @property {any} data what its kind has read in the value
 */

/**
 * A kind of caveat: how its value is read. `read` throws `MalformedCaveat` for what is not of the kind; what it accepts
 * has one spelling. See `checkers` for the check, and `authority.js` for what it leaves of a token.
 *
 * @typedef {object} Kind
 * @property {(value: string) => unknown} read
 */

const EQUALS = " = ";
const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;
const OUTER_SPACE = /^[\t-\r\x1c-\x1f\x85\p{Z}]|[\t-\r\x1c-\x1f\x85\p{Z}]$/u;
const NAME = /^(?:[a-z][a-z0-9-]{0,31}\/)?[a-z][a-z0-9-]{0,31}$/;

/**
 * Whether a text can name a kind.
 *
 * @param {string} name
 * @returns {boolean}
 */
export function isKind(name) {
  return NAME.test(name);
}

/**
 * `value`, if the grammar of values allows it. Throws `MalformedCaveat`.
 *
 * @param {string} value
 * @returns {string}
 */
export function checkValue(value) {
  if (typeof value !== "string" || !value) throw new MalformedCaveat("a caveat's value is text, and not empty");
  if (OUTER_SPACE.test(value)) throw new MalformedCaveat("a caveat's value has no outer spaces");
  if (CONTROL.test(value)) throw new MalformedCaveat("a caveat's value has no control characters");
  if (value.includes(EQUALS)) throw new MalformedCaveat("a caveat holds ' = ' once");
  return value;
}

/**
 * The caveat that these bytes are, of one of `kinds`; an unknown one otherwise. Never throws.
 *
 * @param {Bytes} predicate
 * @param {Readonly<Record<string, Kind>>} kinds
 * @returns {Caveat}
 */
export function parsePredicate(predicate, kinds) {
  const text = textOf(predicate);
  let unknown = "a predicate is UTF-8";
  if (text !== undefined) {
    const at = text.indexOf(EQUALS);
    const kind = text.slice(0, at);
    if (at >= 0 && Object.hasOwn(kinds, kind)) {
      const value = text.slice(at + EQUALS.length);
      try {
        return { kind, text, value, predicate, unknown: null, data: kinds[kind].read(value) };
      } catch (error) {
        unknown = error instanceof MalformedCaveat ? error.message : `reading it failed: ${nameOf(error)}`;
      }
    } else {
      unknown = at >= 0 && isKind(kind) ? "no caveat of this kind is known here" : "a predicate reads 'kind = value'";
    }
  }
  return { kind: "unknown", text: printable(predicate), value: "", predicate, unknown, data: null };
}

/**
 * The bytes as text in which control characters are escapes.
 *
 * @param {Bytes} bytes
 * @returns {string}
 */
function printable(bytes) {
  return escapedText(bytes).replace(/[\0-\x1f\x7f-\x9f\u2028\u2029]/g, escaped);
}

/**
 * The class of something thrown, for a message.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function nameOf(error) {
  return error instanceof Error ? error.constructor.name : typeof error;
}

/**
 * A text as Python quotes it, so that both languages say the same of a caveat: `'photos'`.
 *
 * @param {string} text
 * @returns {string}
 */
export function quoted(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inside = text.replace(/[\p{C}\p{Z}\\'"]/gu, (character) => {
    if (character === " " || character === (quote === "'" ? '"' : "'")) return character;
    const short = { "\t": "\\t", "\n": "\\n", "\r": "\\r" }[character];
    return short ?? (/[\\'"]/.test(character) ? `\\${character}` : escaped(character));
  });
  return quote + inside + quote;
}

/**
 * A character as an escape: `\x1b`, `\u2028`, `\U000e0001`.
 *
 * @param {string} character
 * @returns {string}
 */
export function escaped(character) {
  const digits = /** @type {number} */ (character.codePointAt(0)).toString(16);
  const size = digits.length < 3 ? 2 : digits.length < 5 ? 4 : 8;
  return `\\${size < 4 ? "x" : size < 8 ? "u" : "U"}${digits.padStart(size, "0")}`;
}

/**
 * The bytes of a predicate, for a kind and a value. Throws `MalformedCaveat` for a value that no verifier would read.
 *
 * @param {string} kind
 * @param {string} value
 * @returns {Bytes}
 */
export function predicateOf(kind, value) {
  if (!isKind(kind)) throw new MalformedCaveat(`${quoted(kind)} names no kind`);
  return utf8(`${kind}${EQUALS}${checkValue(value)}`);
}
