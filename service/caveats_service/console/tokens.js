// My tokens: those with a label, what is left of each, what it may still do, and how it is taken back.

import { all, ask, segment } from "./api.js";
import { h } from "./dom.js";
import { done, takeStep } from "./notices.js";
import { ago, empty, head, problemNotice, tag, time, timeLeft } from "./parts.js";
import { allowed, counted } from "./words.js";
import { isSignIn } from "./browser.js";

export const title = "My tokens";

/** @param {import("./shell.js").Console} console */
export async function show(console) {
  const issue = () => h("a", { class: "button main", href: "#issue" }, "Issue a token");
  const top = (/** @type {HTMLElement[]} */ ...actions) =>
    head(
      "My tokens",
      "What you have given to programs and people in your name. Narrower copies of a token end with it.",
      ...actions,
    );
  if (!console.session.scope.split(" ").includes("*")) {
    return h(
      "div",
      { class: "stack" },
      top(issue()),
      h(
        "p",
        { class: "notice" },
        h("strong", {}, "Your list cannot be shown here"),
        `Your account may no more than ${allowed(console.session.scope, console.user)}, and the list is for whole accounts. An administrator can show it and revoke what is in it.`,
      ),
    );
  }
  const { rows, more } = await all("v1/tokens", "tokens");
  const tokens = rows.filter((row) => !isSignIn(row.note));
  const now = new Date();
  const live = tokens.filter((row) => row.status === "live");
  const over = tokens.filter((row) => row.status !== "live");
  const list = h("ul", { class: "rows" });
  for (const token of live) list.append(liveRow(token, console, now));
  return h(
    "div",
    { class: "stack" },
    live.length > 0 ? top(issue()) : top(),
    live.length > 0
      ? list
      : empty(
          over.length > 0 ? "No token is alive" : "No tokens yet",
          "A token lets a program or a person act for you, for as long and as far as you say. Issue one with a label, and it is listed here with its last use.",
          issue(),
        ),
    over.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, `${counted(over.length, "token")} that ended`),
        h("ul", { class: "rows" }, ...over.map((token) => overRow(token, now))),
      ),
    more && h("p", { class: "hint" }, `The newest ${counted(rows.length, "label")} are shown, and there are more.`),
    h(
      "p",
      { class: "hint" },
      "Tokens without a label, and copies that their holders have made, are not listed: the service keeps nothing of them. To end them all, ",
      h("a", { href: "#sign-ins" }, "revoke everything"),
      ".",
    ),
  );
}

/** @param {any} token @param {import("./shell.js").Console} console @param {Date} now */
function liveRow(token, console, now) {
  const id = `token-${token.token_id}`;
  const wrong = h("div");
  return h(
    "li",
    { class: "card" },
    h(
      "div",
      { class: "row" },
      h(
        "div",
        {},
        h("div", { class: "title" }, h("h2", { id }, token.note || "Without a name"), ...tags(token)),
        h("p", {}, mayStill(token, console.user)),
        h(
          "p",
          { class: "hint" },
          ...lastUse(token, now),
          " · issued ",
          ago(new Date(token.issued_at), now),
          token.revoked_copies > 0 && ` · ${counted(token.revoked_copies, "narrower copy", "narrower copies")} of it revoked`,
        ),
      ),
      timeLeft(new Date(token.issued_at), new Date(token.expires_at), now),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "danger", "aria-describedby": id, onclick: () => void revoke() }, "Revoke"),
      ),
    ),
    wrong,
  );

  async function revoke() {
    try {
      const was = await takeStep({
        question: `Revoke “${token.note}”?`,
        words: [
          "Whatever holds it, or a copy of it, is refused from then on: here at once, and in apps that verify by themselves within about a second.",
          "It cannot be brought back; you can issue another one.",
        ],
        yes: "Revoke",
        doing: `Revoking “${token.note}”.`,
        work: (keepalive) => ask("DELETE", `v1/tokens/${segment(token.token_id)}`, { keepalive }),
      });
      if (!was) return;
      await console.again();
      done(`“${token.note}” is revoked.`);
    } catch (error) {
      wrong.replaceChildren(problemNotice(/** @type {any} */ (error)));
    }
  }
}

/** What a token may do, as a sentence. @param {any} token @param {string} user */
export function mayStill(token, user) {
  const where = token.audience === "default" ? "" : `, at ${token.audience}`;
  return `May ${allowed(token.scope, user)}${where}.`;
}

/** @param {any} token */
const tags = (token) =>
  [
    token.audience !== "default" && tag(`for ${token.audience}`, "main"),
    token.scope.split(" ").some((/** @type {string} */ each) => each.startsWith("caveats:")) && tag("administers", "soon"),
  ].filter(Boolean);

/** @param {any} token @param {Date} now @returns {(Node | string)[]} */
export function lastUse(token, now) {
  const apps = token.unreported_use ? ` (${token.audience} may have used it later without saying)` : "";
  if (token.last_used_at === null) return [token.unreported_use ? `No use known${apps}` : "Never used"];
  return ["Last used ", ago(new Date(token.last_used_at), now), apps];
}

/** @param {any} token @param {Date} now */
export function overRow(token, now) {
  return h(
    "li",
    { class: "card row over" },
    h(
      "div",
      {},
      h(
        "div",
        { class: "title" },
        h("h3", {}, token.note || "Without a name"),
        token.status === "revoked" ? tag("revoked", "bad") : tag("expired"),
      ),
      h("p", {}, ...why(token, now)),
      h("p", { class: "hint" }, ...lastUse(token, now)),
    ),
  );
}

/** @param {any} token @param {Date} now @returns {(Node | string)[]} */
function why(token, now) {
  if (token.status === "expired") return ["Its time was up ", ago(new Date(token.expires_at), now), "."];
  const reasons = /** @type {Record<string, string>} */ ({
    id: "It was revoked",
    copy: "It was revoked as a copy, with all that was made from it",
    user: "Everything of its user was revoked, as when a password is set",
    key: "The master key that it was issued under was retired",
    parent: "The token that it was issued against ended",
  });
  const reason = reasons[token.revoked_by] ?? "It was revoked";
  return token.revoked_at === null ? [`${reason}.`] : [`${reason}, `, time(new Date(token.revoked_at), now), "."];
}
