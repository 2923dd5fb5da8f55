// What all views for administrators share: the list of them, and how a table's row is acted upon.

import { h } from "../dom.js";
import { done, takeStep } from "../notices.js";
import { head, problemNotice } from "../parts.js";

/** @typedef {import("../dom.js").Child} Child */

const VIEWS = [
  ["admin", "Requests"],
  ["admin/users", "Users"],
  ["admin/groups", "Groups"],
  ["admin/agents", "Agents"],
  ["admin/clients", "Clients"],
  ["admin/keys", "Keys"],
  ["admin/verifiers", "Verifiers"],
  ["admin/revocations", "Revocations"],
];

/**
 * A view for administrators. `wrong` is where what went wrong is shown.
 * @param {string} address @param {string} title @param {Child} lead @param {Child[]} actions @param {...Child} content
 */
export function frame(address, title, lead, actions, ...content) {
  return h(
    "div",
    { class: "admin" },
    h(
      "nav",
      { "aria-label": "Administration" },
      h(
        "ul",
        {},
        ...VIEWS.map(([to, words]) =>
          h("li", {}, h("a", { href: `#${to}`, "aria-current": to === address ? "page" : null }, words ?? "")),
        ),
      ),
    ),
    h("div", { class: "stack" }, head(title, lead, ...actions), h("div", { id: "wrong" }), ...content),
  );
}

/** Does something, shows what went wrong, and otherwise says that it is done and shows the view anew.
 * @param {import("../shell.js").Console} console @param {() => Promise<unknown>} work @param {string} words */
export async function act(console, work, words) {
  try {
    await work();
    await console.again();
    done(words);
  } catch (error) {
    tell(console, error);
  }
}

/** Shows what went wrong. @param {import("../shell.js").Console} console @param {unknown} error */
export function tell(console, error) {
  const problem = /** @type {import("../api.js").Problem} */ (error);
  if (problem.status === 401) console.end("Your sign-in has ended. Sign in again to go on.");
  else document.getElementById("wrong")?.replaceChildren(problemNotice(problem));
}

/**
 * Asks, leaves a moment to take it back, does it, says so and shows the view anew.
 * @param {import("../shell.js").Console} console @param {import("../notices.js").Step & {did: string}} step
 */
export async function actAfterAMoment(console, step) {
  try {
    if (!(await takeStep(step))) return;
    await console.again();
    done(step.did);
  } catch (error) {
    tell(console, error);
  }
}

/** The end of a public key, which tells two of them apart. @param {string} key */
export const shortKey = (key) => h("code", { class: "whole", title: key }, `…${key.slice(-10)}`);
