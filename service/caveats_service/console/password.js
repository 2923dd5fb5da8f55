// The password of whoever is signed in: the present one, and a new one. Everything issued until then ends with it.

import { ask, segment } from "./api.js";
import { h } from "./dom.js";
import { done } from "./notices.js";
import { field, head, mistake, password, problemNotice, whosePassword } from "./parts.js";
import { signIn } from "./sign-in.js";

export const title = "Change your password";

/** @param {import("./shell.js").Console} console */
export function show(console) {
  const present = password("current-password");
  const fresh = password("new-password");
  const wrong = h("div");
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "main" }, "Change the password"));
  const form = h(
    "form",
    {
      class: "card stack narrow",
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        wrong.replaceChildren();
        mistake(present);
        button.disabled = true;
        try {
          const body = { password: present.value, new_password: fresh.value };
          await ask("PUT", `v1/users/${segment(console.user)}/password`, { body });
          await signIn(console.user, fresh.value);
          done("Your password is changed.");
          location.hash = "tokens";
          location.reload();
        } catch (error) {
          const problem = /** @type {import("./api.js").Problem} */ (error);
          if (problem.code === "invalid_credentials") {
            mistake(present, "This is not your present password.");
            present.select();
            present.focus();
          } else wrong.replaceChildren(problemNotice(problem));
        } finally {
          button.disabled = false;
        }
      },
    },
    wrong,
    whosePassword(console.user),
    field("Present password", present),
    field("New password", fresh, "A sentence of your own is long, and easy to keep in mind."),
    h(
      "p",
      { class: "notice" },
      h("strong", {}, "All tokens and sign-ins of yours end with it"),
      "Programs that hold a token have to be given a new one. You stay signed in here.",
    ),
    h("div", { class: "actions" }, button, h("a", { class: "button", href: "#sign-ins" }, "Cancel")),
  );
  return h("div", {}, head("Change your password", null), form);
}
