// A new token: its label, what it may do, for how long, and whether it ends with this sign-in. It is shown once.

import { ROOT, ask } from "./api.js";
import { h } from "./dom.js";
import { copyButton, field, head, mistake, nameField, password, problemNotice, timeLeft, whosePassword } from "./parts.js";
import { linkWith } from "./token/fragment.js";
import { mayStill } from "./tokens.js";
import { moment } from "./words.js";

export const title = "Issue a token";

const LIVES = [
  ["1h", "1 hour"],
  ["8h", "8 hours"],
  ["1d", "1 day"],
  ["1w", "1 week"],
  ["30d", "30 days"],
];

/** @param {import("./shell.js").Console} console */
export function show(console) {
  const label = /** @type {HTMLInputElement} */ (h("input", { maxlength: 200, required: true, autocomplete: "off" }));
  const scope = nameField({ value: "", maxlength: 1024, placeholder: "photos:read notes/7:*" });
  const audience = nameField({ value: "default", maxlength: 32, pattern: "[a-z][a-z0-9\\-]*", required: true });
  const life = /** @type {HTMLSelectElement} */ (
    h(
      "select",
      {},
      ...LIVES.map(([value, words]) => h("option", { value, selected: value === "8h" }, /** @type {string} */ (words))),
    )
  );
  const secret = password("current-password", { required: false });
  const administer = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox" }));
  const may = choices("scope", [
    ["all", "Everything that you may do", ""],
    ["some", "Only this", ""],
  ]);
  const end = choices("end", [
    ["own", "By itself, when its time is up", "It goes on when you sign out. Your password is asked for."],
    [
      "sign-in",
      "With this sign-in, or earlier",
      `When you sign out, or ${moment(new Date(console.session.expires_at), new Date())} at the latest. No password is needed.`,
    ],
  ]);
  const says = h("p", { class: "hint", "aria-live": "polite" });
  const scopeField = field("Scope", scope, "What and how: photos:read, notes/7:*, with one space between.");
  const secretField = field("Your password", secret);
  const wrong = h("div");
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "main" }, "Issue the token"));

  // All that the account may do, but for administering: that is asked for by itself.
  const own = console.session.scope
    .split(" ")
    .filter((pattern) => !pattern.startsWith("caveats:"))
    .join(" ");
  const wanted = () =>
    [
      may.value() === "all" ? own : scope.value.trim().replace(/\s+/g, " "),
      console.isAdmin && administer.checked ? "caveats:*" : "",
    ]
      .filter(Boolean)
      .join(" ");
  const look = () => {
    scopeField.hidden = may.value() === "all";
    secretField.hidden = end.value() === "sign-in";
    scope.required = !scopeField.hidden;
    secret.required = !secretField.hidden;
    says.textContent =
      wanted() === "" ? "" : mayStill({ scope: wanted(), audience: audience.value.trim() || "default" }, console.user);
  };

  const form = h(
    "form",
    {
      class: "card stack narrow",
      oninput: look,
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        wrong.replaceChildren();
        mistake(secret);
        button.disabled = true;
        const body = { scope: wanted(), audience: audience.value.trim(), expires_in: life.value, note: label.value.trim() };
        const byItself = end.value() === "own";
        try {
          const issued = byItself
            ? await ask("POST", "v1/tokens", {
                body: { ...body, username: console.user, password: secret.value },
                withSession: false,
              })
            : await ask("POST", "v1/tokens", { body });
          form.closest("div")?.replaceChildren(issuedToken(issued, body.note, console));
          document.querySelector("h1")?.focus();
        } catch (error) {
          const problem = /** @type {import("./api.js").Problem} */ (error);
          if (problem.code === "invalid_credentials") {
            mistake(secret, "This is not your password.");
            secret.focus();
          } else if (problem.status === 401) console.end("Your sign-in has ended. Sign in again to go on.");
          else wrong.replaceChildren(problemNotice(problem));
        } finally {
          button.disabled = false;
        }
      },
    },
    wrong,
    whosePassword(console.user),
    field("Label", label, "What it is for, so that you find it again: “backup of my photos”."),
    h(
      "fieldset",
      {},
      h("legend", {}, "What it may do"),
      ...may.elements,
      scopeField,
      console.isAdmin &&
        h(
          "label",
          { class: "choice" },
          administer,
          h(
            "span",
            {},
            "Administer this service as well",
            h("span", { class: "hint" }, "Users, groups, keys: only for tools that run the service."),
          ),
        ),
    ),
    says,
    field("Lasts for", life),
    h("fieldset", {}, h("legend", {}, "When it ends"), ...end.elements, secretField),
    h(
      "details",
      {},
      h("summary", {}, "For an app that verifies by itself"),
      field(
        "Audience",
        audience,
        "The app or group of apps that the token is for. “default” is this service and whoever asks it.",
      ),
    ),
    h("div", { class: "actions" }, button, h("a", { class: "button", href: "#tokens" }, "Cancel")),
  );
  look();
  return h(
    "div",
    {},
    head("Issue a token", "It lets whoever holds it do what you allow here, in your name. You can revoke it at any time."),
    form,
  );
}

/** @param {any} issued @param {string} note @param {import("./shell.js").Console} console */
function issuedToken(issued, note, console) {
  const text = /** @type {HTMLTextAreaElement} */ (
    h("textarea", { class: "secret", readonly: true, rows: 6, "aria-label": "The token", spellcheck: "false" })
  );
  text.value = issued.token;
  return h(
    "div",
    { class: "stack" },
    head(`“${note}” is issued`, "Copy it now: the service does not keep it, and it is not shown again. Treat it as a password."),
    h(
      "div",
      { class: "card stack narrow" },
      text,
      h(
        "div",
        { class: "actions" },
        copyButton("Copy the token", () => issued.token, "main"),
        linkWith(`${ROOT}console/narrow`, issued.token, "button", "Narrow and share it"),
        linkWith(`${ROOT}console/inspect`, issued.token, "button", "Inspect it"),
      ),
      h("p", {}, mayStill(issued, console.user)),
      timeLeft(new Date(issued.issued_at), new Date(issued.expires_at), new Date()),
    ),
    h("div", { class: "actions" }, h("a", { class: "button", href: "#tokens" }, "Back to my tokens")),
  );
}

/** Radio buttons. @param {string} name @param {string[][]} options value, words and hint of each; the first one is chosen */
function choices(name, options) {
  const inputs = options.map(
    ([value], at) => /** @type {HTMLInputElement} */ (h("input", { type: "radio", name, value, checked: at === 0 })),
  );
  return {
    value: () => inputs.find((input) => input.checked)?.value ?? "",
    elements: options.map(([, words, hint], at) =>
      h(
        "label",
        { class: "choice" },
        /** @type {HTMLElement} */ (inputs[at]),
        h("span", {}, words ?? "", hint ? h("span", { class: "hint" }, hint) : null),
      ),
    ),
  };
}
