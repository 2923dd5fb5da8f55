// Where somebody is signed in: this browser, and the others that signed in with a label. And how to end them all.

import { all, ask, segment } from "./api.js";
import { browserOf, isSignIn } from "./browser.js";
import { h } from "./dom.js";
import { done, takeStep } from "./notices.js";
import { ago, head, problemNotice, tag, time } from "./parts.js";
import { allowed, counted } from "./words.js";
import { overRow } from "./tokens.js";

export const title = "Sign-ins";

/** @param {import("./shell.js").Console} console */
export async function show(console) {
  const now = new Date();
  const whole = console.session.scope.split(" ").includes("*");
  const rows = whole ? (await all("v1/tokens", "tokens")).rows.filter((row) => isSignIn(row.note)) : [];
  const others = rows.filter((row) => row.status === "live" && row.token_id !== console.session.token_id);
  const own = rows.find((row) => row.token_id === console.session.token_id);
  const over = rows.filter((row) => row.status !== "live");
  const wrong = h("div");
  return h(
    "div",
    { class: "stack" },
    head(
      "Sign-ins",
      `Where you are signed in as ${console.user}. What is unknown to you, sign out; then change your password.`,
      h("a", { class: "button", href: "#password" }, "Change your password"),
    ),
    wrong,
    h(
      "ul",
      { class: "rows" },
      h(
        "li",
        { class: "card row" },
        h(
          "div",
          {},
          h("div", { class: "title" }, h("h2", {}, own ? browserOf(own.note) : "This browser"), tag("this browser", "good")),
          h("p", {}, `May ${allowed(console.session.scope, console.user)}.`),
        ),
        h(
          "p",
          { class: "left" },
          h("span", { class: "quiet" }, "ends ", time(new Date(console.session.expires_at), now), " unless it is used"),
        ),
      ),
      ...others.map((row) => other(row, console, now, wrong)),
    ),
    over.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, `${counted(over.length, "sign-in")} that ended`),
        h("ul", { class: "rows" }, ...over.map((row) => overRow({ ...row, note: browserOf(row.note) }, now))),
      ),
    h("h2", {}, "End everything"),
    h(
      "div",
      { class: "card row two" },
      h(
        "div",
        {},
        h(
          "p",
          {},
          "Revokes all sign-ins and all tokens that were ever issued to you, with and without a label, and every copy of them.",
        ),
        h("p", { class: "hint" }, "For when a token or a device is lost and you do not know what it had."),
      ),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "danger", onclick: () => void everything(console, wrong) }, "Revoke everything"),
      ),
    ),
  );
}

/** @param {any} row @param {import("./shell.js").Console} console @param {Date} now @param {HTMLElement} wrong */
function other(row, console, now, wrong) {
  const name = browserOf(row.note);
  const id = `sign-in-${row.token_id}`;
  return h(
    "li",
    { class: "card row" },
    h(
      "div",
      {},
      h("h2", { id }, name),
      h(
        "p",
        { class: "hint" },
        row.last_used_at === null ? "Not used since" : ["Last used ", ago(new Date(row.last_used_at), now)],
        " · signed in ",
        ago(new Date(row.issued_at), now),
      ),
    ),
    h("p", { class: "left" }, h("span", { class: "quiet" }, "ends ", time(new Date(row.expires_at), now), " unless it is used")),
    h(
      "div",
      { class: "actions" },
      h(
        "button",
        {
          type: "button",
          "aria-describedby": id,
          onclick: async () => {
            try {
              await ask("DELETE", `v1/tokens/${segment(row.token_id)}`);
              await console.again();
              done(`${name} is signed out.`);
            } catch (error) {
              wrong.replaceChildren(problemNotice(/** @type {any} */ (error)));
            }
          },
        },
        "Sign it out",
      ),
    ),
  );
}

/** @param {import("./shell.js").Console} console @param {HTMLElement} wrong */
async function everything(console, wrong) {
  try {
    const was = await takeStep({
      question: "Revoke everything?",
      words: [
        "All your tokens and sign-ins end, this one too. Programs that hold a token have to be given a new one.",
        "It cannot be taken back once it is done.",
      ],
      yes: "Revoke everything",
      doing: "Revoking everything.",
      work: (keepalive) => ask("POST", "v1/revocations", { body: { user: console.user }, keepalive }),
    });
    if (was) console.end("Everything was revoked. Sign in to go on.");
  } catch (error) {
    wrong.replaceChildren(problemNotice(/** @type {any} */ (error)));
  }
}
