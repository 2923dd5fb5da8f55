// A token on its way to a page: in the fragment of an address, which browsers send to nobody, or handed over by another page of
// the console. Knows addresses and this tab's storage; reads no token.

import { h } from "../dom.js";
import { keep, kept } from "../tab.js";

const HANDED_OVER = "caveats-handed-over";
/** What a page of the console hands over. An address would be kept in the browser's history, and with that on other devices. */

/**
 * A link to another page of the console that takes a token along. @param {string} page its address @param {string} token
 * @param {string} look its class @param {string} words
 */
export const linkWith = (page, token, look, words) => h("a", { class: look, href: page, onclick: () => keep(HANDED_OVER, token) }, words);

/**
 * The token that was handed over or that the address carries, which is taken out of it. `inQuery`: whether one was in the query, which servers and
 * proxies see and write down: the service says so with a fragment of this name, instead of that token.
 * @returns {{text: string, inQuery: boolean}}
 */
export function takeToken() {
  const fragment = location.hash.slice(1);
  const handedOver = kept(HANDED_OVER) ?? "";
  keep(HANDED_OVER, null);
  const inAddress = fragment.startsWith("token=") ? plain(fragment.slice("token=".length)) : /^cav1_/.test(fragment) ? fragment : "";
  const inQuery = fragment === "in-query";
  if (inAddress !== "" || inQuery) history.replaceState(null, "", location.pathname);
  return { text: inAddress || handedOver, inQuery };
}

/** The address of a page with a token in its fragment. @param {string} page from this document @param {string} token */
export const withToken = (page, token) => `${page}#token=${token}`;

/** @param {string} escaped */
function plain(escaped) {
  try {
    return decodeURIComponent(escaped);
  } catch {
    return escaped;
  }
}
