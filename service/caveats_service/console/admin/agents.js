// Agents: programs that sign in with a key of their own, for a user, when a discharge is asked for.

import { all, ask, segment } from "../api.js";
import { h } from "../dom.js";
import { formDialog } from "../notices.js";
import { empty, field, nameField, table, time } from "../parts.js";
import { act, actAfterAMoment, frame, shortKey } from "./frame.js";

export const title = "Agents";

/** @param {import("../shell.js").Console} console */
export async function show(console) {
  const { rows } = await all("v1/agents", "agents");
  const now = new Date();
  const add = () => h("button", { class: "main", onclick: () => void register(console) }, "Register an agent");
  return frame(
    "admin/agents",
    "Agents",
    "Programs that sign in with a key of their own, in a user's name, when a discharge is asked for.",
    rows.length > 0 ? [add()] : [],
    rows.length === 0
      ? empty(
          "No agents yet",
          "A program without a browser can agree to third-party caveats with a key. Register the public part of it.",
          add(),
        )
      : table(
          "Agents",
          [{ name: "Name" }, { name: "Speaks for" }, { name: "Public key" }, { name: "Since" }, { name: "Action", unseen: true }],
          rows.map((row) => [
            row.name || "Without a name",
            h("a", { href: `#admin/users/${row.username}` }, row.username),
            shortKey(row.public_key),
            time(new Date(row.created_at), now),
            h(
              "div",
              { class: "actions" },
              h(
                "button",
                {
                  class: "danger",
                  "aria-label": `Remove ${row.name || row.agent_id}`,
                  onclick: () =>
                    void actAfterAMoment(console, {
                      question: `Remove ${row.name || "this agent"}?`,
                      words: `Its key is worth nothing from the next discharge on. ${row.username} stays.`,
                      yes: "Remove",
                      doing: `Removing ${row.name || "the agent"}.`,
                      did: "The agent is removed.",
                      work: (keepalive) => ask("DELETE", `v1/agents/${segment(row.agent_id)}`, { keepalive }),
                    }),
                },
                "Remove",
              ),
            ),
          ]),
        ),
  );
}

/** @param {import("../shell.js").Console} console */
async function register(console) {
  const name = /** @type {HTMLInputElement} */ (h("input", { maxlength: 256, autocomplete: "off" }));
  const user = nameField({ required: true, maxlength: 64 });
  const key = nameField({ required: true, maxlength: 64, class: "code" });
  const made = await formDialog(
    "Register an agent",
    [
      field("Name", name, "For people: “nightly build”."),
      field("Speaks for", user, "The username."),
      field("Public key", key, "X25519, 32 bytes in base64. The private part stays with the program."),
    ],
    "Register",
    () =>
      ask("POST", "v1/agents", { body: { username: user.value.trim(), public_key: key.value.trim(), name: name.value.trim() } }),
  );
  if (made !== undefined) await act(console, async () => {}, `The agent speaks for ${made.username} now.`);
}
