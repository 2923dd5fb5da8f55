// Accounts: who there is, what each may do, and one account by itself with its tokens.

import { all, ask, segment } from "../api.js";
import { h, say } from "../dom.js";
import { formDialog } from "../notices.js";
import { copyButton, empty, field, nameField, table, tag, time, timeLeft } from "../parts.js";
import { lastUse, mayStill } from "../tokens.js";
import { allowed, counted } from "../words.js";
import { act, actAfterAMoment, frame } from "./frame.js";

export const title = "Users";

const MANY = 8;
/** Rows from which on there is a field to find some. */
const LETTERS = "abcdefghijkmnpqrstuvwxyz23456789";

/** @typedef {import("../shell.js").Console} Console */

/** @param {Console} console */
export async function show(console) {
  const { rows, more } = await all("v1/users", "users", 5000);
  const now = new Date();
  if (console.rest !== "") {
    const user = rows.find((row) => row.username === console.rest);
    if (user !== undefined) return await one(user, console, now);
  }
  const list = h("div");
  const fill = (/** @type {string} */ wanted) => {
    const found = rows.filter((row) => row.username.includes(wanted.toLowerCase()));
    list.replaceChildren(
      found.length === 0
        ? empty("No such user", "No name has that in it.")
        : table(
            "Users",
            [{ name: "Name" }, { name: "May" }, { name: "State" }, { name: "Since" }],
            found.map((row) => [
              h("a", { href: `#admin/users/${row.username}` }, row.username),
              rights(row),
              states(row),
              time(new Date(row.created_at), now),
            ]),
          ),
    );
    if (wanted) say(counted(found.length, "user"));
  };
  fill("");
  const search = nameField({ type: "search", oninput: () => fill(search.value.trim()) });
  return frame(
    "admin/users",
    "Users",
    "Accounts that sign in with a password.",
    [h("button", { class: "main", onclick: () => void add(console) }, "Add a user")],
    console.rest !== "" && h("p", { class: "notice" }, `There is no user ${console.rest}.`),
    rows.length >= MANY && h("div", { class: "narrow" }, field("Find", search)),
    list,
    more && h("p", { class: "hint" }, `The first ${counted(rows.length, "user")} are shown.`),
  );
}

/** @param {any} user */
const rights = (user) =>
  h(
    "div",
    { class: "title" },
    h("span", {}, user.scope === "*" ? "everything" : allowed(user.scope, user.username)),
    user.is_admin && tag("administrator", "main"),
  );

/** @param {any} user */
function states(user) {
  if (user.disabled_at !== null) return tag("disabled", "bad");
  return user.must_change_password ? tag("has to change the password", "soon") : tag("open", "good");
}

/** One account. @param {any} user @param {Console} console @param {Date} now */
async function one(user, console, now) {
  const name = user.username;
  const path = `v1/users/${segment(name)}`;
  const { rows } = await all(`${path}/tokens`, "tokens", 1000);
  const live = rows.filter((row) => row.status === "live");
  const self = name === console.user;
  const disabled = user.disabled_at !== null;
  return frame(
    "admin/users",
    name,
    null,
    [h("a", { class: "button", href: "#admin/users" }, "All users")],
    h(
      "div",
      { class: "card" },
      h(
        "dl",
        { class: "facts" },
        h("dt", {}, "State"),
        h("dd", {}, states(user), ...(disabled ? [" since ", time(new Date(user.disabled_at), now)] : [])),
        h("dt", {}, "May"),
        h("dd", {}, rights(user)),
        h("dt", {}, "Since"),
        h("dd", {}, time(new Date(user.created_at), now)),
      ),
    ),
    h("h2", {}, "Tokens and sign-ins with a label"),
    live.length === 0
      ? h("p", { class: "hint" }, "None is alive.")
      : table(
          `Tokens of ${name}`,
          [{ name: "Label" }, { name: "What it may do" }, { name: "Time left" }, { name: "Action", unseen: true }],
          live.map((row) => [
            row.note || "Without a name",
            [h("div", {}, mayStill(row, name)), h("div", { class: "hint" }, ...lastUse(row, now))],
            timeLeft(new Date(row.issued_at), new Date(row.expires_at), now),
            h(
              "div",
              { class: "actions" },
              h(
                "button",
                {
                  class: "danger",
                  "aria-label": `Revoke ${row.note}`,
                  onclick: () =>
                    void actAfterAMoment(console, {
                      question: `Revoke “${row.note}” of ${name}?`,
                      words: "All copies of it end as well. It cannot be brought back.",
                      yes: "Revoke",
                      doing: `Revoking “${row.note}” of ${name}.`,
                      did: `“${row.note}” is revoked.`,
                      work: (keepalive) => ask("DELETE", `${path}/tokens/${segment(row.token_id)}`, { keepalive }),
                    }),
                },
                "Revoke",
              ),
            ),
          ]),
        ),
    h("h2", {}, "What you can do"),
    h(
      "ul",
      { class: "rows" },
      !self &&
        step(
          "Set a password for once",
          `${name} signs in with it, and has to choose another one first. All tokens and sign-ins of ${name} end.`,
          h("button", { onclick: () => void oneTime(name, console) }, "Set a password"),
        ),
      step(
        "Revoke everything",
        `All tokens and sign-ins that were ever issued to ${name} end, labelled or not, with all copies. The account stays open.`,
        h(
          "button",
          {
            class: "danger",
            onclick: () =>
              void actAfterAMoment(console, {
                question: `Revoke everything of ${name}?`,
                words: "Programs that hold a token have to be given a new one. It cannot be taken back.",
                yes: "Revoke everything",
                doing: `Revoking everything of ${name}.`,
                did: `Everything of ${name} is revoked.`,
                work: (keepalive) => ask("POST", "v1/revocations", { body: { user: name }, keepalive }),
              }),
          },
          "Revoke everything",
        ),
      ),
      disabled
        ? step(
            "Enable the account",
            `${name} may sign in again. What was revoked stays revoked.`,
            h(
              "button",
              {
                onclick: () => void act(console, () => ask("POST", `${path}/enable`, { body: {} }), `${name} may sign in again.`),
              },
              "Enable",
            ),
          )
        : !self &&
            step(
              "Disable the account",
              `${name} cannot sign in, and everything issued to them ends. It can be enabled again.`,
              h(
                "button",
                {
                  class: "danger",
                  onclick: () =>
                    void actAfterAMoment(console, {
                      question: `Disable ${name}?`,
                      words: "They are signed out everywhere and all their tokens end.",
                      yes: "Disable",
                      doing: `Disabling ${name}.`,
                      did: `${name} is disabled.`,
                      work: (keepalive) => ask("POST", `${path}/disable`, { body: {}, keepalive }),
                    }),
                },
                "Disable",
              ),
            ),
      !self &&
        step(
          "Delete the account",
          "With its labels, agents and places in groups. Its name is never given again.",
          h("button", { class: "danger", onclick: () => void remove(name, path, console) }, "Delete"),
        ),
    ),
  );
}

/** @param {string} name @param {string} path @param {Console} console */
async function remove(name, path, console) {
  await actAfterAMoment(console, {
    question: `Delete ${name}?`,
    words: [
      `Everything issued to ${name} ends, and nobody can ever have this name again.`,
      "To close the account for a while, disable it instead.",
    ],
    yes: "Delete for ever",
    doing: `Deleting ${name}.`,
    did: `${name} is deleted.`,
    work: async (keepalive) => {
      await ask("DELETE", path, { keepalive });
      console.go("admin/users");
    },
  });
}

/** @param {string} what @param {string} words @param {HTMLElement} button */
const step = (what, words, button) =>
  h(
    "li",
    { class: "card row two" },
    h("div", {}, h("h3", {}, what), h("p", { class: "hint" }, words)),
    h("div", { class: "actions" }, button),
  );

/** A password that is easy to read out: four groups of five, 99 bits. */
function newPassword() {
  const random = crypto.getRandomValues(new Uint8Array(20));
  return [...random].map((byte, at) => (at > 0 && at % 5 === 0 ? "-" : "") + LETTERS[byte & 31]).join("");
}

/** The field of a one-time password, which is made here and may be changed. */
function oneTimeField() {
  const input = nameField({ value: newPassword(), required: true, maxlength: 1024, class: "code" });
  return {
    input,
    element: h(
      "div",
      { class: "stack" },
      field(
        "Password for once",
        input,
        "Send it to them: it is good for choosing another one, and for nothing else. It is not shown again.",
      ),
      h(
        "div",
        { class: "actions" },
        copyButton("Copy it", () => input.value),
      ),
    ),
  };
}

/** @param {Console} console */
async function add(console) {
  const name = nameField({ required: true, maxlength: 64 });
  const once = oneTimeField();
  const added = await formDialog(
    "Add a user",
    [field("Username", name, "Small letters, digits and . _ @ + -; a mail address will do."), once.element],
    "Add",
    async () =>
      ask("POST", "v1/users", { body: { username: name.value.trim(), password: once.input.value, must_change_password: true } }),
  );
  if (added !== undefined) await act(console, async () => {}, `${added.username} is added.`);
}

/** @param {string} name @param {Console} console */
async function oneTime(name, console) {
  const once = oneTimeField();
  const set = await formDialog(
    `A password for ${name}, for once`,
    [h("p", {}, `All tokens and sign-ins of ${name} end now.`), once.element],
    "Set it",
    async () => {
      await ask("PUT", `v1/users/${segment(name)}/password`, {
        body: { new_password: once.input.value, must_change_password: true },
      });
      return true;
    },
  );
  if (set) await act(console, async () => {}, `${name} signs in with it and chooses another one.`);
}
