// A token in the address of a page: taken from the fragment, which browsers send to nobody, and then no longer shown there.
// Knows addresses; reads no token.

/**
 * The token that the address carries, which is taken out of it. `inQuery`: whether one was in the query, which servers and
 * proxies see and write down: the service says so with a fragment of this name, instead of that token.
 * @returns {{text: string, inQuery: boolean}}
 */
export function takeToken() {
  const fragment = location.hash.slice(1);
  const text = fragment.startsWith("token=") ? plain(fragment.slice("token=".length)) : /^cav1_/.test(fragment) ? fragment : "";
  const inQuery = fragment === "in-query";
  if (text !== "" || inQuery) history.replaceState(null, "", location.pathname);
  return { text, inQuery };
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
