/**
 * Addresses that a token may be sent to, and those that third parties may be asked at. Knows URLs, asks no name server.
 *
 * @module
 */

import { UnusableAddress } from "./errors.js";

/**
 * An address as a URL that a token may be sent to: https, or http to this machine. Throws `UnusableAddress`.
 *
 * @param {string | URL} address
 * @param {boolean} [allowHttp] plain http to any machine
 * @returns {URL}
 */
export function checkedAddress(address, allowHttp) {
  const url = /^https?:\/\/[^\s\\]+$/i.test(String(address)) && parsed(String(address));
  if (!url) throw new UnusableAddress("not the address of a service: expected https://host");
  if (url.username || url.password) {
    throw new UnusableAddress("an address with a user name or a password in it ends up in logs: leave them out");
  }
  if (url.protocol === "http:" && !allowHttp && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    throw new UnusableAddress(
      `${url.origin} is plain http: everyone on the way could read the token. Use https; where nobody can listen, allow it (allowHttp)`,
    );
  }
  return url;
}

/**
 * The address of a service without a slash at its end, so that a path can follow. Throws as `checkedAddress`.
 *
 * @param {string | URL} address
 * @param {boolean} [allowHttp]
 * @returns {{origin: string, base: string}} `origin`: for messages
 */
export function serviceAddress(address, allowHttp) {
  const { origin, pathname } = checkedAddress(address, allowHttp);
  return { origin, base: origin + pathname.replace(/\/+$/, "") };
}

/**
 * A third party's address with a slash at its end, if its origin may be asked. Throws `UnusableAddress`.
 *
 * @param {string} location as the caveat has it
 * @param {ReadonlySet<string>} origins that may be asked
 * @param {boolean} [allowHttp]
 * @returns {URL}
 */
export function thirdPartyAddress(location, origins, allowHttp) {
  const { base, origin } = serviceAddress(location, allowHttp);
  if (/[?#]/.test(location)) throw new UnusableAddress(`a third party at ${origin} has a query in its address`);
  if (!origins.has(origin)) {
    const error = new UnusableAddress(`${origin} is not on the list of third parties to ask: allow it (allow)`);
    throw Object.assign(error, { unlisted: origin });
  }
  return new URL(`${base}/`);
}

/**
 * The target of a link at a place; undefined if it has another origin, a user name, or is no URL.
 *
 * @param {URL} place
 * @param {unknown} reference
 * @returns {URL | undefined}
 */
export function sibling(place, reference) {
  // Browsers read a backslash as a slash, and drop line breaks.
  if (typeof reference !== "string" || !/^[^\s\\]+$/.test(reference)) return undefined;
  const url = parsed(reference, place);
  return url && url.origin === place.origin && !url.username && !url.password ? url : undefined;
}

/**
 * @param {string} text
 * @param {URL} [base]
 * @returns {URL | undefined}
 */
function parsed(text, base) {
  try {
    return new URL(text, base);
  } catch {
    return undefined;
  }
}
