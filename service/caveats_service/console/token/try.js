// Try: would this request pass with this token? Judged here by the client's checkers, without a key; and, when the person asks, by
// the service. Knows the facts of a request.

import { utf8 } from "../client/bytes.js";
import { inspect } from "../client/inspect.js";
import { parsePredicate } from "../client/kinds/base.js";
import { standardCheckers, unsatisfied } from "../client/kinds/checkers.js";
import { STANDARD } from "../client/kinds/standard.js";
import { showAccount } from "./account.js";
import { Problem, ask } from "../api.js";
import { byId, h, say } from "../dom.js";
import { example } from "./example.js";
import { empty, field, head, nameField, problemNotice, tag } from "../parts.js";
import { asSentence } from "./sentence.js";
import { tokenField } from "./field.js";
import { counted, listed } from "../words.js";

/** @typedef {import("../client/token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../client/inspect.js").Inspection} Inspection */
/** @typedef {{predicate: string, added_by: string, reason: string | null, hint: string | null}} Verdict */

const CHECKERS = standardCheckers();
const work = h("div", { class: "stack" });
const input = tokenField({ label: "Token", hint: "What you paste stays in this page until you ask the service.", onToken: show });
byId("main").replaceChildren(
  head("Try a request", "What each caveat says to a request, what the request had, and what would pass."),
  h("div", { class: "stack" }, h("div", { class: "card" }, input.element), work));
showAccount();
input.start();

/** @param {Bundle | null} bundle @param {string} text */
function show(bundle, text) {
  if (bundle === null) {
    work.replaceChildren(...(text === "" ? [empty("Nothing to try yet",
      "Paste a token above, and say what a request has: its method, its path, where it comes from.", input.sampleButton())] : []));
    return;
  }
  const inspection = inspect(bundle);
  const facts = factsForm(inspection, () => judge());
  const verdict = h("section", { class: "card stack copy", "aria-labelledby": "verdict" });
  const asked = h("div", { class: "stack" });
  const button = /** @type {HTMLButtonElement} */ (h("button", { type: "button", onclick: () => void askService() }, "Ask the service"));

  /** @type {number[]} */
  let refusedHere = [];
  let said = "";

  function judge() {
    asked.replaceChildren();
    const context = facts.read();
    const caveats = inspection.caveats.map(({ predicate, unknown }) => parsePredicate(utf8(predicate), unknown === null ? STANDARD : {}));
    const failures = new Map(unsatisfied(caveats, context, { checkers: CHECKERS }).map((failure) => [failure.index, failure]));
    const rows = inspection.caveats.map(({ predicate, added_by, unknown, index }) => {
      const failure = failures.get(index);
      return { predicate, added_by, reason: unknown ?? failure?.reason ?? null, hint: unknown === null ? failure?.hint ?? null : "an app that knows this kind" };
    });
    refusedHere = rows.flatMap((row, index) => row.reason === null ? [] : [index]);
    const open = inspection.third_parties.filter((one) => !one.discharged).map((one) => one.location || "a third party");
    const answer = banner(rows, open, inspection.stray_discharges);
    if (answer.textContent !== said) say([...answer.childNodes].map((part) => part.textContent).join(": "));
    said = answer.textContent ?? "";
    verdict.replaceChildren(
      h("h2", { id: "verdict" }, "The verdict"),
      answer,
      ...verdicts(rows),
      h("p", { class: "hint" }, "Judged in this page, without a key: nobody looked whether the token is authentic or revoked."),
      h("div", { class: "actions" }, button, h("span", { class: "hint" }, "Sends the token and these facts, but the time, to this service.")),
      asked);
  }

  async function askService() {
    button.disabled = true;
    const { now: _, audience, scopes, method, path, host, clientIp } = facts.read();
    const body = { token: text, audience: audience ?? null, scope: scopes?.join(" ") ?? null, method: method ?? null, path: path ?? null, host: host ?? null, client_ip: clientIp ?? null };
    try {
      const answer = await ask("POST", "v1/verify", { body, withSession: false });
      const refused = answer.caveats.filter((/** @type {any} */ one) => !one.satisfied);
      const same = refused.map((/** @type {any} */ one) => one.index).join() === refusedHere.join();
      const words = answer.granted ? `The service grants it, for ${answer.user}` : `The service refuses it: ${counted(refused.length, "caveat")} of ${answer.caveats.length}`;
      say(words);
      asked.replaceChildren(h("div", { class: answer.granted ? "notice good" : "notice bad" }, h("strong", {}, words),
        answer.granted ? "The token is authentic, and not revoked." : `The token is authentic, and not revoked. ${same ? "The same caveats refuse it as here." : "These caveats refuse it:"}`),
        ...(same ? [] : verdicts(refused)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      asked.replaceChildren(problemNotice(error, advice(error.code)));
    } finally {
      button.disabled = false;
    }
  }

  work.replaceChildren(h("div", { class: "workbench" },
    h("section", { class: "card stack", "aria-labelledby": "request" }, h("h2", { id: "request" }, "The request"), facts.element), verdict));
  judge();
}

/** @param {string} code */
function advice(code) {
  if (code === "invalid_token") return "It is not authentic here, it was revoked, or its key was retired.";
  return "";
}

/** @param {Verdict[]} rows @param {string[]} open third parties that have not agreed @param {number} stray */
function banner(rows, open, stray) {
  const refused = rows.filter((row) => row.reason !== null).length;
  const also = [
    open.length > 0 && `there is no discharge of ${listed([...new Set(open)])}`,
    stray > 0 && `the bundle has ${counted(stray, "discharge")} that nothing asks for`,
  ].filter(Boolean);
  const passes = refused === 0 && also.length === 0;
  const words = refused === 0 ? "" : `${counted(refused, "caveat")} of ${rows.length} ${refused === 1 ? "refuses" : "refuse"} it`;
  return h("div", { class: passes ? "notice good" : "notice bad" },
    h("strong", {}, passes ? "It would pass" : "It would be refused"),
    passes ? (rows.length === 0 ? "The token has no caveats." : `All ${counted(rows.length, "caveat")} hold.`) : `${listed([words, ...also].filter(Boolean).map(String))}.`);
}

/** @param {Verdict[]} rows */
function verdicts(rows) {
  return [h("ul", { class: "verdicts" }, ...rows.map((row) => h("li", { class: row.reason === null ? "holds" : "refuses" },
    h("div", { class: "title" }, h("code", {}, row.predicate), row.reason === null ? tag("holds", "good") : tag("refuses", "bad")),
    row.reason !== null && h("p", {}, asSentence(row.reason)),
    row.hint !== null && h("p", { class: "hint" }, "Would pass: ", row.hint, "."))))];
}

/** The form of a request's facts. @param {Inspection} inspection @param {() => void} changed */
function factsForm(inspection, changed) {
  const method = /** @type {HTMLSelectElement} */ (h("select", {}, ...["", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map((name) => h("option", { value: name }, name || "not said"))));
  const path = nameField({ placeholder: "/albums/42", maxlength: 8192 });
  const host = nameField({ placeholder: "photos.example", maxlength: 259 });
  const address = nameField({ placeholder: "192.0.2.7", maxlength: 45 });
  const scope = nameField({ placeholder: "photos/42:read", maxlength: 4096 });
  const audience = nameField({ value: inspection.audience ?? "", maxlength: 32 });
  const time = /** @type {HTMLInputElement} */ (h("input", { type: "datetime-local", step: 60 }));
  const fill = () => {
    const facts = example(inspection);
    method.value = facts.method ?? method.value;
    for (const [one, fact] of /** @type {[HTMLInputElement, string | null][]} */ ([[path, facts.path], [host, facts.host], [address, facts.clientIp], [scope, facts.scope]])) {
      if (fact !== null) one.value = fact;
    }
    changed();
    say("Filled in an example");
  };
  return {
    element: h("form", { class: "stack", oninput: () => changed(), onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
      h("div", { class: "actions" }, h("button", { type: "button", onclick: fill }, "Fill in an example")),
      field("Scope", scope, "What it is about to do; several with a space between."),
      h("div", { class: "pair" }, field("Method", method), field("Path", path)),
      h("div", { class: "pair" }, field("Host", host), field("Client address", address)),
      h("div", { class: "pair" }, field("App (audience)", audience), field("Time, if not now", time))),
    /** @returns {import("../client/kinds/checkers.js").Context} */
    read() {
      const given = (/** @type {HTMLInputElement | HTMLSelectElement} */ one) => one.value.trim() || undefined;
      const scopes = given(scope)?.split(/\s+/);
      return {
        now: time.value === "" ? new Date() : new Date(time.value),
        ...(scopes && { scopes }),
        ...Object.fromEntries([["audience", given(audience)], ["method", given(method)], ["path", given(path)], ["host", given(host)], ["clientIp", given(address)]].filter(([, value]) => value !== undefined)),
      };
    },
  };
}
