// Who is signed in, as this tab remembers it, in the frame of documents that do not ask the service. Knows no session: the name
// proves nothing, and what needs a sign-in asks for one where it is used.

import { byId, h } from "../dom.js";

const ROOT = document.documentElement.dataset["root"] ?? "";
const REMEMBERED = "caveats-signed-in";
/** As `shell.js` writes it. */

/** Shows the account, or where to sign in. */
export function showAccount() {
  const who = remembered();
  const admin = document.querySelector('nav a[data-name="admin"]')?.parentElement;
  if (admin) admin.hidden = who?.isAdmin !== true;
  byId("account").replaceChildren(who === null
    ? h("a", { href: ROOT }, "Sign in")
    : h("a", { href: `${ROOT}#sign-ins`, title: "Your sign-ins and your password" }, who.user));
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
}

/** @returns {{user: string, isAdmin: boolean} | null} */
function remembered() {
  try {
    const who = JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "null");
    return typeof who?.user === "string" ? { user: who.user, isAdmin: who.isAdmin === true } : null;
  } catch {
    return null;
  }
}
