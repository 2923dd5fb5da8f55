// The form in which a person says how a token is to be narrowed: proper inputs for each kind that a person would want. Knows kinds,
// by the client's table; makes no token.

import { predicatesOf } from "../client/attenuate.js";
import { CaveatsError } from "../client/errors.js";
import { parseScope, scopeCovers } from "../client/kinds/scopes.js";
import { h, newId, say } from "../dom.js";
import { readRange } from "./networks.js";
import { field, mistake, nameField } from "../parts.js";
import { asSentence } from "./sentence.js";
import { moment } from "../words.js";

/** @typedef {import("../client/inspect.js").Inspection} Inspection */
/** @typedef {import("../client/attenuate.js").Narrowing} Narrowing */

const LIVES = /** @type {[string, number][]} */ ([["10 minutes", 600], ["1 hour", 3600], ["8 hours", 28_800], ["1 day", 86_400], ["1 week", 604_800], ["30 days", 2_592_000]]);
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/**
 * The form for a token.
 * @param {Inspection} inspection @param {() => void} changed called when anything was changed
 * @returns {{element: HTMLElement, read: (now: Date) => Narrowing | null}} `read`: what was chosen, empty if nothing was; null
 *   while something is wrong, which the form says at its place
 */
export function narrowForm(inspection, changed) {
  const parts = [scopes(inspection, changed), life(inspection, changed), methods(inspection, changed), addresses(changed), ...words(changed)];
  const [scope, until, method, address, ...others] = parts;
  const element = h("form", { class: "stack", onsubmit: (/** @type {Event} */ event) => event.preventDefault(), oninput: () => changed() },
    scope?.element, until?.element, address?.element, method?.element,
    h("details", {}, h("summary", {}, "Path, host, start, app and note"), h("div", { class: "stack inside" }, ...others.map((part) => part.element))));
  return {
    element,
    read(now) {
      const chosen = parts.map((part) => part.read(now));
      return chosen.includes(null) ? null : Object.assign({}, ...chosen);
    },
  };
}

/**
 * A part of the form. `read`: its members of a narrowing, none if it is left as it is; null if it is wrong.
 * @typedef {{element: HTMLElement, read: (now: Date) => Narrowing | null}} Part
 */

/** Pills to choose from. @param {"checkbox" | "radio"} type @param {string} name @param {string} value @param {boolean} checked @param {string} words */
function pill(type, name, value, checked, words, mono = false) {
  const input = /** @type {HTMLInputElement} */ (h("input", { type, name, value, checked }));
  return { input, element: h("label", { class: mono ? "pill code" : "pill" }, input, h("span", {}, words)) };
}

/** What it may do: what the token allows as chips, and narrower scopes as typed. @param {Inspection} inspection @param {() => void} changed @returns {Part} */
function scopes({ authority }, changed) {
  const allowed = authority.scopes.map((text) => parseScope(text));
  const name = newId("scope");
  /** @type {{pattern: import("../client/kinds/scopes.js").ScopePattern, input: HTMLInputElement}[]} */
  const chips = [];
  const pills = h("div", { class: "pills" });
  /** @param {import("../client/kinds/scopes.js").ScopePattern} pattern */
  const chip = (pattern) => {
    const { input, element } = pill("checkbox", name, pattern.text, true, pattern.text === "*" ? "* (everything)" : pattern.text, true);
    chips.push({ pattern, input });
    pills.append(element);
  };
  allowed.forEach(chip);
  const typed = nameField({ id: newId("narrower"), maxlength: 1024, placeholder: "photos/42:read", onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter") { event.preventDefault(); add(); }
  } });
  const none = h("p", { class: "mistake", role: "alert" });

  /** The scope that is typed, if the token allows it; undefined for none, null for a wrong one. */
  function narrower() {
    const text = typed.value.trim();
    mistake(typed);
    if (text === "") return undefined;
    try {
      const pattern = parseScope(text);
      if (allowed.some((one) => scopeCovers(one, pattern))) return pattern;
      mistake(typed, "The token does not allow this, and so no copy can.");
    } catch {
      mistake(typed, "Write what and how, with a colon between: photos/42:read.");
    }
    return null;
  }

  function add() {
    const pattern = narrower();
    if (!pattern) { typed.focus(); return; }
    typed.value = "";
    const known = chips.find((one) => one.pattern.text === pattern.text);
    if (known) known.input.checked = true;
    else chip(pattern);
    const wider = chips.filter(({ pattern: other, input }) => input.checked && other.text !== pattern.text && scopeCovers(other, pattern));
    for (const { input } of wider) input.checked = false;
    say(`${pattern.text} added${wider.length > 0 ? `, and ${wider.map((one) => one.pattern.text).join(" and ")} taken away` : ""}`);
    changed();
    typed.focus();
  }

  return {
    element: h("fieldset", { class: "tight" }, h("legend", {}, "What it may do"), pills, none,
      h("div", { class: "field with-button" }, h("label", { for: typed.id }, "Only a part of that"), h("div", {}, typed, h("button", { type: "button", onclick: add }, "Add")))),
    read() {
      const typing = narrower();
      const chosen = chips.filter(({ input }) => input.checked).map(({ pattern }) => pattern.text);
      none.textContent = chosen.length === 0 ? "Choose at least one: a copy that may do nothing is of no use." : "";
      if (typing === null || chosen.length === 0) return null;
      const same = chosen.length === allowed.length && allowed.every(({ text }) => chosen.includes(text));
      return same ? {} : { scope: chosen };
    },
  };
}

/** Until when: as it is, a quick duration, or a date and a time. @param {Inspection} inspection @param {() => void} _changed @returns {Part} */
function life({ authority }, _changed) {
  const now = new Date();
  const end = authority.expires_at === null ? null : new Date(authority.expires_at);
  const name = newId("life");
  const left = end === null ? Infinity : (end.getTime() - now.getTime()) / 1000;
  const options = [
    pill("radio", name, "", true, end === null ? "For ever" : `As it is: ${moment(end, now)}`),
    ...LIVES.filter(([, seconds]) => seconds < left).map(([words, seconds]) => pill("radio", name, String(seconds), false, words)),
    pill("radio", name, "at", false, "A date and time"),
  ];
  const at = /** @type {HTMLInputElement} */ (h("input", { type: "datetime-local", id: newId("until"), min: local(now), max: end && local(end), step: 60 }));
  const pick = field("Until, in the time of this browser", at);
  pick.hidden = true;
  return {
    element: h("fieldset", { class: "tight" }, h("legend", {}, "Until when"), h("div", { class: "pills" }, ...options.map((option) => option.element)), pick),
    read(present) {
      const value = options.find(({ input }) => input.checked)?.input.value ?? "";
      pick.hidden = value !== "at";
      mistake(at);
      if (value === "") return {};
      if (value !== "at") return { expiresIn: Number(value) };
      if (at.value === "") return {};
      const until = new Date(at.value);
      if (until <= present) { mistake(at, "That is past."); return null; }
      if (end !== null && until > end) { mistake(at, `The token ends at ${moment(end, present)}, and no copy lives longer.`); return null; }
      return { expires: until };
    },
  };
}

/** A moment as an input has it, in this browser's time zone. @param {Date} at */
export const local = (at) => new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

/** Methods as toggles: none means all that the token allows. @param {Inspection} inspection @param {() => void} _changed @returns {Part} */
function methods({ authority }, _changed) {
  const offered = authority.methods === null ? METHODS : authority.methods.filter((method) => method !== "HEAD" || !authority.methods?.includes("GET"));
  const name = newId("method");
  const options = offered.map((method) => pill("checkbox", name, method, false, method));
  const hint = h("p", { class: "hint" });
  return {
    element: h("fieldset", { class: "tight" }, h("legend", {}, "Only with these methods"), h("div", { class: "pills" }, ...options.map((option) => option.element)), hint),
    read() {
      const chosen = options.filter(({ input }) => input.checked).map(({ input }) => input.value);
      hint.textContent = chosen.length === 0 ? "None is chosen: all that the token allows." : chosen.includes("GET") ? "GET includes HEAD." : "";
      return chosen.length === 0 ? {} : { method: chosen };
    },
  };
}

/** From which addresses, checked as typed. @param {() => void} _changed @returns {Part} */
function addresses(_changed) {
  const input = nameField({ id: newId("addresses"), maxlength: 900, placeholder: "10.0.0.0/8", inputmode: "url" });
  const hint = h("p", { class: "hint", "aria-live": "polite" });
  const element = field("Only from these addresses", input);
  element.append(hint);
  return {
    element,
    read() {
      const typed = input.value.split(/[\s,;]+/).filter(Boolean);
      const ranges = typed.map(readRange);
      const bad = ranges.find(({ network }) => network === "");
      mistake(input, bad?.words);
      hint.textContent = bad ? "" : typed.length === 0 ? "An address, or a range such as 10.0.0.0/8; several with a space between." : ranges.map(({ words: what }) => what).join("; ");
      if (bad) return null;
      const networks = [...new Set(ranges.map(({ network }) => network))];
      return networks.length === 0 ? {} : { clientIp: networks };
    },
  };
}

/** The kinds that are written as words, checked as typed by the client's own table. @param {() => void} _changed @returns {Part[]} */
function words(_changed) {
  const start = /** @type {HTMLInputElement} */ (h("input", { type: "datetime-local", id: newId("start"), step: 60 }));
  return [
    typedPart("path", "Only these paths", { placeholder: "/albums/42 /public/*", maxlength: 900 }, "/a/b, or /a/* for all below; several with a space between."),
    typedPart("host", "Only on these hosts", { placeholder: "photos.example", maxlength: 900 }, "For one proxy in front of several hosts."),
    {
      element: field("Not before", start, "In the time of this browser."),
      read(now) {
        mistake(start);
        if (start.value === "") return {};
        if (new Date(start.value) <= now) { mistake(start, "That is past, and changes nothing."); return null; }
        return { notBefore: new Date(start.value) };
      },
    },
    typedPart("audience", "Only for these apps", { placeholder: "photos thumbs", maxlength: 300 }, "Names of audiences. A token is for one, which stands in it; this cannot add others."),
    typedPart("note", "Note", { placeholder: "for the nightly build", maxlength: 200, whole: true }, "Whoever holds the copy can read it."),
  ];
}

/** @param {"path" | "host" | "audience" | "note"} kind @param {string} label @param {{placeholder: string, maxlength: number, whole?: boolean}} more @param {string} hint @returns {Part} */
function typedPart(kind, label, { whole, ...more }, hint) {
  const input = nameField({ id: newId(kind), ...more });
  const element = field(label, input, hint);
  return {
    element,
    read(now) {
      const text = input.value.trim().replace(whole ? /(?!)/ : /\s+/g, " ");
      mistake(input);
      if (text === "") return {};
      const narrowing = { [kind]: text };
      try {
        predicatesOf(narrowing, now);
        return narrowing;
      } catch (error) {
        if (!(error instanceof CaveatsError)) throw error;
        mistake(input, asSentence(error.message));
        return null;
      }
    },
  };
}
