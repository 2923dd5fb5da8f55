// The sign-in: a name and a password, and a new password where an administrator has set the present one for once.

import { Problem, ROOT, ask, segment } from "./api.js";
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
  card.append(
    form([field("Username", username), field("Password", secret)], "Sign in", async (wrong) => {
      try {
        done(await signIn(username.value, secret.value));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.code === "password_change_required") {
          const [changing, fresh] = change(username.value.trim(), secret.value, done);
          card.replaceChildren(changing);
          fresh.focus();
        } else if (error.code === "invalid_credentials") {
          wrong.replaceChildren(
            problemNotice({
              title: "That did not work",
              message: "There is no such user, or this is not their password. An administrator can set another one.",
            }),
          );
          secret.select();
          secret.focus();
        } else throw error;
      }
    }),
  );
  const isOpen = document.documentElement.dataset.registration === "open";
  const heading = h("h1", {}, "Sign in");
  return h(
    "div",
    { class: "entry" },
    h(
      "div",
      { class: "stack" },
      heading,
      words && h("p", { class: "notice", role: "status" }, words),
      card,
      isOpen &&
        h(
          "button",
          {
            type: "button",
            class: "plain",
            onclick: (/** @type {Event} */ event) => {
              const [registering, name] = register(done);
              card.replaceChildren(registering);
              heading.textContent = "Create an account";
              /** @type {HTMLElement} */ (event.currentTarget).remove();
              name.focus();
            },
          },
          "Create an account",
        ),
      h(
        "p",
        { class: "hint" },
        "Without an account you can still ",
        h("a", { href: `${ROOT}console/inspect` }, "look into a token"),
        ": it stays in your browser.",
      ),
    ),
  );
}

/**
 * The form for a new password in place of one that was right and given for once.
 * @param {string} username @param {string} present @param {Done} done
 * @returns {[HTMLElement, HTMLElement]} the form and its field
 */
function change(username, present, done) {
  const fresh = password("new-password", { name: "new_password" });
  const why = h(
    "div",
    { class: "notice", role: "status" },
    h("strong", {}, "Choose a password of your own"),
    "The one that you typed is right. An administrator has set it for once, and it signs in to nothing.",
  );
  let changed = false;
  return [
    form(
      [why, whosePassword(username), field("New password", fresh, "A sentence of your own is long, and easy to keep in mind.")],
      "Change the password and sign in",
      async () => {
        if (!changed)
          await ask("PUT", `v1/users/${segment(username)}/password`, {
            body: { password: present, new_password: fresh.value },
            withSession: false,
          });
        changed = true;
        done(await signIn(username, fresh.value));
      },
    ),
    fresh,
  ];
}

/** The form for a new account, where anybody can have one, and its first field. @param {Done} done @returns {[HTMLElement, HTMLElement]} */
function register(done) {
  const username = nameField({ name: "username", autocomplete: "username", maxlength: 64, required: true });
  const fresh = password("new-password", { name: "new_password" });
  let made = false;
  return [
    form(
      [
        field("Username", username, "Small letters, digits and . _ @ + -; a mail address will do."),
        field("Password", fresh, "A sentence of your own is long, and easy to keep in mind."),
      ],
      "Create the account",
      async () => {
        if (!made)
          await ask("POST", "v1/users", { body: { username: username.value.trim(), password: fresh.value }, withSession: false });
        made = true;
        done(await signIn(username.value.trim(), fresh.value));
      },
    ),
    username,
  ];
}

/** @param {HTMLElement[]} fields @param {string} yes @param {(wrong: HTMLElement) => Promise<void>} send */
function form(fields, yes, send) {
  const wrong = h("div");
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "main" }, yes));
  return h(
    "form",
    {
      class: "stack",
      onsubmit: async (/** @type {Event} */ event) => {
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
      },
    },
    wrong,
    ...fields,
    h("div", { class: "actions" }, button),
  );
}

/**
 * Begins a session, which is listed among the account's sign-ins. Raises `Problem`, also where the browser does not keep its cookie.
 * @param {string} username @param {string} secret
 */
export async function signIn(username, secret) {
  await ask("POST", "v1/session", { body: { username, password: secret, note: thisBrowser() } });
  try {
    return await ask("GET", "v1/session");
  } catch (error) {
    if (error instanceof Problem && error.status === 401) throw new Problem(0, NOT_KEPT);
    throw error;
  }
}

const NOT_KEPT = {
  code: "cookie_not_kept",
  title: "This browser did not keep the sign-in",
  detail:
    "Its cookie is for https alone. Open this page by https, or at http://localhost. For plain http elsewhere, in development, there is CAVEATS_COOKIE_SECURE=false.",
};
