/**
 * Paths, hosts and addresses, in the one form in which they are compared. Knows no kind.
 *
 * @module
 */

import { text as textOf, unhex } from "../bytes.js";
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
  let plain = true;
  const decoded = path.replace(/(?:%[0-9A-Fa-f]{2})+/g, (escapes) => {
    const characters = textOf(unhex(escapes.replaceAll("%", ""))) ?? "/";
    plain &&= !/[\0-\x1f!-\x7f]/.test(characters);
    return characters;
  });
  return plain && !decoded.includes("%") ? decoded : undefined;
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
 * The 4 or 16 bytes of an address; 4 for an IPv4 address mapped into IPv6. Undefined for no address, or one with a zone.
 *
 * @param {string} text
 * @returns {number[] | undefined}
 */
export function parseAddress(text) {
  const bytes = text.length <= 45 ? addressBytes(text) : undefined;
  return bytes && isMapped(bytes) ? bytes.slice(12) : bytes;
}

/**
 * @param {string} text
 * @returns {number[] | undefined}
 */
function addressBytes(text) {
  const last = /[^:]*$/.exec(text)?.[0] ?? "";
  const dotted = last.split(".");
  const tail = dotted.length === 4 && dotted.every((one) => /^(?:0|[1-9][0-9]{0,2})$/.test(one)) ? dotted.map(Number) : [];
  if (tail.some((byte) => byte > 255)) return undefined;
  if (last === text) return tail.length ? tail : undefined;
  // An IPv4 address at the end stands for two groups.
  const groups = `${text.slice(0, -last.length || undefined)}${tail.length ? "0:0" : last}`;
  const [left, right, more] = groups.split("::").map((side) => (side ? side.split(":") : []));
  const missing = 8 - left.length - (right?.length ?? 0);
  if (more || (right ? missing < 1 : missing)) return undefined;
  const all = [...left, ...Array(missing).fill("0"), ...(right ?? [])];
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const bytes = all.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]);
  return tail.length ? [...bytes.slice(0, 12), ...tail] : bytes;
}

/**
 * @param {number[]} bytes
 * @returns {boolean}
 */
function isMapped(bytes) {
  return bytes.length === 16 && bytes.every((byte, at) => at > 11 || byte === (at < 10 ? 0 : 255));
}

/**
 * The one text of an address (RFC 5952, section 4; all groups in hexadecimal).
 *
 * @param {number[]} bytes 4 or 16
 * @returns {string}
 */
export function writeAddress(bytes) {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, at) => ((bytes[2 * at] << 8) | bytes[2 * at + 1]).toString(16)).join(":");
  const runs = groups.match(/\b0(?::0)+\b/g) ?? [];
  const longest = runs.reduce((best, one) => (one.length > best.length ? one : best), "");
  return longest ? groups.replace(new RegExp(`(^|:)${longest}(:|$)`), "::") : groups;
}

/**
 * A network: the bytes of its first address, and how many bits all of its addresses share.
 *
 * @typedef {object} Network
 * @property {number[]} bytes
 * @property {number} bits
 */

/**
 * The network or address in a word, in canonical form only. Throws `MalformedCaveat`.
 *
 * @param {string} word
 * @returns {Network}
 */
export function parseNetwork(word) {
  const [address, prefix] = /^([^/]*)(?:\/([0-9]+))?$/.exec(word)?.slice(1) ?? [""];
  if (word.includes("%")) throw new MalformedCaveat("an address must have no zone, which only one machine knows");
  const bytes = addressBytes(address) ?? [];
  const network = { bytes, bits: Number(prefix ?? bytes.length * 8) };
  if (bytes.length && network.bits <= bytes.length * 8 && bytes.every((byte, at) => !(byte & ~maskOf(network, at)))) {
    if (isMapped(bytes)) throw new MalformedCaveat("a mapped IPv4 network is written as IPv4");
    const written = writeAddress(bytes);
    if (word === (prefix === undefined ? written : `${written}/${network.bits}`)) return network;
  }
  throw new MalformedCaveat(`not an address or network in canonical form: ${quoted(word)}`);
}

/**
 * The bits of a network's mask in one of the bytes.
 *
 * @param {Network} network
 * @param {number} at
 * @returns {number}
 */
function maskOf({ bits }, at) {
  return (0xff00 >> Math.max(0, Math.min(8, bits - 8 * at))) & 255;
}

/**
 * Whether an address is inside a network.
 *
 * @param {Network} network
 * @param {number[]} address
 * @returns {boolean}
 */
export function isInside(network, address) {
  return (
    address.length === network.bytes.length && address.every((byte, at) => !((byte ^ network.bytes[at]) & maskOf(network, at)))
  );
}
