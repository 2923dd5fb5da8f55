// Who is signed in, as this tab remembers it: so that the frame of a page does not jump while the service is asked, and says it on pages
// that ask nobody. It proves nothing: what needs a sign-in asks for one where it is used.

import { keep, kept } from "./tab.js";

const KEY = "caveats-signed-in";

/** @typedef {{user: string, isAdmin: boolean}} Who */

/** Who was signed in here at last; null for nobody. @returns {Who | null} */
export function remembered() {
  try {
    const who = JSON.parse(kept(KEY) ?? "null");
    return typeof who?.user === "string" ? { user: who.user, isAdmin: who.isAdmin === true } : null;
  } catch {
    return null;
  }
}

/** @param {Who | null} who */
export function remember(who) {
  keep(KEY, who && JSON.stringify({ user: who.user, isAdmin: who.isAdmin }));
}
