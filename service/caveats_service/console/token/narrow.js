// Narrow and share: a narrower copy of a token, made here without a request, and taken away as text, header, curl line or link.
// Knows the form and the copies that were made before.

import { attenuate } from "../client/attenuate.js";
import { CaveatsError } from "../client/errors.js";
import { inspect } from "../client/inspect.js";
import { branchId } from "../client/third_party/bind.js";
import { encode } from "../client/token/bundle.js";
import { showAccount } from "./account.js";
import { ROOT } from "../api.js";
import { chainsOf, isDead } from "./chain.js";
import { byId, h } from "../dom.js";
import { withToken } from "./fragment.js";
import { narrowForm } from "./narrow-form.js";
import { copyButton, empty, field, head, nameField, problemNotice, tag } from "../parts.js";
import { remember } from "./remembered.js";
import { rememberedList } from "./remembered-list.js";
import { asSentence, authoritySentence } from "./sentence.js";
import { tokenField } from "./field.js";
import { counted } from "../words.js";

/** @typedef {import("../client/token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../client/token/macaroon.js").Macaroon} Macaroon */

const list = rememberedList();
const work = h("div", { class: "stack" });
const input = tokenField({
  label: "Token",
  hint: "The one to make a narrower copy of. It stays in this page: a copy is made without asking anybody.",
  onToken: show,
});
byId("main").replaceChildren(
  head("Narrow and share", "A copy that may do less, for less time, from fewer places. Nobody can widen it again, and you can revoke it alone."),
  h("div", { class: "stack" }, h("div", { class: "card" }, input.element), work, list.element));
showAccount();
input.start();

/** @param {Bundle | null} bundle @param {string} text */
function show(bundle, text) {
  if (bundle === null) {
    work.replaceChildren(...(text === "" ? [empty("Begin with a token", "Paste one above. If you have none, issue one for yourself.",
      h("a", { class: "button main", href: `${ROOT}#issue` }, "Issue a token"), input.sampleButton())] : []));
    return;
  }
  const { macaroon, discharges } = bundle;
  const parent = inspect(macaroon);
  const copy = result(macaroon, () => list.update());
  const form = narrowForm(parent, () => void update());
  let turn = 0;

  async function update() {
    const mine = (turn += 1);
    const now = new Date();
    const narrowing = form.read(now);
    if (narrowing === null) {
      copy.wait();
      return;
    }
    try {
      const narrower = Object.keys(narrowing).length === 0 ? macaroon : await attenuate(macaroon, narrowing, { now });
      if (mine === turn) await copy.show(narrower, now);
    } catch (error) {
      if (!(error instanceof CaveatsError)) throw error;
      if (mine === turn) copy.fail(error);
    }
  }

  work.replaceChildren(
    discharges.length > 0 ? h("p", { class: "notice" }, h("strong", {}, `${counted(discharges.length, "discharge")} left out`),
      "Discharges are bound to the token as it was. Whoever uses the copy gets discharges for it anew.") : h("div"),
    h("div", { class: "workbench" },
      h("section", { class: "card stack", "aria-labelledby": "narrower" }, h("h2", { id: "narrower" }, "Make it narrower"), form.element),
      copy.element));
  void update();
}

/** The copy as it is now, and the ways to take it. @param {Macaroon} parent @param {() => void} remembered */
function result(parent, remembered) {
  const before = parent.caveats.length;
  const sentence = h("p", { class: "sentence", role: "status" });
  const added = h("ul", { class: "added" });
  const size = h("p", { class: "hint" });
  const wrong = h("div");
  const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { class: "secret", readonly: true, rows: 4, "aria-label": "Text of the copy", spellcheck: "false" }));
  const name = nameField({ maxlength: 80, value: `Copy of ${new Date().toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })}` });
  const keep = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", checked: true }));
  const kept = h("div");
  /** @type {{text: string, tokenId: string | null, branch: string, says: string, expires: string | null, hosts: string[] | null} | null} */
  let made = null;

  /** @param {string} label @param {(text: string) => string} form @param {string} [look] */
  const take = (label, form, look) => {
    const button = copyButton(label, () => form(made?.text ?? ""), look);
    button.addEventListener("click", store);
    return button;
  };
  const buttons = [
    take("Copy the token", (text) => text, "main"),
    take("Copy a link", (text) => withToken(new URL("inspect", location.href).href, text)),
    take("Copy a header", (text) => `Authorization: Bearer ${text}`),
    take("Copy for curl", (text) => curlLine(text, made?.hosts?.[0])),
  ];

  function store() {
    if (made === null || !keep.checked) return;
    if (made.tokenId === null) {
      kept.replaceChildren(h("p", { class: "hint" }, "It is not remembered: the service did not issue the token, and cannot revoke copies of it."));
      return;
    }
    const stored = remember({ branch: made.branch, tokenId: made.tokenId, name: name.value.trim() || "Without a name", says: made.says, made: new Date().toISOString(), expires: made.expires, revoked: null });
    kept.replaceChildren(stored ? h("p", { class: "hint" }, "Remembered below, without the token itself.")
      : problemNotice({ title: "It could not be remembered", message: "This browser keeps nothing for this page, or 200 copies are remembered that live on." }));
    remembered();
  }

  /** @param {boolean} ready */
  const ready = (ready) => { for (const button of buttons) if (button instanceof HTMLButtonElement) button.disabled = !ready; };

  return {
    element: h("section", { class: "card stack copy", "aria-labelledby": "the-copy" },
      h("h2", { id: "the-copy" }, "The copy"), sentence, added, wrong, area, size,
      h("div", { class: "actions" }, ...buttons),
      field("Name", name, "What you call it here, so that you find it again to revoke it."),
      h("label", { class: "choice" }, keep, h("span", {}, "Remember it in this browser when I take it", h("span", { class: "hint" }, "Its name, ids and expiry; not the token."))),
      kept),
    /** @param {Macaroon} copy @param {Date} now */
    async show(copy, now) {
      const bundle = { macaroon: copy, discharges: [] };
      const inspection = inspect(bundle, { now });
      const chains = chainsOf(bundle, inspection, now);
      const dead = isDead(chains);
      const text = encode(copy);
      const branch = await branchId(copy);
      const says = authoritySentence(inspection, now, dead);
      made = { text, tokenId: inspection.token_id, branch, says, expires: inspection.authority.expires_at, hosts: inspection.authority.hosts };
      if (sentence.textContent !== says) sentence.textContent = says;
      sentence.classList.toggle("dead", dead);
      const links = (chains[0]?.links ?? []).slice(before);
      added.replaceChildren(...links.map(({ caveat, effect }) => h("li", {}, h("code", {}, caveat?.predicate ?? ""),
        effect?.mark === "repeats" && tag("changes nothing"), effect?.mark === "contradicts" && [tag("leaves nothing", "bad"), h("span", { class: "mistake" }, effect.because)])));
      area.value = text;
      size.textContent = links.length === 0 ? `${counted(text.length, "byte")}. Nothing is narrowed yet: this is the token itself.`
        : `${counted(text.length, "byte")}, ${counted(text.length - encode(parent).length, "byte")} more than the token, for ${counted(links.length, "caveat")}.`;
      wrong.replaceChildren();
      kept.replaceChildren();
      ready(links.length > 0);
    },
    /** While something in the form is wrong. */
    wait() {
      ready(false);
      size.textContent = "Mend what is marked first.";
    },
    /** @param {CaveatsError} error */
    fail(error) {
      ready(false);
      wrong.replaceChildren(problemNotice({ title: "No copy can be made", message: asSentence(error.message) }));
    },
  };
}

/** @param {string} token @param {string} [host] */
const curlLine = (token, host) => host === undefined ? `curl -H 'Authorization: Bearer ${token}' "$URL"` : `curl -H 'Authorization: Bearer ${token}' https://${host}/`;
