/**
 * The classic encodings of libmacaroons, to read: version 1 binary, version 1 JSON, version 2 JSON. Knows no keys.
 *
 * Strict: a text has one meaning, and only base64 may differ, in padding and alphabet.
 *
 * @module
 */

import { concat, decodeBase64, text as textOf, unhex, utf8 } from "../bytes.js";
import { MalformedToken } from "../errors.js";
import { LIMITS, atMost } from "../limits.js";
import { macaroonOf } from "./macaroon.js";
import { checkCaveat, checkText, decodeBinary, decodeText } from "./wire.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../limits.js").Limits} Limits */
/** @typedef {import("./macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./macaroon.js").ThirdPartyCaveat} ThirdPartyCaveat */

/**
 * The macaroon in a text of any encoding. Throws `MalformedToken` (`DamagedToken`), `LimitExceeded`.
 *
 * @param {string} text `cav1_...`, base64url of a version 1 or 2 binary, or JSON of version 1 or 2
 * @param {{limits?: Limits}} [options]
 * @returns {Macaroon}
 */
export function decodeAny(text, { limits = LIMITS } = {}) {
  checkText(text, limits);
  if (text.startsWith("{")) return decodeJson(text, limits);
  if (text.startsWith("MD")) return decodeVersion1(decodeBase64(text), limits);
  return decodeText(text, limits);
}

/**
 * The macaroon in a version 1 or 2 binary. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {Uint8Array} data
 * @param {{limits?: Limits}} [options]
 * @returns {Macaroon}
 */
export function decodeBytes(data, { limits = LIMITS } = {}) {
  if (!(data instanceof Uint8Array)) throw new MalformedToken("a binary token is bytes");
  atMost("tokenText", data.length, limits);
  const own = concat(data);
  return own[0] === 2 ? decodeBinary(own, limits, true) : decodeVersion1(own, limits);
}

/**
 * @param {Bytes} data
 * @param {Limits} limits
 * @returns {Macaroon}
 */
function decodeVersion1(data, limits) {
  const packets = [...packetsOf(data)];
  const names = packets.map(([name]) => name).join(" ");
  if (!/^location identifier(?: cid(?: vid cl)?)* signature$/.test(names)) {
    throw new MalformedToken("a version 1 macaroon has a location, an identifier, caveats and a signature");
  }
  const values = packets.map(([, value]) => value);
  const caveats = [];
  for (let at = 2; at < packets.length - 1; at++) {
    const sealed = packets[at + 1][0] === "vid";
    caveats.push({ location: sealed ? values[at + 2] : undefined, first: values[at], vid: sealed ? values[at + 1] : undefined });
    if (sealed) at += 2;
  }
  return checked(values[0], values[1], caveats, values[values.length - 1], limits);
}

/**
 * Name and value of each packet: its size in four lower-case hex digits, the name, a space, the value, a line feed.
 *
 * @param {Bytes} data
 * @returns {Generator<[string, Bytes]>}
 */
function* packetsOf(data) {
  for (let at = 0; at < data.length; ) {
    const digits = textOf(data.subarray(at, at + 4)) ?? "";
    if (!/^[0-9a-f]{4}$/.test(digits)) throw new MalformedToken("not a version 1 macaroon");
    const end = at + parseInt(digits, 16);
    const packet = data.subarray(at + 4, end);
    const space = packet.indexOf(32);
    if (end > data.length || space < 0 || space === packet.length - 1 || packet[packet.length - 1] !== 10) {
      throw new MalformedToken("a version 1 packet is cut off, or reads otherwise than key, space, value, line feed");
    }
    yield [textOf(packet.subarray(0, space)) ?? "", packet.subarray(space + 1, -1)];
    at = end;
  }
}

/**
 * The macaroon of parts whose sizes are right. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {Bytes} location
 * @param {Bytes} identifier
 * @param {{location: Bytes | undefined, first: Bytes, vid: Bytes | undefined}[]} caveats
 * @param {Bytes} signature
 * @param {Limits} limits
 * @returns {Macaroon}
 */
function checked(location, identifier, caveats, signature, limits) {
  if (signature.length !== 32) throw new MalformedToken("a signature has 32 bytes");
  atMost("caveats", caveats.length, limits);
  const read = caveats.map(({ location: where, first, vid }) =>
    checkCaveat(where && located(where), first, vid, limits),
  );
  return macaroonOf(located(location), identifier, read, signature);
}

/**
 * @param {Bytes} data
 * @returns {string}
 */
function located(data) {
  const location = textOf(data);
  if (location === undefined) throw new MalformedToken("a location is UTF-8");
  return location;
}

// JSON: version 1 has names in words and all values as text, version 2 one letter and bytes where need be ("i", "i64").

/**
 * The macaroon in JSON of version 1 or 2. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {string} text
 * @param {Limits} limits
 * @returns {Macaroon}
 */
export function decodeJson(text, limits) {
  /** @type {unknown} */
  let members;
  try {
    members = JSON.parse(text);
  } catch {
    throw new MalformedToken("not JSON of a macaroon"); // without its cause, which may hold the whole text
  }
  const head = objectOf(members);
  const first = Object.hasOwn(head, "identifier");
  const names = first ? ["location", "identifier", "signature", "caveats"] : ["l", "i", "s", "c"];
  const { v: version, [names[3]]: listed = [], ...own } = head;
  if (version !== undefined && (first || version !== 2)) {
    throw new MalformedToken("the member v of a JSON macaroon must be 2; version 1 has no member v");
  }
  if (!Array.isArray(listed)) throw new MalformedToken("the caveats are a list");
  const each = listed.map(objectOf);
  // What is no string: each colon is a member's, and the only number is the version. JSON.parse keeps one of two members.
  const structure = text.replace(/"(?:[^"\\]|\\.)*"/g, "");
  const count = [head, ...each].reduce((sum, one) => sum + Object.keys(one).length, 0);
  if (structure.split(":").length - 1 !== count) throw new MalformedToken("a JSON macaroon gives one member twice");
  if (/[-.eE]|[0-9]{2}/.test(structure)) throw new MalformedToken("a JSON macaroon has members of a wrong type");
  const taken = takeMembers(own, names.slice(0, 3), first);
  const caveats = each.map((one) => {
    const [ticket, vid, location] = takeMembers(one, first ? ["cid", "vid", "cl"] : ["i", "v", "l"], first);
    if ((vid && !vid.length) || (location && !location.length)) {
      throw new MalformedToken("a JSON macaroon must leave out an empty member");
    }
    return { location, first: needed(ticket), vid };
  });
  return checked(taken[0] ?? new Uint8Array(), needed(taken[1]), caveats, needed(taken[2]), limits);
}

/**
 * @param {unknown} members
 * @returns {Record<string, unknown>}
 */
function objectOf(members) {
  if (typeof members !== "object" || !members || Array.isArray(members)) {
    throw new MalformedToken("a JSON macaroon is an object");
  }
  return /** @type {Record<string, unknown>} */ (members);
}

/**
 * @param {Bytes | undefined} member
 * @returns {Bytes}
 */
function needed(member) {
  if (!member) throw new MalformedToken("a JSON macaroon lacks a member");
  return member;
}

/**
 * The bytes of the members with these names, and nothing else is there. Throws `MalformedToken`.
 *
 * @param {Record<string, unknown>} members
 * @param {string[]} names
 * @param {boolean} first whether the version is 1
 * @returns {(Bytes | undefined)[]}
 */
function takeMembers(members, names, first) {
  const unread = { ...members };
  const taken = names.map((name) => {
    const plain = take(unread, name);
    const encoded = first || name === "l" ? undefined : take(unread, `${name}64`);
    if (plain !== undefined && encoded !== undefined) throw new MalformedToken("a JSON macaroon gives one field twice");
    if (encoded !== undefined) return decodeLenient(encoded);
    if (plain === undefined) return undefined;
    if (name === "vid") return decodeLenient(plain);
    if (name === "signature") return /^[0-9a-f]{64}$/.test(plain) ? unhex(plain) : new Uint8Array();
    if (/\p{Cs}/u.test(plain)) throw new MalformedToken("a JSON macaroon has half a character");
    return utf8(plain);
  });
  if (Object.keys(unread).length) throw new MalformedToken("a JSON macaroon has unknown members");
  return taken;
}

/**
 * @param {Record<string, unknown>} members
 * @param {string} name
 * @returns {string | undefined}
 */
function take(members, name) {
  if (!Object.hasOwn(members, name)) return undefined;
  const { [name]: value } = members;
  delete members[name];
  if (typeof value !== "string") throw new MalformedToken("a JSON macaroon has members of a wrong type");
  return value;
}

/**
 * The bytes of base64 or base64url, padded or not: Go and Python bakeries write both. Throws `MalformedToken`.
 *
 * @param {string} encoded
 * @returns {Bytes}
 */
export function decodeLenient(encoded) {
  const bare = encoded.replace(/=+$/, "");
  const padding = encoded.length - bare.length;
  if ((padding && padding !== (4 - (bare.length % 4)) % 4) || (/[+/]/.test(bare) && /[-_]/.test(bare))) {
    throw new MalformedToken("not base64, or not its right padding");
  }
  return decodeBase64(bare.replaceAll("+", "-").replaceAll("/", "_"));
}
