// What asks for an answer, and what can still be taken back. Knows elements and time; does not know what it asks about.

import { byId, h, newId, say } from "./dom.js";
import { problemNotice } from "./parts.js";

/** @typedef {import("./dom.js").Child} Child */

/**
 * Asks in a dialog. Returns whether the answer was yes.
 * @param {string} question @param {Child | Child[]} words @param {string} yes the button's words @param {object} [options]
 * @param {boolean} [options.danger] @param {boolean} [options.only] whether there is nothing to say no to
 * @returns {Promise<boolean>}
 */
export function confirm(question, words, yes, { danger = false, only = false } = {}) {
  return new Promise((resolve) => {
    const title = newId("question");
    const dialog = /** @type {HTMLDialogElement} */ (
      h(
        "dialog",
        {
          "aria-labelledby": title,
          onclose: () => {
            dialog.remove();
            resolve(dialog.returnValue === "yes");
          },
        },
        h(
          "form",
          { method: "dialog", class: "stack" },
          h("h2", { id: title }, question),
          h("div", { class: "stack" }, ...[words].flat().map((each) => (typeof each === "string" ? h("p", {}, each) : each))),
          h(
            "div",
            { class: "actions" },
            !only && h("button", { value: "no" }, "Cancel"),
            h("button", { value: "yes", class: danger ? "danger main" : "main" }, yes),
          ),
        ),
      )
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A form in a dialog. `send` is called with the form when it is sent: what it raises is shown in the dialog, which stays. Returns
 * what `send` returned; undefined if the dialog was closed.
 * @template T
 * @param {string} title @param {Child[]} fields @param {string} yes @param {(form: HTMLFormElement) => Promise<T>} send
 * @returns {Promise<T | undefined>}
 */
export function formDialog(title, fields, yes, send) {
  return new Promise((resolve) => {
    const id = newId("form");
    /** @type {T | undefined} */
    let result;
    const wrong = h("div");
    const button = /** @type {HTMLButtonElement} */ (h("button", { class: "main" }, yes));
    const form = /** @type {HTMLFormElement} */ (
      h(
        "form",
        {
          class: "stack",
          onsubmit: async (/** @type {Event} */ event) => {
            event.preventDefault();
            button.disabled = true;
            try {
              result = await send(form);
              dialog.close();
            } catch (error) {
              wrong.replaceChildren(problemNotice(/** @type {any} */ (error)));
            } finally {
              button.disabled = false;
            }
          },
        },
        h("h2", { id }, title),
        wrong,
        ...fields,
        h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), button),
      )
    );
    const dialog = /** @type {HTMLDialogElement} */ (
      h(
        "dialog",
        {
          "aria-labelledby": id,
          onclose: () => {
            dialog.remove();
            resolve(result);
          },
        },
        form,
      )
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says that something was done. It goes by itself. @param {string} words */
export function done(words) {
  const toast = h("div", { class: "toast" }, h("p", {}, words));
  byId("notices").append(toast);
  say(words);
  setTimeout(() => toast.remove(), 6000);
}

const MOMENT = 7000;
/** Milliseconds in which a step can be taken back. */

/** @type {Set<() => void>} */
const waiting = new Set();
// Who goes away while something waits has confirmed it, and has not taken it back.
addEventListener("pagehide", () => {
  for (const send of [...waiting]) send();
});

/**
 * A step that cannot be taken back once it is done.
 * @typedef {object} Step
 * @property {string} question @property {Child | Child[]} words what it does @property {string} yes the button's words
 * @property {string} doing what is said while it can be taken back
 * @property {(leaving: boolean) => Promise<unknown>} work `leaving`: whether the page is about to go
 */

/**
 * Asks, leaves a moment to take it back, and does it. Returns whether it was done; what `work` raises is raised. The button that
 * was pressed is out of use meanwhile, and has the focus again if nothing was done.
 * @param {Step} step
 * @returns {Promise<boolean>}
 */
export async function takeStep({ question, words, yes, doing, work }) {
  const pressed = document.activeElement;
  if (!(await confirm(question, words, yes, { danger: true }))) return false;
  if (pressed instanceof HTMLButtonElement) pressed.disabled = true;
  let was = false;
  try {
    was = await afterAMoment(doing, work);
  } finally {
    if (pressed instanceof HTMLButtonElement) pressed.disabled = false;
    if (!was && pressed instanceof HTMLElement) pressed.focus();
  }
  return was;
}

/**
 * Does something after a moment in which it can be taken back. Returns whether it was done; what `work` raises is raised.
 * @param {string} doing what is about to be done @param {(leaving: boolean) => Promise<unknown>} work `leaving`: whether the page is about to go
 * @returns {Promise<boolean>}
 */
export function afterAMoment(doing, work) {
  return new Promise((resolve, reject) => {
    const inside = h("i");
    const end = () => {
      clearTimeout(timer);
      waiting.delete(leave);
      if (toast.contains(document.activeElement)) byId("main").focus({ preventScroll: true });
      toast.remove();
    };
    const go = (/** @type {boolean} */ leaving) => {
      end();
      work(leaving).then(() => resolve(true), reject);
    };
    const leave = () => go(true);
    const undo = h(
      "button",
      {
        type: "button",
        onclick: () => {
          end();
          say("Taken back: nothing was done");
          resolve(false);
        },
      },
      "Undo",
    );
    const toast = h(
      "div",
      { class: "toast", role: "group", "aria-label": doing },
      h("p", {}, doing),
      undo,
      h("div", { class: "bar", "aria-hidden": "true" }, inside),
    );
    byId("notices").append(toast);
    inside.animate([{ transform: "scaleX(1)" }, { transform: "scaleX(0)" }], { duration: MOMENT, fill: "forwards" });
    undo.focus();
    say(`${doing} Undo is possible for ${MOMENT / 1000} seconds.`);
    waiting.add(leave);
    const timer = setTimeout(() => go(false), MOMENT);
  });
}
