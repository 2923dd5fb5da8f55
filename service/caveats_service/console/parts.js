// The parts that views are made of: fields, time left, tables, what to copy. Knows elements and words; asks nobody for anything.

import { h, newId, say } from "./dom.js";
import { duration, moment, relative } from "./words.js";

/** @typedef {import("./dom.js").Child} Child */

/** The heading of a view, what it is for, and what can be done. @param {string} title @param {Child} lead @param {...Child} actions */
export function head(title, lead, ...actions) {
  return h(
    "div",
    { class: "head" },
    h("div", {}, h("h1", { tabindex: -1 }, title), lead && h("p", {}, lead)),
    actions.length > 0 && h("div", { class: "actions" }, ...actions),
  );
}

/**
 * A labelled field with a hint and, once something is wrong, what that is.
 * @param {string} label @param {HTMLElement} input @param {Child} [hint]
 * @returns {HTMLElement}
 */
export function field(label, input, hint) {
  const id = input.id || newId("field");
  const below = hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  input.id = id;
  if (below) input.setAttribute("aria-describedby", below.id);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, below);
}

/** Says beside a field what is wrong with it, or, without words, that nothing is any more. @param {HTMLElement} input @param {string} [words] */
export function mistake(input, words) {
  const id = `${input.id}-mistake`;
  document.getElementById(id)?.remove();
  const described = (input.getAttribute("aria-describedby") ?? "").split(" ").filter((each) => each && each !== id);
  if (words) {
    input.after(h("p", { class: "mistake", id }, words));
    input.setAttribute("aria-invalid", "true");
    described.unshift(id);
  } else input.removeAttribute("aria-invalid");
  if (described.length > 0) input.setAttribute("aria-describedby", described.join(" "));
  else input.removeAttribute("aria-describedby");
}

/** A password field that password managers know. @param {"current-password" | "new-password"} kind @param {Record<string, unknown>} [more] */
export const password = (kind, more = {}) =>
  /** @type {HTMLInputElement} */ (
    h("input", { type: "password", autocomplete: kind, maxlength: 1024, required: true, ...more })
  );

/** The name that a form's password is for: password managers look for it in the form. @param {string} name */
export const whosePassword = (name) =>
  h("input", { type: "text", autocomplete: "username", value: name, readonly: true, hidden: true });

/** A text field for a name, which no keyboard corrects. @param {Record<string, unknown>} more */
export const nameField = (more) =>
  /** @type {HTMLInputElement} */ (
    h("input", { autocapitalize: "none", autocorrect: "off", spellcheck: "false", autocomplete: "off", ...more })
  );

/** What went wrong, for the place where it happened. @param {{title: string, message: string}} problem @param {Child} [what] what to do */
export function problemNotice(problem, what) {
  const same = problem.message === problem.title;
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, problem.title),
    same ? null : problem.message,
    what && " ",
    what,
  );
}

/** A bar. @param {number} share 0 to 1 */
export function bar(share) {
  const inside = h("i");
  inside.style.width = `${Math.round(Math.max(0, Math.min(1, share)) * 1000) / 10}%`;
  return h("div", { class: "bar", "aria-hidden": "true" }, inside);
}

/** What is left of a life: a bar, relative and absolute. @param {Date} from @param {Date} until @param {Date} now */
export function timeLeft(from, until, now) {
  const life = until.getTime() - from.getTime();
  const element = h("div");
  const fill = (/** @type {Date} */ at) => {
    const left = until.getTime() - at.getTime();
    element.className = left < life * 0.1 || left < 5 * 60_000 ? "left soon" : "left";
    element.replaceChildren(
      bar(life > 0 ? left / life : 0),
      h("strong", {}, left > 0 ? `${duration(left)} left` : "Expired"),
      h("br"),
      h("span", { class: "quiet" }, "until ", time(until, at)),
    );
  };
  fill(now);
  const timer = setInterval(() => (element.isConnected ? fill(new Date()) : clearInterval(timer)), 20_000);
  return element;
}

/** A moment in words, exact for programs and on hover. @param {Date} at @param {Date} now @param {(at: Date, now: Date) => string} [words] */
export const time = (at, now, words = moment) =>
  h("time", { datetime: at.toISOString(), title: `${at.toISOString().slice(0, 19).replace("T", " ")} UTC` }, words(at, now));

/** How long ago something was. @param {Date} at @param {Date} now */
export const ago = (at, now) => time(at, now, relative);

/** A button that copies. @param {string} label @param {() => string} text @param {string} [look] its class */
export function copyButton(label, text, look = "") {
  const button = h(
    "button",
    {
      type: "button",
      class: look,
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(text());
          button.textContent = "Copied";
          say("Copied");
        } catch {
          button.textContent = "Select it and copy by hand";
        }
        setTimeout(() => {
          button.textContent = label;
        }, 2500);
      },
    },
    label,
  );
  return button;
}

/** A picture of two links of a chain, for what is not there yet. */
function chainPicture() {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({
    viewBox: "0 0 56 28",
    width: "72",
    height: "36",
    "aria-hidden": "true",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "3",
  }))
    picture.setAttribute(name, value);
  for (const [x, dash] of [
    ["4", "none"],
    ["26", "3 4"],
  ]) {
    const link = document.createElementNS(space, "rect");
    for (const [name, value] of Object.entries({
      x: String(x),
      y: "6",
      width: "26",
      height: "16",
      rx: "8",
      "stroke-dasharray": String(dash),
    }))
      link.setAttribute(name, value);
    picture.append(link);
  }
  return picture;
}

/** What stands where nothing is yet. @param {string} title @param {Child} words @param {...Child} actions */
export function empty(title, words, ...actions) {
  return h(
    "div",
    { class: "card empty" },
    chainPicture(),
    h("h2", {}, title),
    h("p", {}, words),
    actions.length > 0 && h("div", { class: "actions" }, ...actions),
  );
}

/** @typedef {{name: string, number?: boolean, unseen?: boolean}} Column */

/**
 * A table that folds into cards on a small screen. The first cell of a row is its heading.
 * @param {string} caption for screen readers @param {Column[]} columns @param {(Child | Child[])[][]} rows
 */
export function table(caption, columns, rows) {
  const cells = columns.map((column) =>
    h(
      "th",
      { scope: "col", class: column.number ? "number" : null },
      column.unseen ? h("span", { class: "unseen" }, column.name) : column.name,
    ),
  );
  return h(
    "div",
    { class: "card flush" },
    h(
      "div",
      { class: "wide" },
      h(
        "table",
        { class: "folds" },
        h("caption", { class: "unseen" }, caption),
        h("thead", {}, h("tr", {}, ...cells)),
        h(
          "tbody",
          {},
          ...rows.map((row) =>
            h(
              "tr",
              {},
              ...row.map((cell, at) => {
                const column = /** @type {Column} */ (columns[at]);
                const inside = Array.isArray(cell) ? cell : [cell];
                if (at === 0) return h("th", { scope: "row" }, ...inside);
                return h(
                  "td",
                  { class: column.number ? "number" : null, "data-name": column.unseen ? null : column.name },
                  ...inside,
                );
              }),
            ),
          ),
        ),
      ),
    ),
  );
}

/** A tag. @param {string} words @param {"" | "good" | "bad" | "soon" | "main"} [look] */
export const tag = (words, look = "") => h("span", { class: `tag ${look}`.trim() }, words);
