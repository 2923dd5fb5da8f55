// Master keys: each as a line of states in time, and, before anything is done, what it will do, in words.

import { ask, segment } from "../api.js";
import { h } from "../dom.js";
import { formDialog } from "../notices.js";
import { tag, time } from "../parts.js";
import { moment } from "../words.js";
import { act, actAfterAMoment, frame } from "./frame.js";

export const title = "Keys";

/** @typedef {{id: string, state: string, created_at: string, activated_at: string | null, verifying_since: string | null, retire_after: string | null, retired_at: string | null}} Key */

/** @type {Record<string, {look: "" | "good" | "bad" | "soon" | "main", words: string}>} */
const STATES = {
  published: { look: "main", words: "All nodes and verifiers can have it already. Nothing is issued under it yet." },
  active: { look: "good", words: "New tokens are issued under it." },
  verifying: { look: "soon", words: "Its tokens are still accepted. Nothing is issued under it." },
  retired: { look: "", words: "It is destroyed. Tokens under it are refused everywhere." },
};

/** @param {import("../shell.js").Console} console */
export async function show(console) {
  /** @type {Key[]} */
  const keys = (await ask("GET", "v1/keys")).keys;
  const now = new Date();
  const kept = keys.filter((key) => key.state !== "retired").reverse();
  const gone = keys.filter((key) => key.state === "retired").reverse();
  return frame(
    "admin/keys",
    "Keys",
    "All tokens come of a master key. Rotating puts a new one in its place without a break; retiring destroys one.",
    [h("button", { class: "main", onclick: () => void rotate(kept, console) }, "Rotate")],
    h("ul", { class: "rows" }, ...kept.map((key) => card(key, console, now))),
    gone.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, `Retired: ${gone.length}`),
        h("ul", { class: "rows" }, ...gone.map((key) => card(key, console, now))),
      ),
  );
}

/** @param {Key} key @param {import("../shell.js").Console} console @param {Date} now */
function card(key, console, now) {
  const state = STATES[key.state] ?? { look: "", words: "" };
  return h(
    "li",
    { class: key.state === "retired" ? "card stack over" : "card stack" },
    h(
      "div",
      { class: "row two" },
      h(
        "div",
        {},
        h("div", { class: "title" }, h("h2", {}, key.id), tag(key.state, /** @type {any} */ (state.look))),
        h("p", {}, state.words),
      ),
      h(
        "div",
        { class: "actions" },
        (key.state === "verifying" || key.state === "published") &&
          h(
            "button",
            { class: "danger", "aria-label": `Retire ${key.id}`, onclick: () => void retire(key, console, now) },
            "Retire",
          ),
      ),
    ),
    line(key, now),
  );
}

/** The states of a key in time: those that were, the one that is, those to come. @param {Key} key @param {Date} now */
function line(key, now) {
  /** @type {[string, string | null][]} */
  const steps = [
    ["published", key.created_at],
    ["active", key.activated_at],
    ["verifying", key.verifying_since],
    ["retired", key.retired_at],
  ];
  const at = steps.findIndex(([state]) => state === key.state);
  return h(
    "ol",
    { class: "line", "aria-label": `The life of ${key.id}` },
    ...steps.map(([state, since], place) =>
      h(
        "li",
        { class: place < at ? "was" : place === at ? "is" : "", "aria-current": place === at ? "step" : null },
        h("strong", {}, state),
        h("span", {}, ...when(key, state, since, place, at, now)),
      ),
    ),
  );
}

/** @param {Key} key @param {string} state @param {string | null} since @param {number} place @param {number} at @param {Date} now @returns {(Node | string)[]} */
function when(key, state, since, place, at, now) {
  if (since !== null) return [time(new Date(since), now)];
  if (place < at) return ["left out"];
  if (state === "retired" && key.retire_after !== null) return ["by itself, after ", time(new Date(key.retire_after), now)];
  return [state === "active" ? "soon, when all can have it" : "later"];
}

/** @param {Key[]} kept @param {import("../shell.js").Console} console */
async function rotate(kept, console) {
  const active = kept.find((key) => key.state === "active")?.id ?? "the present key";
  const waiting = kept.find((key) => key.state === "published");
  const atOnce = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox" }));
  const made = await formDialog(
    "Rotate the keys?",
    [
      h(
        "ol",
        { class: "steps" },
        h("li", {}, "A new key is published now. Nodes and verifiers fetch it; nothing is issued under it yet."),
        h(
          "li",
          {},
          `When all have had time to get it, it is active: new tokens are issued under it, and ${active} only verifies.`,
        ),
        h("li", {}, `When the last token under ${active} has expired, ${active} is retired by itself. No token dies of this.`),
      ),
      waiting ? h("p", { class: "notice" }, `${waiting.id} is published already and becomes active by itself.`) : null,
      h(
        "label",
        { class: "choice" },
        atOnce,
        h(
          "span",
          {},
          "Issue under it at once",
          h(
            "span",
            { class: "hint" },
            "For when a key is known to others. Apps that verify by themselves refuse new tokens for the moment until they have fetched it.",
          ),
        ),
      ),
    ],
    "Rotate",
    () => ask("POST", "v1/keys/rotate", { body: { now: atOnce.checked } }),
  );
  if (made !== undefined)
    await act(console, async () => {}, made.state === "active" ? `${made.id} is active.` : `${made.id} is published.`);
}

/** @param {Key} key @param {import("../shell.js").Console} console @param {Date} now */
async function retire(key, console, now) {
  const until = key.retire_after === null ? null : new Date(key.retire_after);
  const alive = key.state === "verifying" && until !== null && until > now;
  const words =
    key.state === "published"
      ? ["Nothing was issued under it: no token dies."]
      : alive
        ? [
            `Tokens under ${key.id} may be alive until ${moment(until, now)}. They die now, everywhere, as do the sign-ins under it. Who held them needs new ones.`,
            "Wait until then, and it is retired by itself without any harm.",
          ]
        : [`The last token under ${key.id} has expired: no token dies.`];
  await actAfterAMoment(console, {
    question: `Retire ${key.id}?`,
    words: [...words, "The key is destroyed and cannot be brought back, except with a backup of the database."],
    yes: alive ? "Retire it and end its tokens" : "Retire it",
    doing: `Retiring ${key.id}.`,
    did: `${key.id} is retired.`,
    work: (keepalive) => ask("POST", `v1/keys/${segment(key.id)}/retire`, { body: { force: alive }, keepalive }),
  });
}
