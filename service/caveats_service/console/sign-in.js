// The sign-in: a name and a password, and a new password where an administrator has set the present one for once.

import { Problem, ask, segment } from "./api.js";
import { h } from "./dom.js";
import { field, mistake, nameField, password, problemNotice } from "./parts.js";
import { thisBrowser } from "./browser.js";

export const title = "Sign in";

/**
 * @param {object} given
 * @param {string} given.words why the sign-in is shown @param {(session: any) => void} given.done
 */
export function show({ words, done }) {
  const username = nameField({ name: "username", autocomplete: "username", maxlength: 64, required: true });
  const secret = password("current-password", { name: "password" });
  const fresh = password("new-password", { name: "new_password" });
  const wrong = h("div");
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "main" }, "Sign in"));
  const freshField = field("New password", fresh, "An administrator has set the present one for once. From now on yours is another.");
  let mustChange = false;
  const form = h("form", { class: "stack", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    void send();
  } }, wrong, field("Username", username), field("Password", secret), h("div", { class: "actions" }, button));

  async function send() {
    button.disabled = true;
    wrong.replaceChildren();
    mistake(secret);
    try {
      if (mustChange) await change();
      done(await signIn(username.value, mustChange ? fresh.value : secret.value));
    } catch (error) {
      tell(error);
    } finally {
      button.disabled = false;
    }
  }

  async function change() {
    const body = { password: secret.value, new_password: fresh.value };
    await ask("PUT", `v1/users/${segment(username.value.trim())}/password`, { body, withSession: false });
  }

  /** @param {unknown} error */
  function tell(error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "password_change_required") {
      mustChange = true;
      secret.closest(".field")?.after(freshField);
      button.textContent = "Change the password and sign in";
      wrong.replaceChildren(h("div", { class: "notice", role: "alert" }, h("strong", {}, "Choose a password of your own"),
        "The one that you typed is right, and it was given to you for once."));
      fresh.focus();
    } else if (error.code === "invalid_credentials") {
      wrong.replaceChildren(problemNotice({ title: "That did not work", message: "There is no such user, or this is not their password. An administrator can set another one." }));
      secret.select();
      secret.focus();
    } else wrong.replaceChildren(problemNotice(error));
  }

  return h("div", { class: "entry" },
    h("div", { class: "stack" },
      h("h1", {}, "Sign in"),
      words && h("p", { class: "notice", role: "status" }, words),
      h("div", { class: "card" }, form),
      h("p", { class: "hint" }, "Without an account you can still ", h("a", { href: "console/inspect" }, "look into a token"), ": it stays in your browser.")));
}

/** Begins a session, which is listed among the account's sign-ins. @param {string} username @param {string} secret */
export const signIn = (username, secret) => ask("POST", "v1/session", { body: { username, password: secret, note: thisBrowser() } });
