/** Sign in, or make an account; then back to where one was. */

import { $, api, attempt } from "./api.js";

const asked = new URLSearchParams(location.search);
const registers = location.pathname === "/register";

/** The page that was asked for, if it is one of this app's. */
function next() {
  try {
    const url = new URL(asked.get("next") ?? "/", location.origin);
    return url.origin === location.origin ? url.pathname : "/";
  } catch {
    return "/";
  }
}

if (registers) {
  document.title = "Make an account · To do";
  document.querySelector("h1").textContent = "Make an account";
  $("form").querySelector("button").textContent = "Make an account";
  $("password").autocomplete = "new-password";
  $("password").minLength = 8;
  $("other").textContent = "Sign in";
}
$("hint").hidden = !registers;
$("why").hidden = registers || next() === "/";
$("other").href = `${registers ? "/sign-in" : "/register"}${location.search}`;

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const path = registers ? "/api/accounts" : "/api/sign-in";
    try {
      await api("POST", path, { address: $("address").value, password: $("password").value });
    } catch (error) {
      if (error.code === "conflict") error.message = "There is an account with this address";
      if (error.code === "invalid_credentials") error.message = "There is no account with this address, or that is not its password";
      $("password").select();
      throw error;
    }
    location.replace(next());
  });
});
