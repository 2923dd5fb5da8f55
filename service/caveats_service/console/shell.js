// The console's document at `/`: who is signed in, and which view is shown. Knows views by name; knows nothing of what is in them.
// A view is a module with `title` and `show(console)`, which returns its elements. Its address is the fragment: `#tokens`.

import { Problem, ask } from "./api.js";
import { byId, h, say } from "./dom.js";
import { head, problemNotice } from "./parts.js";
import { remember, remembered } from "./who.js";

/**
 * What a view is given: who is signed in, and how to go on.
 * @typedef {object} Console
 * @property {string} user
 * @property {boolean} isAdmin
 * @property {{user: string, token_id: string, scope: string, expires_at: string}} session
 * @property {string} rest what stands in the address behind the view's name
 * @property {(address: string) => void} go shows another view
 * @property {() => Promise<void>} again shows this view anew
 * @property {(words?: string) => void} end shows the sign-in, since nobody is signed in any more
 */

/** @typedef {{title: string, show: (console: Console) => Promise<Node> | Node}} View */

/** @type {Record<string, {of: string, load: () => Promise<View>}>} */
const VIEWS = {
  tokens: { of: "tokens", load: () => import("./tokens.js") },
  issue: { of: "tokens", load: () => import("./issue.js") },
  "sign-ins": { of: "account", load: () => import("./sign-ins.js") },
  password: { of: "account", load: () => import("./password.js") },
  admin: { of: "admin", load: () => import("./admin/activity.js") },
  "admin/users": { of: "admin", load: () => import("./admin/users.js") },
  "admin/groups": { of: "admin", load: () => import("./admin/groups.js") },
  "admin/agents": { of: "admin", load: () => import("./admin/agents.js") },
  "admin/clients": { of: "admin", load: () => import("./admin/clients.js") },
  "admin/keys": { of: "admin", load: () => import("./admin/keys.js") },
  "admin/verifiers": { of: "admin", load: () => import("./admin/verifiers.js") },
  "admin/revocations": { of: "admin", load: () => import("./admin/revocations.js") },
};
const ENDED = "Your sign-in has ended. Sign in again to go on.";
const ASK_AGAIN = 10 * 60_000;
/** Milliseconds after which going to a view keeps the session alive. */

/** @type {Console["session"] | null} */
let session = null;
let askedAt = 0;
let shown = 0;

const service = document.title.split(" · ").at(-1) ?? "";
const main = byId("main");

addEventListener("hashchange", () => void show(true));
// A page that comes back as it was may be of a sign-in that has ended since. What is still allowed stays as it is: a new token is shown once.
addEventListener("pageshow", (event) => {
  if (event.persisted && session !== null)
    void keepAlive().then(
      () => {
        if (session === null) void show(true);
      },
      () => {},
    );
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
frame(remembered());
void begin();

async function begin() {
  try {
    await keepAlive();
    await show(false);
  } catch (error) {
    main.replaceChildren(trouble(error, () => location.reload()));
  }
}

/** Asks who is signed in, if anybody is, which also keeps the session alive. Raises `Problem`. */
async function keepAlive() {
  session = (await ask("GET", "v1/session?optional")) ?? null;
  askedAt = Date.now();
}

/** Shows the view that the address names. @param {boolean} moved whether the person went there, whose focus moves along then */
async function show(moved) {
  const turn = (shown += 1);
  if (session !== null && Date.now() - askedAt > ASK_AGAIN) await keepAlive().catch(() => {}); // what is shown next will say
  frame(session === null ? null : { user: session.user, isAdmin: isAdmin(session) });
  if (session === null) {
    signIn(askedAt === 0 ? "" : ENDED, moved);
    return;
  }
  const address = decodeURIComponent(location.hash.slice(1));
  const name = Object.keys(VIEWS)
    .filter((each) => address === each || address.startsWith(`${each}/`))
    .sort((a, b) => b.length - a.length)[0];
  const view = VIEWS[name ?? "tokens"];
  if (view === undefined) return;
  current(view.of);
  const slow = setTimeout(() => {
    if (turn === shown) say("Loading");
    main.setAttribute("aria-busy", "true");
  }, 300);
  /** @type {Console} */
  const given = {
    user: session.user,
    isAdmin: isAdmin(session),
    session,
    rest: name === undefined ? "" : address.slice(name.length + 1),
    go: (to) => {
      if (location.hash === `#${to}`) void show(true);
      else location.hash = to;
    },
    again: () => show(false),
    end: (words = "") => {
      session = null;
      frame(null);
      signIn(words, true);
    },
  };
  try {
    const { title, show: shows } = await view.load();
    const elements = view.of === "admin" && !given.isAdmin ? forOthers() : await shows(given);
    if (turn !== shown) return;
    main.replaceChildren(elements);
    document.title = `${title} · ${service}`;
  } catch (error) {
    if (turn !== shown) return;
    if (error instanceof Problem && error.status === 401) {
      given.end(ENDED);
      return;
    }
    main.replaceChildren(trouble(error, () => void show(false)));
  } finally {
    clearTimeout(slow);
    main.removeAttribute("aria-busy");
  }
  if (moved) {
    scrollTo(0, 0);
    focusHeading();
  }
}

/** @param {string} words why the sign-in is shown @param {boolean} moved */
function signIn(words, moved) {
  shown += 1;
  void import("./sign-in.js").then(({ title, show: shows }) => {
    document.title = `${title} · ${service}`;
    main.replaceChildren(
      shows({
        words,
        done: (signedIn) => {
          session = signedIn;
          askedAt = Date.now();
          void show(true);
        },
      }),
    );
    if (moved) focusHeading();
  });
}

function focusHeading() {
  /** @type {HTMLElement | null} */
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

/** @param {{scope: string}} of */
const isAdmin = (of) => of.scope.split(" ").some((pattern) => pattern === "caveats:*" || pattern === "caveats:admin");

/** @param {unknown} error @param {() => void} again */
function trouble(error, again) {
  const known =
    error instanceof Problem
      ? error
      : { title: "This page could not be shown", message: "Load it again; if it stays so, tell whoever runs this service." };
  if (!(error instanceof Problem)) console.error(error);
  return h(
    "div",
    { class: "stack narrow" },
    h("h1", {}, "Something went wrong"),
    problemNotice(known),
    h("div", { class: "actions" }, h("button", { class: "main", onclick: again }, "Try again")),
  );
}

function forOthers() {
  return h(
    "div",
    { class: "stack" },
    head("For administrators", "Your account may not administer this service. Who it belongs to can say who may."),
  );
}

/** The frame's account and its link for administrators. @param {{user: string, isAdmin: boolean} | null} who */
function frame(who) {
  remember(who);
  const admin = document.querySelector('nav a[data-name="admin"]')?.parentElement;
  if (admin) admin.hidden = !who?.isAdmin;
  const account = byId("account");
  if (account.dataset.user === (who?.user ?? "")) return;
  account.dataset.user = who?.user ?? "";
  account.replaceChildren(
    ...(who === null
      ? []
      : [
          h("a", { href: "#sign-ins", title: "Your sign-ins and your password" }, who.user),
          h("button", { type: "button", class: "plain", onclick: signOut }, "Sign out"),
        ]),
  );
}

/** Marks the link of the frame that leads to this view. @param {string} of */
function current(of) {
  for (const link of document.querySelectorAll(".top [data-name], .account a")) {
    const name = link instanceof HTMLElement ? (link.dataset.name ?? "account") : "";
    if (name === of) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function signOut() {
  try {
    await ask("DELETE", "v1/session");
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) {
      main.prepend(
        problemNotice(error instanceof Problem ? error : { title: "You are still signed in", message: String(error) }),
      );
      return;
    }
  }
  session = null;
  askedAt = 0;
  frame(null);
  signIn("You are signed out.", true);
}
