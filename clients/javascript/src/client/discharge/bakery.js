/**
 * A bakery's JSON: the envelope of a macaroon, and the header that presents a bundle. Knows encodings, judges nothing.
 *
 * Version 3 wraps a macaroon in v2 JSON and, under `cdata`, the tickets that its caveats only name. Versions 2 and 1 are
 * the macaroon's v2 or v1 JSON without an envelope.
 *
 * @module
 */

import { encodeBase64 } from "../../bytes.js";
import { LIMITS } from "../../limits.js";
import { MalformedToken } from "../../errors.js";
import { decodeJson, decodeLenient } from "../../token/legacy.js";
import { isObject } from "../members.js";

/** @typedef {import("../../bytes.js").Bytes} Bytes */
/** @typedef {import("../../token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../../token/macaroon.js").Macaroon} Macaroon */

/**
 * A macaroon, and the tickets that its caveats only name: by these names, in base64url.
 *
 * @typedef {object} Envelope
 * @property {Macaroon} macaroon
 * @property {ReadonlyMap<string, Bytes>} tickets
 */

/**
 * The macaroon in a value of JSON. Throws `MalformedToken`, `LimitExceeded`.
 *
 * @param {unknown} value
 * @returns {Envelope}
 */
export function readEnvelope(value) {
  if (!isObject(value)) throw new MalformedToken("a bakery's macaroon is an object");
  if (!("m" in value)) return { macaroon: decodeJson(JSON.stringify(value), LIMITS), tickets: new Map() };
  const { m, v, ns = "", cdata = {}, ...others } = value;
  const entries = isObject(cdata) ? Object.entries(cdata) : [];
  if (
    v !== 3 ||
    Object.keys(others).length ||
    !isObject(m) ||
    "identifier" in m ||
    typeof ns !== "string" ||
    !isObject(cdata) ||
    entries.length > LIMITS.caveats ||
    !entries.every(([, ticket]) => typeof ticket === "string")
  ) {
    throw new MalformedToken("an envelope is version 3 and holds m, in v2 JSON, ns and cdata");
  }
  const tickets = new Map(entries.map(([name, ticket]) => [encodeBase64(decodeLenient(name)), decodeLenient(ticket)]));
  return { macaroon: decodeJson(JSON.stringify(m), LIMITS), tickets };
}

/**
 * A bundle as the value of a bakery's header `Macaroons`: base64 of a list in v2 JSON.
 *
 * @param {Bundle} bundle
 * @returns {string}
 */
export function encodeHeader({ macaroon, discharges }) {
  const members = [macaroon, ...discharges].map(({ location, identifier, caveats, signature }) => ({
    l: location || undefined,
    i64: encodeBase64(identifier),
    s64: encodeBase64(signature),
    c: caveats.map((caveat) =>
      caveat instanceof Uint8Array
        ? { i64: encodeBase64(caveat) }
        : { i64: encodeBase64(caveat.ticket), v64: encodeBase64(caveat.vid), l: caveat.location || undefined },
    ),
  }));
  // Locations may have any character, and btoa takes none beyond Latin-1.
  return btoa(JSON.stringify(members).replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`));
}
