/**
 * Who the client is behind proxies, and which host it asked. Knows which proxies are trusted, judges no token.
 *
 * `X-Forwarded-*` and `Forwarded` (RFC 7239) are believed only where a trusted proxy sent them: any client can write one.
 *
 * @module
 */

import { isInside, parseAddress, parseNetwork } from "../kinds/facts.js";

/** @typedef {import("./credentials.js").Head} Head */

const PORTED = /^(?:([0-9.]+)|\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?$/;
const WORD = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
/** One parameter of a `Forwarded` header, and what ends it: `;` before the next one, `,` before the next hop's. */
const PAIR = new RegExp(`[ \\t]*(${WORD})=(?:(${WORD})|"((?:[^"\\\\]|\\\\[^])*)")[ \\t]*([;,]|$)`, "y");

/** The proxies whose `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Host` are believed. */
export class TrustedProxies {
  #networks;
  #unix;

  /**
   * @param {readonly string[]} words addresses, networks such as `10.0.0.0/8`, and `unix` for peers on a Unix socket. Throws
   *   `TypeError` for anything else
   */
  constructor(words) {
    if (!Array.isArray(words)) throw new TypeError("trustedProxies is a list of addresses and networks");
    this.#unix = words.includes("unix");
    this.#networks = words.filter((word) => word !== "unix").map(networkOf);
  }

  /**
   * Whether an address is a trusted proxy's; null stands for a Unix socket, and an address that is not known is nobody's.
   *
   * @param {string | null | undefined} address
   * @returns {boolean}
   */
  trusts(address) {
    if (address === null) return this.#unix;
    const parsed = address === undefined ? undefined : parseAddress(address);
    return !!parsed && this.#networks.some((network) => isInside(network, parsed));
  }

  /**
   * The client's address: the peer's, or the last one in `X-Forwarded-For` or `Forwarded` that no trusted proxy has.
   *
   * A header is read from its end, and only while the address found so far is a trusted proxy's. Undefined if it is not known:
   * also where a trusted proxy sends no address, and where the two headers contradict each other, one of which may be the
   * client's own.
   *
   * @param {Head} head
   * @returns {string | undefined}
   */
  clientAddress({ headers, peer }) {
    const listed = linesOf(headers, "x-forwarded-for");
    const forwarded = linesOf(headers, "forwarded");
    if (!this.trusts(peer) || !(listed.length || forwarded.length)) return peer ?? undefined;
    const named = [];
    if (forwarded.length) named.push(this.#clientAmong(forwardedHops(forwarded.join(", "))));
    if (listed.length) named.push(this.#clientAmong(listed.join(",").split(",").map(trimmed)));
    const texts = named.map((address) => parseAddress(address ?? "")?.text);
    return texts.every((one) => one === texts[0]) ? named[0] : undefined;
  }

  /**
   * The last of these hops that is no trusted proxy's, or else the first.
   *
   * @param {string[]} hops at least one
   * @returns {string | undefined}
   */
  #clientAmong(hops) {
    for (let at = hops.length - 1; ; at--) {
      const address = withoutPort(hops[at]);
      if (!at || address === undefined || !this.trusts(address)) return address;
    }
  }

  /**
   * The host that the request was made to: `X-Forwarded-Host` of a trusted proxy, or `Host`. Undefined without such a header,
   * and with several of that name.
   *
   * @param {Head} head
   * @returns {string | undefined}
   */
  host({ headers, peer }) {
    const said = this.trusts(peer) ? linesOf(headers, "x-forwarded-host") : [];
    const values = said.length ? said : linesOf(headers, "host");
    return values.length === 1 ? values[0] : undefined;
  }

  /**
   * What to set if the request came through a proxy that is not trusted; empty if it did not.
   *
   * @param {Head} head
   * @returns {string}
   */
  hint({ headers, peer }) {
    if (this.trusts(peer) || !headers.some(([name]) => /^(?:forwarded$|x-forwarded-)/.test(name))) return "";
    if (peer === undefined) return "the guard is not told the peer's address: give it peer, and trustedProxies";
    return `${peer ?? "unix"} sends X-Forwarded-* and is not trusted: if it is your proxy, name it in trustedProxies`;
  }
}

/**
 * @param {string} word
 */
function networkOf(word) {
  try {
    return parseNetwork(word);
  } catch (cause) {
    throw new TypeError("trustedProxies has what is no address, no network and not unix", { cause });
  }
}

/**
 * @param {Head["headers"]} headers
 * @param {string} wanted
 * @returns {string[]}
 */
function linesOf(headers, wanted) {
  return headers.filter(([name]) => name === wanted).map(([, value]) => value);
}

/**
 * @param {string} text
 * @returns {string}
 */
function trimmed(text) {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}

/**
 * The `for` of each hop in `Forwarded` (RFC 7239, section 4); `unknown` where it is missing, doubled or malformed.
 *
 * @param {string} text
 * @returns {string[]}
 */
function forwardedHops(text) {
  const hops = [];
  /** @type {string[]} */
  let named = [];
  PAIR.lastIndex = 0;
  for (;;) {
    const pair = PAIR.exec(text);
    if (!pair) return ["unknown"];
    const [, name, plain, quoted, end] = pair;
    if (name.toLowerCase() === "for") named.push(plain ?? quoted.replace(/\\([^])/g, "$1"));
    if (end !== ";") {
      hops.push(named.length === 1 ? named[0] : "unknown");
      named = [];
    }
    if (!end) return hops;
  }
}

/**
 * The address that a proxy wrote, without its port and brackets. Undefined for anything else, such as `unknown`.
 *
 * @param {string} hop
 * @returns {string | undefined}
 */
function withoutPort(hop) {
  if (parseAddress(hop)) return hop;
  const found = PORTED.exec(hop);
  const address = found?.[1] ?? found?.[2] ?? "";
  return parseAddress(address) && Number(found?.[3] ?? 0) <= 65535 ? address : undefined;
}
