// The sign-in: a name and a password, and a new password where an administrator has set the present one for once.

import { Problem, ask, segment } from "./api.js";
import { h } from "./dom.js";
import { field, nameField, password, problemNotice, whosePassword } from "./parts.js";
import { thisBrowser } from "./browser.js";

export const title = "Sign in";

/** @typedef {(session: any) => void} Done */

/**
 * @param {object} given
 * @param {string} given.words why the sign-in is shown @param {Done} given.done
 */
export function show({ words, done }) {
  const card = h("div", { class: "card" });
  const username = nameField({ name: "username", autocomplete: "username", maxlength: 64, required: true });
  const secret = password("current-password", { name: "password" });
  card.append(form([field("Username", username), field("Password", secret)], "Sign in", async (wrong) => {
    try {
      done(await signIn(username.value, secret.value));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code === "password_change_required") {
        const [changing, fresh] = change(username.value.trim(), secret.value, done);
        card.replaceChildren(changing);
        fresh.focus();
      } else if (error.code === "invalid_credentials") {
        wrong.replaceChildren(problemNotice({ title: "That did not work", message: "There is no such user, or this is not their password. An administrator can set another one." }));
        secret.select();
        secret.focus();
      } else throw error;
    }
  }));
  return h("div", { class: "entry" },
    h("div", { class: "stack" },
      h("h1", {}, "Sign in"),
      words && h("p", { class: "notice", role: "status" }, words),
      card,
      h("p", { class: "hint" }, "Without an account you can still ", h("a", { href: "console/inspect" }, "look into a token"), ": it stays in your browser.")));
}

/**
 * The form for a new password in place of one that was right and given for once.
 * @param {string} username @param {string} present @param {Done} done
 * @returns {[HTMLElement, HTMLElement]} the form and its field
 */
function change(username, present, done) {
  const fresh = password("new-password", { name: "new_password" });
  const why = h("div", { class: "notice", role: "status" }, h("strong", {}, "Choose a password of your own"),
    "The one that you typed is right. An administrator has set it for once, and it signs in to nothing.");
  let changed = false;
  return [form([why, whosePassword(username), field("New password", fresh, "A sentence of your own is long, and easy to keep in mind.")], "Change the password and sign in", async () => {
    if (!changed) await ask("PUT", `v1/users/${segment(username)}/password`, { body: { password: present, new_password: fresh.value }, withSession: false });
    changed = true;
    done(await signIn(username, fresh.value));
  }), fresh];
}

/** @param {HTMLElement[]} fields @param {string} yes @param {(wrong: HTMLElement) => Promise<void>} send */
function form(fields, yes, send) {
  const wrong = h("div");
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "main" }, yes));
  return h("form", { class: "stack", onsubmit: async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.replaceChildren();
    try {
      await send(wrong);
    } catch (error) {
      wrong.replaceChildren(problemNotice(/** @type {Problem} */ (error)));
    } finally {
      button.disabled = false;
    }
  } }, wrong, ...fields, h("div", { class: "actions" }, button));
}

/** Begins a session, which is listed among the account's sign-ins. @param {string} username @param {string} secret */
export const signIn = (username, secret) => ask("POST", "v1/session", { body: { username, password: secret, note: thisBrowser() } });
