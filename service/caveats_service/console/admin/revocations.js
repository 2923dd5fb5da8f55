// What is revoked, newest first, as the feed has it; and revoking by a token's id.

import { ask } from "../api.js";
import { h } from "../dom.js";
import { formDialog } from "../notices.js";
import { empty, field, nameField, table, time } from "../parts.js";
import { counted } from "../words.js";
import { act, frame } from "./frame.js";

export const title = "Revocations";

const AT_ONCE = 100;

/** @param {import("../shell.js").Console} console */
export async function show(console) {
  const last = (await ask("GET", "v1/revocations?limit=1")).last_sequence;
  const upto = Math.min(last, Number(console.rest) || last);
  const after = Math.max(0, upto - AT_ONCE);
  const page = await ask("GET", `v1/revocations?after=${after}&limit=${AT_ONCE}`);
  const rows = page.revocations.filter((/** @type {any} */ row) => row.sequence <= upto).reverse();
  const now = new Date();
  return frame(
    "admin/revocations",
    "Revocations",
    "What is refused although its time is not up. Verifiers hear of each within a second; it is forgotten when nothing is left that it could hit.",
    [h("button", { class: "main", onclick: () => void revoke(console) }, "Revoke by id")],
    rows.length === 0
      ? empty("Nothing is revoked", "No entry in the feed is still needed.")
      : table(
          "Revocations, newest first",
          [{ name: "Number" }, { name: "What" }, { name: "Forgotten" }],
          rows.map((/** @type {any} */ row) => [
            row.sequence.toLocaleString("en"),
            what(row, now),
            time(new Date(row.expires_at), now),
          ]),
        ),
    h(
      "div",
      { class: "actions" },
      upto < last && h("a", { class: "button", href: `#admin/revocations/${Math.min(last, upto + AT_ONCE)}` }, "Newer"),
      after > 0 && h("a", { class: "button", href: `#admin/revocations/${after}` }, "Older"),
    ),
    last > 0 && h("p", { class: "hint" }, `${counted(last, "entry", "entries")} so far, in epoch ${page.epoch}.`),
  );
}

/** @param {any} row @param {Date} now */
function what(row, now) {
  if (row.kind === "user")
    return [
      "Everything of ",
      h("a", { href: `#admin/users/${row.user}` }, row.user),
      ", issued up to ",
      time(new Date(row.issued_up_to), now),
    ];
  if (row.kind === "branch")
    return [
      "A copy of token ",
      h("code", {}, row.token_id),
      ", and all made from it ",
      h("code", { class: "quiet" }, `(branch ${row.branch_id.slice(0, 8)}…)`),
    ];
  return ["Token ", h("code", {}, row.token_id), ", all copies"];
}

/** @param {import("../shell.js").Console} console */
async function revoke(console) {
  const id = nameField({ required: true, maxlength: 64, class: "code" });
  const made = await formDialog(
    "Revoke a token by its id",
    [
      field("Token id", id, "26 letters and digits, as “caveats inspect” and the logs of apps show it."),
      h("p", { class: "hint" }, "All copies of it end. It cannot be taken back."),
    ],
    "Revoke",
    () => ask("POST", "v1/revocations", { body: { token_id: id.value.trim() } }),
  );
  if (made !== undefined)
    await act(
      console,
      async () => {},
      made.already === null ? "It is revoked." : `Nothing had to be done: it was ${made.already} already.`,
    );
}
