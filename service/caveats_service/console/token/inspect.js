// Inspect: what is in a token, and what it allows. Asks nobody for anything, and its document's policy lets it ask nobody.

import { inspect } from "../client/inspect.js";
import { showAccount } from "./account.js";
import { chainsOf, isDead } from "./chain.js";
import { chainLists } from "./chain-list.js";
import { chainPicture, legend } from "./chain-picture.js";
import { byId, h, say } from "../dom.js";
import { linkWith } from "./fragment.js";
import { copyButton, empty, head, time, timeLeft } from "../parts.js";
import { authoritySentence } from "./sentence.js";
import { tokenField } from "./field.js";
import { counted, moment, relative } from "../words.js";

/** @typedef {import("../client/token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../client/inspect.js").Inspection} Inspection */

/** The timer by which the time left is shown anew. @type {ReturnType<typeof setInterval> | undefined} */
let clock;
const result = h("div", { class: "stack" });
const field = tokenField({
  label: "Token",
  hint: "Paste a token or a bundle. What surrounds it, such as quotes or Bearer, is taken off.",
  onToken: show,
});
byId("main").replaceChildren(
  head("Inspect a token", h("span", {}, "Who added which caveat, and what all of them allow. ",
    h("strong", {}, "A token pasted here goes nowhere"), ": your browser lets this page ask nobody for anything.")),
  h("div", { class: "stack" }, h("div", { class: "card" }, field.element), result));
showAccount();
field.start();

/** @param {Bundle | null} bundle @param {string} text */
function show(bundle, text) {
  clearInterval(clock);
  if (bundle === null) {
    result.replaceChildren(...(text === "" ? [empty("Nothing to look into yet",
      "Paste a token above, or open a link with one behind #token=. You see what it allows, how long it lives, and each link of its chain.", field.sampleButton())] : []));
    return;
  }
  const now = new Date();
  const inspection = inspect(bundle, { now });
  const chains = chainsOf(bundle, inspection, now);
  const dead = isDead(chains);
  const left = h("div", {}, life(inspection, now));
  const allows = h("p", { class: dead ? "sentence dead" : "sentence" }, authoritySentence(inspection, now, dead));
  say(allows.textContent ?? "");
  clock = setInterval(() => {
    const later = new Date();
    const seen = inspect(bundle, { now: later });
    left.replaceChildren(life(seen, later));
    const words = authoritySentence(seen, later, dead);
    if (allows.textContent === words) return;
    allows.textContent = words;
    say(words);
  }, 20_000);
  result.replaceChildren(
    h("section", { class: "card stack authority", "aria-labelledby": "allows" },
      h("h2", { id: "allows" }, "What it allows"),
      h("div", { class: "beside" },
        h("div", { class: "stack" }, allows, left),
        h("dl", { class: "facts" }, ...facts(inspection, text, now))),
      inspection.stray_discharges > 0 && h("p", { class: "mistake" },
        `${counted(inspection.stray_discharges, "discharge")} in it ${inspection.stray_discharges === 1 ? "is" : "are"} not asked for: every verifier refuses the bundle.`),
      h("div", { class: "actions" },
        linkWith("narrow", text, "button main", "Narrow and share"),
        linkWith("try", text, "button", "Try a request"),
        copyButton("Copy the token", () => text),
        copyButton("Copy as JSON", () => JSON.stringify(inspect(bundle, { now: new Date() }), null, 2))),
      h("p", { class: "hint" }, "Not verified: anybody can write a token that looks valid. Only the service and apps with its keys can tell.")),
    h("section", { class: "card stack", "aria-labelledby": "chain" },
      h("h2", { id: "chain" }, "The chain"),
      h("p", { class: "hint" }, inspection.token_id === null
        ? "The service did not issue it in this form, so it does not say who added which caveat."
        : "Each link narrows what those before it leave. None can be taken out again."),
      chainPicture(chains), legend(chains), ...chainLists(chains, now)));
}

/** What is left of its life. @param {Inspection} inspection @param {Date} now */
function life({ authority, issued_at: issued }, now) {
  if (authority.expires_at === null) return h("p", { class: "left soon" }, h("strong", {}, "It never expires"));
  const until = new Date(authority.expires_at);
  if (authority.expired) return h("p", { class: "left" }, h("strong", { class: "mistake" }, `Expired ${relative(until, now)}`), " · ", time(until, now));
  return timeLeft(issued === null ? now : new Date(issued), until, now);
}

/** @param {Inspection} inspection @param {string} text @param {Date} now */
function facts(inspection, text, now) {
  /** @type {[string, import("../dom.js").Child][]} */
  const rows = [
    ["Token id", inspection.token_id !== null && h("code", {}, inspection.token_id)],
    ["Identifier", inspection.token_id === null && h("code", {}, inspection.identifier)],
    ["Issued", inspection.issued_at !== null && time(new Date(inspection.issued_at), now, (at) => `${moment(at, now)}, ${relative(at, now)}`)],
    ["For the app", inspection.audience !== null && (inspection.audience === "default" ? "default (this service)" : inspection.audience)],
    ["Key", inspection.key_id !== null && h("code", {}, inspection.key_id)],
    ["Location", inspection.location !== "" && h("span", {}, inspection.location, h("span", { class: "quiet" }, " (a hint, which is not authenticated)"))],
    ["Size", `${counted(text.length, "character")}, ${counted(inspection.caveats.length + inspection.third_parties.length, "caveat")}`],
  ];
  return rows.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}
