/**
 * The key of an agent, which is a program that signs in at third parties, and its key file.
 *
 * Knows the format of the bakery's agent files, and the tickets of versions 2 and 3 that ask for a proof of the key. Opens no
 * file and sends nothing. X25519 is WebCrypto's (RFC 7748).
 *
 * @module
 */

import { concat, encodeBase64, text as textOf } from "../../bytes.js";
import { NoCrypto } from "../../errors.js";
import { bind } from "../../third_party/bind.js";
import { hsalsa20, openSecretbox } from "../../third_party/secretbox.js";
import { decodeLenient } from "../../token/legacy.js";
import { mint } from "../../token/macaroon.js";
import { encodeBinary } from "../../token/wire.js";
import { BadDischarge } from "../errors.js";

/** @typedef {import("../../bytes.js").Bytes} Bytes */
/** @typedef {import("./bakery.js").Envelope} Envelope */

/**
 * An agent, as `interact` takes it. Its private key is in no log and no JSON.
 *
 * @typedef {object} Agent
 * @property {string} publicKey in padded base64
 * @property {(location: string) => string | undefined} username its name at a third party; undefined if its file has none
 * @property {(login: Envelope, origin: string) => Promise<string>} prove the token (base64url) that shows a third party
 *   that the agent has its key; throws `BadDischarge` for a macaroon that asks for more
 */

/** What stands before the 32 bytes of an X25519 key in PKCS #8 (RFC 8410, section 7). */
const PKCS8 = Uint8Array.of(48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 110, 4, 34, 4, 32);
const CURVE = { name: "X25519" };

/**
 * The agent in an agent file: JSON with a key, and a list of agents with url and username. Throws `TypeError`, which shows
 * nothing of the file, and `NoCrypto`.
 *
 * @param {string} text
 * @returns {Promise<Agent>}
 */
export async function parseAgent(text) {
  const { secret, told, usernames } = readFile(text);
  const [key, publicKey] = await keysOf(secret);
  if (told !== undefined && told !== encodeBase64(publicKey)) {
    throw new TypeError("the private key of this agent file does not match its public key");
  }

  return Object.freeze({
    publicKey: btoa(String.fromCharCode(...publicKey)),
    username: (/** @type {string} */ location) => usernames.get(bare(location)),
    /** @param {Envelope} login @param {string} origin */
    async prove({ macaroon, tickets }, origin) {
      const asked = macaroon.caveats.filter((caveat) => !(caveat instanceof Uint8Array));
      const discharges = [];
      for (const caveat of asked) {
        if (caveat instanceof Uint8Array || caveat.location !== "local") {
          throw new BadDischarge(`${origin} sends an agent on to somebody else`);
        }
        const rootKey = await opened(tickets.get(encodeBase64(caveat.ticket)) ?? caveat.ticket, key);
        if (!rootKey) throw new BadDischarge(`${origin} asks an agent for more than a proof of its key`);
        discharges.push(await mint(rootKey, caveat.ticket));
      }
      const bundle = await bind(macaroon, discharges);
      return encodeBase64(concat(...[bundle.macaroon, ...bundle.discharges].map(encodeBinary)));
    },
  });
}

/**
 * A private key that cannot be taken out again, and its public key (32 bytes). Throws `NoCrypto`.
 *
 * @param {Bytes} secret
 * @returns {Promise<[CryptoKey, Bytes]>}
 */
async function keysOf(secret) {
  try {
    const [kept, shown] = await Promise.all(
      [false, true].map((open) => crypto.subtle.importKey("pkcs8", concat(PKCS8, secret), CURVE, open, ["deriveBits"])),
    );
    return [kept, decodeLenient((await crypto.subtle.exportKey("jwk", shown)).x ?? "")];
  } catch (cause) {
    throw new NoCrypto("there is no WebCrypto with X25519 here, with which an agent shows its key", cause);
  }
}

/**
 * The parts of an agent file. Throws `TypeError`.
 *
 * @param {string} text
 */
function readFile(text) {
  try {
    const { key, agents = [] } = JSON.parse(text);
    const secret = decodeLenient(key.private);
    const told = (key.public ?? null) === null ? undefined : encodeBase64(decodeLenient(key.public));
    const usernames = new Map();
    for (const { url, username } of agents) {
      if (typeof username !== "string") throw new TypeError("a username is text");
      usernames.set(bare(url), username);
    }
    if (secret.length === 32 && secret.some(Boolean)) return { secret, told, usernames };
  } catch {
    // The error may show the key.
  }
  throw new TypeError("not an agent file: expected a key, and agents with url and username");
}

/**
 * @param {string} url
 * @returns {string}
 */
function bare(url) {
  return url.replace(/\/+$/, "");
}

/**
 * The root key in a ticket of version 2 or 3 whose condition is `true`; undefined for any other ticket.
 *
 * Such a ticket is a version, four bytes of the public key, the first party's public key, a nonce and a box; and in the box
 * the version, the root key, in version 3 a namespace, and the condition. Lengths are one byte here.
 *
 * @param {Bytes} ticket
 * @param {CryptoKey} key
 * @returns {Promise<Bytes | undefined>}
 */
async function opened(ticket, key) {
  const [version] = ticket;
  if ((version !== 2 && version !== 3) || ticket.length < 78) return undefined;
  let shared;
  try {
    const theirs = await crypto.subtle.importKey("raw", ticket.slice(5, 37), CURVE, false, []);
    shared = await crypto.subtle.deriveBits({ ...CURVE, public: theirs }, key, 256);
  } catch {
    return undefined; // not a point of the curve that gives a secret
  }
  const boxKey = hsalsa20(new Uint8Array(shared), new Uint8Array(16));
  const plain = openSecretbox(ticket.subarray(61), ticket.subarray(37, 61), boxKey);
  if (!plain || plain[0] !== version) return undefined;
  const rootKey = plain.slice(2, 2 + plain[1]);
  let at = 2 + plain[1];
  if (version === 3) at += 1 + plain[at];
  const isProof = plain[1] < 128 && textOf(plain.subarray(at)) === "true" && rootKey.some(Boolean);
  return isProof ? rootKey : undefined;
}
