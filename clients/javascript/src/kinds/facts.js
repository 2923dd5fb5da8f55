/**
 * Paths, hosts and addresses, in the one form in which they are compared. Knows no kind.
 *
 * @module
 */

import { MalformedCaveat } from "../errors.js";
import { quoted } from "./base.js";

const SEGMENT = /^(?:[A-Za-z0-9._~!$&'()+,;=:@ -]|[^\0-\x9f\p{Z}\p{Cs}])+$/u;
const NOT_A_NAME = /^(?:\.{1,2}(?:;|$)|\.+ [. ]*(?:;|$)| )| $/;
const SPECIAL = /[^/.;\\%]/g;
/** More than dots, spaces, marks and what is not seen; with what NFKC_Casefold drops (Default_Ignorable_Code_Point). */
const NAMED = /^[. \p{Cf}\p{Mn}\p{Me}\u115f\u1160\u2065\ufff0-\ufff8\u{e0000}-\u{e0fff}]*(?:;|$)/u;
const ASCII = /^[\0-\x7f]*$/;
const HOST = /^((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)\.?(?::[0-9]{0,5})?$/;

// Paths

/**
 * A path with its percent-encoding undone once; undefined for one that servers may read in different ways.
 *
 * A plain path is absolute, has at most 8192 characters, and no dot segment, `//`, backslash, `*` or control character. Of
 * escapes it has those that a path needs: of spaces and of letters beyond ASCII, in UTF-8. A space stands escaped, and not
 * at an end of a segment.
 *
 * @param {string} path
 * @returns {string | undefined}
 */
export function plainPath(path) {
  if (path.includes(" ") || (path.length > 8192 && [...path].length > 8192)) return undefined;
  const name = decodedPath(path);
  return name !== undefined && hasNames(name) && isUndisguised(name) ? name : undefined;
}

/**
 * A path pattern with its percent-encoding undone: a path, or everything below one with `/*`. Throws `MalformedCaveat`.
 *
 * @param {string} pattern
 * @returns {string}
 */
export function pathPattern(pattern) {
  const name = decodedPath(pattern);
  if (name === undefined || !(name === "/*" || hasNames(name.replace(/\/\*$/, "/"))) || !isUndisguised(name)) {
    throw new MalformedCaveat(`not a path pattern: ${quoted(pattern)} (expected /a/b or /a/*)`);
  }
  return name;
}

/**
 * @param {string} path
 * @returns {string | undefined}
 */
function decodedPath(path) {
  let decoded = "%";
  try {
    decoded = path.replace(/(?:%[0-9A-Fa-f]{2})+/g, (escapes) => {
      const characters = decodeURIComponent(escapes);
      return /[\0-\x1f!-\x7f]/.test(characters) ? "%" : characters;
    });
  } catch {} // not UTF-8
  return decoded.includes("%") ? undefined : decoded;
}

/**
 * Whether a path is absolute and its segments are names: no dot segment, also with spaces in it, and no outer spaces.
 *
 * @param {string} name
 * @returns {boolean}
 */
function hasNames(name) {
  const [before, ...segments] = name.split("/");
  if (segments.length > 1 && !segments[segments.length - 1]) segments.pop();
  return (
    !before && (name === "/" || (!!segments.length && segments.every((one) => SEGMENT.test(one) && !NOT_A_NAME.test(one))))
  );
}

/**
 * Whether no character becomes a dot, slash, semicolon, backslash or `%` on a server that normalises text (NFKC), and no
 * segment a dot segment on one that drops characters which are not seen.
 *
 * @param {string} path
 * @returns {boolean}
 */
function isUndisguised(path) {
  if (ASCII.test(path)) return true;
  const folded = path.normalize("NFKC");
  // Sorted, the special characters of both are the same text if and only if each is there as often.
  const specials = [path, folded].map((one) => [...one.replace(SPECIAL, "")].sort().join(""));
  return specials[0] === specials[1] && folded.split("/").every((one) => ASCII.test(one) || !NAMED.test(one));
}

/**
 * Whether a path, plain or itself a pattern, equals a pattern or lies below its `/*`.
 *
 * @param {string} pattern
 * @param {string} path
 * @returns {boolean}
 */
export function pathCovers(pattern, path) {
  const base = pattern.slice(0, -1);
  return pattern.endsWith("/*") ? path.startsWith(base) && path.length > base.length : path === pattern;
}

// Hosts

/**
 * The DNS name in the value of a `Host` header: lower case, without port and last dot. Undefined without a DNS name.
 *
 * An international name is in its ASCII form. An IPv6 address in brackets is not a name; an IPv4 address is read as one.
 *
 * @param {string} text
 * @returns {string | undefined}
 */
export function parseHost(text) {
  const name = text.length <= 259 ? HOST.exec(text)?.[1] : undefined;
  return name && name.length <= 253 ? name.toLowerCase() : undefined;
}

// Addresses

/**
 * An address: its one text (RFC 5952, section 4; all groups in hexadecimal), and its bits as a text of 0 and 1.
 *
 * @typedef {object} Address
 * @property {string} text
 * @property {string} bits 32 or 128
 */

/** Of the bits of an IPv4 address that is mapped into IPv6. */
const MAPPED = /^0{80}1{16}/;

/**
 * The address in a text; an IPv4 address if it is one mapped into IPv6. Undefined for no address, or one with a zone.
 *
 * @param {string} text
 * @returns {Address | undefined}
 */
export function parseAddress(text) {
  const address = text.length <= 45 ? addressIn(text) : undefined;
  if (!address || !MAPPED.test(address.bits)) return address;
  const bits = address.bits.slice(96);
  return { bits, text: [0, 8, 16, 24].map((at) => parseInt(bits.slice(at, at + 8), 2)).join(".") };
}

/**
 * The address in a text, as the URL parser of the platform reads a host (WHATWG URL, section 3.5).
 *
 * @param {string} text
 * @returns {Address | undefined}
 */
function addressIn(text) {
  const four = /^[0-9]+(?:\.[0-9]+){3}$/.test(text);
  const url = four ? `http://${text}` : `http://[${text}]`;
  if (!(four || /^[0-9A-Fa-f.:]+$/.test(text)) || !URL.canParse(url)) return undefined;
  const { hostname } = new URL(url);
  if (four) return hostname === text ? { text, bits: bitsOf(text.split("."), 10, 8) } : undefined;
  const one = hostname.slice(1, -1);
  const [left, right] = one.split("::").map((side) => side.split(":").filter(Boolean));
  const zeros = Array(8 - left.length - (right?.length ?? 0)).fill("0");
  return { text: one, bits: bitsOf([...left, ...zeros, ...(right ?? [])], 16, 16) };
}

/**
 * @param {string[]} numbers
 * @param {number} base
 * @param {number} size bits of each
 * @returns {string}
 */
function bitsOf(numbers, base, size) {
  return numbers.map((one) => parseInt(one, base).toString(2).padStart(size, "0")).join("");
}

/**
 * The network or address in a word, in canonical form only: the bits that all of its addresses share, and how many bits
 * these have. Throws `MalformedCaveat`.
 *
 * @typedef {object} Network
 * @property {string} shared
 * @property {number} size 32 or 128
 *
 * @param {string} word
 * @returns {Network}
 */
export function parseNetwork(word) {
  const [text, prefix, more] = word.split("/");
  if (word.includes("%")) throw new MalformedCaveat("an address must have no zone, which only one machine knows");
  const address = addressIn(text);
  const size = address?.bits.length ?? 0;
  const length = /^[0-9]+$/.test(prefix ?? "0") && more === undefined ? Number(prefix ?? size) : NaN;
  if (address && length <= size && !address.bits.slice(length).includes("1")) {
    if (MAPPED.test(address.bits)) throw new MalformedCaveat("a mapped IPv4 network is written as IPv4");
    if (word === (prefix === undefined ? address.text : `${address.text}/${length}`)) {
      return { shared: address.bits.slice(0, length), size };
    }
  }
  throw new MalformedCaveat(`not an address or network in canonical form: ${quoted(word)}`);
}

/**
 * Whether an address is inside a network.
 *
 * @param {Network} network
 * @param {Address} address
 * @returns {boolean}
 */
export function isInside({ shared, size }, { bits }) {
  return bits.length === size && bits.startsWith(shared);
}
