/**
 * Somebody else's list, by a link. The token is in the address after `#`, which browsers send to nobody; this page sends it in a header.
 */

import { inspect } from "/caveats/inspect.js";
import { $, Refused, api, attempt, element, said } from "./api.js";

function row({ text, done }) {
  const mark = element("span", { className: "mark", role: "img", ariaLabel: done ? "Done" : "To do", textContent: done ? "✓" : "" });
  return element("li", { className: "item" }, mark, element("span", { className: done ? "grow done" : "grow", textContent: text }));
}

async function show() {
  const token = location.hash.slice(1);
  $("items").hidden = $("nothing").hidden = true;
  $("says").textContent = "";
  try {
    if (!token) throw new Refused(401, { code: "damaged_token" });
    const { owner, items } = await api("GET", "/api/items", undefined, token);
    const until = inspect(token).authority.expires_at; // what it says is true: the app has just verified it
    document.title = `List of ${owner} · To do`;
    $("says").textContent = `From ${owner}. You can read it until ${said(until)}, and change nothing.`;
    $("items").replaceChildren(...items.map(row));
    $("items").hidden = !items.length;
    $("nothing").hidden = items.length > 0;
  } catch (error) {
    if (error.status === 401) {
      error.message = error.code === "damaged_token" ? "This link is not whole. Ask for it once more" : "This link does not work any more: it was revoked, or it has ended";
    }
    throw error;
  }
}

addEventListener("hashchange", () => attempt(show));
document.addEventListener("visibilitychange", () => document.hidden || attempt(show));
attempt(show);
