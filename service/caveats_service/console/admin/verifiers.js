// Verifiers: apps that verify by themselves, the audience whose keys each gets, and how far each has read the revocations.

import { ask, segment } from "../api.js";
import { h } from "../dom.js";
import { confirm, formDialog } from "../notices.js";
import { ago, copyButton, empty, field, nameField, table, tag, time } from "../parts.js";
import { counted } from "../words.js";
import { act, actAfterAMoment, frame, shortKey } from "./frame.js";

export const title = "Verifiers";

/** @param {import("../shell.js").Console} console */
export async function show(console) {
  /** @type {any[]} */
  const rows = (await ask("GET", "v1/verifiers")).verifiers;
  const now = new Date();
  const there = rows.filter((row) => row.revoked_at === null);
  const add = () => h("button", { class: "main", onclick: () => void register(console) }, "Register a verifier");
  return frame(
    "admin/verifiers",
    "Verifiers",
    "Apps that verify by themselves. Each fetches the keys of its audience, and follows the feed of revocations.",
    there.length > 0 ? [add()] : [],
    there.length === 0
      ? empty(
          "No verifiers yet",
          "An app that is registered here checks tokens without asking the service, and hears of revocations within a second.",
          add(),
        )
      : table(
          "Verifiers",
          [
            { name: "Name" },
            { name: "Audience" },
            { name: "Revocations" },
            { name: "Public key" },
            { name: "Since" },
            { name: "Action", unseen: true },
          ],
          there.map((row) => [
            row.name || "Without a name",
            row.audience,
            feed(row, now),
            shortKey(row.public_key),
            time(new Date(row.created_at), now),
            h(
              "div",
              { class: "actions" },
              h(
                "button",
                {
                  class: "danger",
                  "aria-label": `Remove ${row.name || row.verifier_id}`,
                  onclick: () =>
                    void actAfterAMoment(console, {
                      question: `Remove ${row.name || "this verifier"}?`,
                      words: [
                        "It gets no more keys, and its stream of revocations ends: it refuses everything soon after.",
                        "The keys that it has stay good until they are rotated away. If they are known to others, rotate.",
                      ],
                      yes: "Remove",
                      doing: `Removing ${row.name || "the verifier"}.`,
                      did: "The verifier is removed.",
                      work: (keepalive) => ask("DELETE", `v1/verifiers/${segment(row.verifier_id)}`, { keepalive }),
                    }),
                },
                "Remove",
              ),
            ),
          ]),
        ),
    there.length > 0 &&
      h(
        "p",
        { class: "hint" },
        "How far each has read is known to the process that answered this page. With several workers or nodes, a verifier may read at another.",
      ),
  );
}

/** How far a verifier has read. @param {any} row @param {Date} now */
function feed(row, now) {
  if (row.entries_behind === null) return [tag("not seen here"), " since this process began"];
  const late = row.entries_behind > 0;
  const state = late
    ? tag(`${counted(row.entries_behind, "entry", "entries")} behind`, "bad")
    : tag(row.following ? "follows, nothing missing" : "nothing missing", "good");
  return [state, " read ", ago(new Date(row.last_read_at), now)];
}

/** @param {import("../shell.js").Console} console */
async function register(console) {
  const name = /** @type {HTMLInputElement} */ (h("input", { maxlength: 256, autocomplete: "off" }));
  const audience = nameField({ required: true, maxlength: 32, placeholder: "photos" });
  const key = nameField({ required: true, maxlength: 64, class: "code" });
  const made = await formDialog(
    "Register a verifier",
    [
      field("Name", name, "For people: “photos, Frankfurt”."),
      field(
        "Audience",
        audience,
        "The app or group of apps that its tokens are for. Whoever has its keys can make tokens for it.",
      ),
      field("Public key", key, "X25519, as “caveats verifier init” prints it. The private part stays with the app."),
    ],
    "Register",
    () =>
      ask("POST", "v1/verifiers", {
        body: { audience: audience.value.trim(), public_key: key.value.trim(), name: name.value.trim() },
      }),
  );
  if (made === undefined) return;
  await confirm(
    "The verifier is registered",
    [
      h("p", {}, "The app needs these two. Neither is a secret."),
      h(
        "dl",
        { class: "facts" },
        h("dt", {}, "Verifier id"),
        h("dd", {}, h("code", {}, made.verifier_id)),
        h("dt", {}, "Service's key"),
        h("dd", {}, h("code", {}, made.service_public_key)),
      ),
      copyButton("Copy the id", () => made.verifier_id),
      copyButton("Copy the key", () => made.service_public_key),
    ],
    "Done",
    { only: true },
  );
  await act(console, async () => {}, `The verifier gets the keys of ${made.audience}.`);
}
