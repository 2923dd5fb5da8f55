// Issuing clients: sites that hand tokens to users who are signed in there. What each may issue, in a sentence.

import { all, ask, segment } from "../api.js";
import { h } from "../dom.js";
import { confirm, formDialog } from "../notices.js";
import { copyButton, empty, field, nameField, time } from "../parts.js";
import { allowed, duration, listed } from "../words.js";
import { act, actAfterAMoment, frame } from "./frame.js";

export const title = "Clients";

/** @param {import("../shell.js").Console} console */
export async function show(console) {
  const { rows } = await all("v1/clients", "clients");
  const now = new Date();
  const add = () => h("button", { class: "main", onclick: () => void addClient(console) }, "Add a client");
  return frame(
    "admin/clients",
    "Clients",
    "Sites that hand tokens to users who are signed in there. Each is held to named users, apps, a scope and a life.",
    rows.length > 0 ? [add()] : [],
    rows.length === 0
      ? empty(
          "No clients yet",
          "A site with a sign-in of its own can issue tokens for its users, without their passwords.",
          add(),
        )
      : h(
          "ul",
          { class: "rows" },
          ...rows.map((client) =>
            h(
              "li",
              { class: "card row two" },
              h(
                "div",
                {},
                h("h2", {}, client.name),
                h("p", {}, sentence(client)),
                h(
                  "p",
                  { class: "hint" },
                  "Id ",
                  h("code", {}, client.client_id),
                  " · since ",
                  time(new Date(client.created_at), now),
                ),
              ),
              h(
                "div",
                { class: "actions" },
                h(
                  "button",
                  {
                    class: "danger",
                    "aria-label": `Remove ${client.name}`,
                    onclick: () =>
                      void actAfterAMoment(console, {
                        question: `Remove ${client.name}?`,
                        words: "It issues nothing any more, and everything that it has issued ends.",
                        yes: "Remove",
                        doing: `Removing ${client.name}.`,
                        did: `${client.name} is removed.`,
                        work: (keepalive) => ask("DELETE", `v1/clients/${segment(client.client_id)}`, { keepalive }),
                      }),
                  },
                  "Remove",
                ),
              ),
            ),
          ),
        ),
  );
}

/** What a client may issue. @param {any} client */
function sentence(client) {
  const whom = listed([...client.users, ...client.groups.map((/** @type {string} */ group) => `members of ${group}`)]);
  return `Issues tokens for ${whom}, at ${listed(client.audiences)}, that may ${allowed(client.scope, "the user")}, for at most ${duration(client.longest_life * 1000)}.`;
}

const words = (/** @type {HTMLInputElement} */ input) => input.value.split(/[\s,]+/).filter(Boolean);

/** @param {import("../shell.js").Console} console */
async function addClient(console) {
  const name = nameField({ required: true, maxlength: 64 });
  const users = nameField({});
  const groups = nameField({});
  const audiences = nameField({ required: true });
  const scope = nameField({ required: true, placeholder: "photos:read photos:write" });
  const life = nameField({ required: true, value: "1h" });
  const made = await formDialog(
    "Add a client",
    [
      field("Name", name),
      field("For users", users, "Usernames, with spaces between; these, groups, or both."),
      field("For members of groups", groups),
      field("At apps", audiences, "Audiences, with spaces between."),
      field("Scope", scope, "The most that its tokens allow."),
      field("Longest life", life, "Such as 30m, 8h or 1d."),
    ],
    "Add",
    () =>
      ask("POST", "v1/clients", {
        body: {
          name: name.value.trim(),
          users: words(users),
          groups: words(groups),
          audiences: words(audiences),
          scope: scope.value.trim(),
          longest_life: life.value.trim(),
        },
      }),
  );
  if (made === undefined) return;
  await confirm(
    `The secret of ${made.name}`,
    [
      h("p", {}, "Give it to the site now: it is kept nowhere, and not shown again."),
      h("dl", { class: "facts" }, h("dt", {}, "client_id"), h("dd", {}, h("code", {}, made.client_id))),
      h("code", { class: "secret" }, made.client_secret),
      copyButton("Copy the secret", () => made.client_secret),
    ],
    "I have it",
    { only: true },
  );
  await act(console, async () => {}, `${made.name} is added.`);
}
