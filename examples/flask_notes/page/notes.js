/**
 * Notes for a front end without cookies: it signs in once at the service, and then sends its token with each request.
 *
 * A program in QML or on a phone does the same; it keeps the token in the system's keychain, where this page has the tab's storage.
 */

import { attenuate, encode, inspect } from "/caveats/index.js";
import { Client } from "/caveats/client/index.js";

const KEY = "notes-token";
const $ = (id) => document.getElementById(id);
const service = document.querySelector('meta[name="service"]').content;

/** Somebody's notes. The token is all that it knows of them. */
class Notes {
  #token;

  constructor(token) {
    this.#token = token;
  }

  async #ask(method, path, body) {
    const answer = await fetch(path, {
      method,
      headers: { "X-Auth-Token": this.#token, ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
      credentials: "omit",
    });
    if (answer.status === 204) return null;
    const said = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(said.code), { status: answer.status });
    return said;
  }

  all = async () => (await this.#ask("GET", "/notes")).notes;
  add = (text) => this.#ask("POST", "/notes", { text });
  delete = (number) => this.#ask("DELETE", `/notes/${number}`);
}

/** A token for the notes and for nothing else, good for an hour. The service has to allow this page: CAVEATS_ALLOWED_ORIGINS. */
async function signIn(username, password) {
  const wanted = { audience: "notes", scope: ["notes:read", "notes:write"], expiresIn: "1h" };
  return encode(await new Client(service).login(username, password, wanted));
}

async function show() {
  const token = sessionStorage.getItem(KEY);
  $("sign-in").hidden = Boolean(token);
  $("notes").hidden = !token;
  if (!token) return;
  const notes = new Notes(token);
  const { user, expires_at: end } = inspect(token).authority;
  const found = await notes.all();
  const until = new Date(end).toLocaleTimeString(undefined, { timeStyle: "short" });
  $("who").textContent = `${user}, until ${until}: ${found.length === 1 ? "one note" : `${found.length} notes`}`;
  $("list").replaceChildren(
    ...found.map(({ number, text }) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: "Delete", ariaLabel: `Delete ${text}` });
      button.addEventListener("click", () => attempt(async () => (await notes.delete(number), await show())));
      const row = document.createElement("li");
      row.append(Object.assign(document.createElement("span"), { textContent: text }), button);
      return row;
    }),
  );
}

/** Run what somebody asked for. A token that has ended is forgotten, and the page asks for a sign-in. */
async function attempt(work) {
  $("problem").hidden = true;
  try {
    await work();
  } catch (error) {
    if (error.status === 401) {
      sessionStorage.removeItem(KEY);
      await show();
    }
    const words = { invalid_credentials: "No such user, or not their password.", invalid_token: "The hour is over. Sign in again." };
    $("problem").textContent = words[error.code ?? error.message] ?? error.message;
    $("problem").hidden = false;
  }
}

const on = (id, event, work) =>
  $(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    attempt(work);
  });

on("sign-in", "submit", async () => {
  sessionStorage.setItem(KEY, await signIn($("username").value, $("password").value));
  $("password").value = "";
  await show();
});

on("add", "submit", async () => {
  await new Notes(sessionStorage.getItem(KEY)).add($("text").value);
  $("text").value = "";
  await show();
});

on("script", "click", async () => {
  const narrow = await attenuate(sessionStorage.getItem(KEY), { scope: "notes:read", expiresIn: "10m", method: "GET", note: "a script" });
  $("command").textContent = `curl -H 'X-Auth-Token: ${narrow}' ${location.origin}/notes`;
  $("given").hidden = false;
});

on("sign-out", "click", async () => {
  const token = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  $("given").hidden = true;
  await show();
  await new Client(service).revoke(token);
});

attempt(show);
