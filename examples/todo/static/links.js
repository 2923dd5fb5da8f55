/**
 * Links to the list. A link is a token, narrowed in this page until it can only be read with, and only for a while.
 *
 * Nobody is asked for it. The app writes down for whom it is, and its branch id, which is no secret, so that it can be revoked.
 */

import { attenuate } from "/caveats/attenuate.js";
import { inspect } from "/caveats/inspect.js";
import { branchId } from "/caveats/third_party/bind.js";
import { $, api, attempt, element, said } from "./api.js";

const DAY = 24 * 60 * 60 * 1000;
const LONGEST = 13; // days: a token for links ends after fourteen

/** A day as `<input type="date">` has it, in the time zone of whoever reads it. */
const dayOf = (date) => [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-");

/** The next Friday, which is not today. */
const friday = (now) => new Date(now.getTime() + ((5 - now.getDay() + 6) % 7 + 1) * DAY);

/** A link for as long as that day lasts, where it ends, and by which id it can be revoked. */
async function makeLink(token, day) {
  const number = crypto.getRandomValues(new Uint32Array(1))[0];
  const link = await attenuate(token, {
    expires: new Date(`${day}T23:59:59`),
    note: `link ${number}`, // two links until the same day are two branches
  });
  return { link, until: inspect(link).authority.expires_at, branch: await branchId(link) };
}

function row({ id, name, until, revoked }) {
  const end = element("button", { type: "button", className: "danger", textContent: "Revoke", ariaLabel: `Revoke the link for ${name}` });
  end.addEventListener("click", () =>
    attempt(async () => {
      await api("DELETE", `/api/links/${id}`);
      $("said").textContent = `The link for ${name} is revoked.`;
      await show();
    }),
  );
  const words = element("div", { className: "grow" }, element("strong", { textContent: name }), element("span", { className: "quiet", textContent: `until ${said(until)}` }));
  return element("li", { className: "item" }, words, revoked ? element("span", { className: "badge", textContent: "Revoked" }) : end);
}

async function show() {
  const { links } = await api("GET", "/api/links");
  $("links").replaceChildren(...links.map(row));
  $("links").hidden = !links.length;
  $("nothing").hidden = links.length > 0;
}

$("make").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const name = $("name").value.trim();
    const { token } = await api("GET", "/api/sharing");
    const { link, until, branch } = await makeLink(token, $("until").value);
    await api("POST", "/api/links", { name, until, branch });
    $("made-title").textContent = `A link for ${name}`;
    $("made-says").textContent = `It shows your list until ${said(until)}.`;
    $("link").value = `${location.origin}/shared#${link}`;
    $("copy").textContent = "Copy";
    $("made").hidden = false;
    $("made").focus();
    $("name").value = "";
    await show();
  });
});

$("copy").addEventListener("click", () =>
  attempt(async () => {
    $("link").select();
    await navigator.clipboard.writeText($("link").value);
    $("copy").textContent = "Copied";
    $("said").textContent = "Copied.";
  }),
);

const now = new Date();
$("until").value = dayOf(friday(now));
$("until").min = dayOf(now);
$("until").max = dayOf(new Date(now.getTime() + LONGEST * DAY));
attempt(show);
