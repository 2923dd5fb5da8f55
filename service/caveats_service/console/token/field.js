// The field into which a token is pasted, and what is said of it: what was taken off, or why it is no token and where.
// Knows elements and what was pasted; does not know what the token is for.

import { h, newId } from "../dom.js";
import { readPasted } from "./pasted.js";
import { takeToken } from "./fragment.js";
import { sample } from "./sample.js";

/** @typedef {import("../client/token/macaroon.js").Bundle} Bundle */

/**
 * A field for a token, which begins with the one in the page's address, and follows that.
 * @param {object} given
 * @param {string} given.label
 * @param {import("../dom.js").Child} given.hint
 * @param {(bundle: Bundle | null, text: string) => void} given.onToken called with each token; with null and what was pasted where
 *   that is none; with null and an empty text where nothing is there
 * @returns {{element: HTMLElement, start: () => void, sampleButton: () => HTMLElement}} `start`: reads the address, once `element`
 *   is in the document. `sampleButton`: a button that fills the field with a sample
 */
export function tokenField({ label, hint, onToken }) {
  const id = newId("token");
  const area = /** @type {HTMLTextAreaElement} */ (h("textarea", {
    id, rows: 4, class: "paste", spellcheck: "false", autocomplete: "off", autocapitalize: "none", autocorrect: "off",
    placeholder: "cav1_…", "aria-describedby": `${id}-hint ${id}-said`, oninput: () => read(),
  }));
  const said = h("div", { id: `${id}-said`, role: "status", class: "said-of-it" });
  const leaked = h("div");
  const element = h("div", { class: "field" },
    leaked, h("label", { for: id }, label), h("p", { class: "hint", id: `${id}-hint` }, hint), area, said);

  function read() {
    const { bundle, text, taken, misfit } = readPasted(area.value);
    if (misfit) area.setAttribute("aria-invalid", "true");
    else area.removeAttribute("aria-invalid");
    if (misfit) said.replaceChildren(notice(misfit));
    else if (taken) said.replaceChildren(h("p", { class: "hint" }, `Taken off, since it is no part of a token: ${taken}.`));
    else said.replaceChildren();
    onToken(bundle, bundle === null ? area.value.trim() : text);
  }

  /** @param {import("./pasted.js").Misfit} misfit */
  function notice({ title, advice, at, corrected }) {
    const buttons = [
      at && h("button", { type: "button", onclick: () => {
        area.focus();
        area.setSelectionRange(at.from, Math.max(at.to, at.from + 1));
      } }, "Show the place"),
      corrected !== null && h("button", { type: "button", class: "main", onclick: () => {
        area.value = corrected;
        read();
        area.focus();
      } }, "Correct it"),
    ];
    return h("div", { class: "notice bad" }, h("strong", {}, title), advice,
      buttons.some(Boolean) && h("div", { class: "actions" }, ...buttons));
  }

  function fromAddress() {
    const { text, inQuery } = takeToken();
    leaked.replaceChildren(...(inQuery ? [h("div", { class: "notice bad", role: "alert" },
      h("strong", {}, "The address had a token in its query"),
      "A query is sent to the server, and is written into logs and histories on the way. It was not read here. Revoke that token, and put the next one behind #token=, which no browser sends.")] : []));
    if (text === "") return;
    area.value = text;
    read();
  }

  addEventListener("hashchange", fromAddress);
  const sampleButton = () => h("button", { type: "button", onclick: async () => {
    area.value = await sample(new Date());
    read();
    area.focus();
  } }, "Show a sample");

  return { element, start: () => { read(); fromAddress(); }, sampleButton };
}
