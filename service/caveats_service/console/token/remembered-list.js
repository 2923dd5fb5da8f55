// The list of the copies that were made in this browser, and how each of them is revoked. Knows elements, and the service's API.

import { Problem, ask } from "../api.js";
import { branchId } from "../client/third_party/bind.js";
import { h, newId } from "../dom.js";
import { afterAMoment, confirm, done, formDialog } from "../notices.js";
import { readPasted } from "./pasted.js";
import { ago, problemNotice, tag, timeLeft } from "../parts.js";
import { copies, forget, isOver, markRevoked, onChange } from "./remembered.js";

/** @typedef {import("./remembered.js").Copy} Copy */

/** The list, and what shows it anew. @returns {{element: HTMLElement, update: () => void}} */
export function rememberedList() {
  const list = h("div");
  const update = () => {
    const now = new Date();
    const all = copies();
    list.replaceChildren(all.length === 0
      ? h("p", { class: "card quiet" }, "None yet. Each copy that you take from this page is listed here under its name, so that you can revoke it later. The token itself is not kept.")
      : h("ul", { class: "rows" }, ...all.map((copy) => row(copy, now, update))));
  };
  onChange(update);
  update();
  return { element: h("section", { class: "stack copies", "aria-labelledby": "copies" }, h("h2", { id: "copies" }, "Copies made in this browser"), list), update };
}

/** @param {Copy} copy @param {Date} now @param {() => void} update */
function row(copy, now, update) {
  const id = newId("copy");
  const over = isOver(copy, now);
  const wrong = h("div");
  const buttons = over
    ? [h("button", { type: "button", class: "plain", "aria-describedby": id, onclick: () => { forget(copy.branch); update(); } }, "Remove from the list")]
    : [h("button", { type: "button", class: "danger", "aria-describedby": id, onclick: () => void revoke() }, "Revoke")];
  const item = h("li", { class: over ? "card over" : "card" },
    h("div", { class: over ? "row two over" : "row" },
      h("div", {},
        h("div", { class: "title" }, h("h3", { id }, copy.name),
          copy.revoked !== null ? tag("revoked", "bad") : over && tag("expired")),
        h("p", {}, copy.says),
        h("p", { class: "hint" }, "Made ", ago(new Date(copy.made), now), copy.revoked !== null && [" · revoked ", ago(new Date(copy.revoked), now)])),
      !over && (copy.expires === null ? h("p", { class: "left soon" }, h("strong", {}, "It never expires")) : timeLeft(new Date(copy.made), new Date(copy.expires), now)),
      h("div", { class: "actions" }, ...buttons)),
    wrong);
  return item;

  async function revoke() {
    const sure = await confirm(`Revoke “${copy.name}”?`,
      ["Whoever holds it, or a copy made from it, is refused from then on. The token that it was made from goes on.", "It cannot be brought back; you can make another copy."],
      "Revoke", { danger: true });
    if (!sure) return;
    const button = /** @type {HTMLButtonElement} */ (buttons[0]);
    button.disabled = true;
    item.classList.add("going");
    wrong.replaceChildren();
    try {
      const was = await afterAMoment(`Revoking “${copy.name}”.`, (leaving) => revokeBranch(copy, leaving));
      if (was) {
        done(`“${copy.name}” is revoked.`);
        update();
      }
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      wrong.replaceChildren(problemNotice(error));
    } finally {
      item.classList.remove("going");
      button.disabled = false;
    }
  }
}

/** Revokes a copy, as whoever is signed in, or else with a token that is asked for. Raises `Problem`. @param {Copy} copy @param {boolean} leaving */
async function revokeBranch(copy, leaving) {
  const body = { token_id: copy.tokenId, branch_id: copy.branch };
  try {
    await ask("POST", "v1/revocations", { body, keepalive: leaving });
  } catch (error) {
    if (!(error instanceof Problem) || ![401, 403, 404].includes(error.status) || leaving) throw error;
    const was = await withToken(copy, body);
    if (was === undefined) throw new Problem(0, { title: "It is not revoked", detail: "It can be revoked by the token's user, who has to be signed in, or with the token." });
  }
  markRevoked(copy.branch, new Date());
}

/** Asks for the token, or for the copy itself, and revokes with it. @param {Copy} copy @param {object} body */
function withToken(copy, body) {
  const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { id: newId("token"), class: "paste", rows: 3, required: true, spellcheck: "false", autocomplete: "off", placeholder: "cav1_…" }));
  return formDialog("Which token may revoke it?", [
    h("p", {}, "You are not signed in as the user of a labelled token. Paste the token that you made the copy from, or the copy itself; it is sent to this service and not kept."),
    h("div", { class: "field" }, h("label", { for: area.id }, "Token"), area),
  ], "Revoke", async () => {
    const { bundle, text, misfit } = readPasted(area.value);
    if (bundle === null) throw new Problem(0, { title: misfit?.title ?? "There is no token", detail: misfit?.advice ?? "Paste it into the field." });
    if (await branchId(bundle) === copy.branch) await ask("POST", "v1/revocations", { body: { token: text }, withSession: false });
    else await ask("POST", "v1/revocations", { body, token: text });
    return true;
  });
}
