// The account in the frame of the pages about a token: who is signed in, as this tab remembers it, or where to sign in.

import { byId, h } from "../dom.js";
import { remembered } from "../who.js";

const ROOT = document.documentElement.dataset["root"] ?? "";

/** Shows the account, and for administrators the link to their pages. */
export function showAccount() {
  const who = remembered();
  const admin = document.querySelector('nav a[data-name="admin"]')?.parentElement;
  if (admin) admin.hidden = who?.isAdmin !== true;
  byId("account").replaceChildren(who === null
    ? h("a", { href: ROOT }, "Sign in")
    : h("a", { href: `${ROOT}#sign-ins`, title: "Your sign-ins and your password" }, who.user));
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
}
