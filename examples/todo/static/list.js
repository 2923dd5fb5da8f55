/** The list of whoever is signed in: add, tick, delete. */

import { $, api, attempt, element } from "./api.js";

let items = [];

function show() {
  const open = items.filter((item) => !item.done).length;
  $("summary").textContent = items.length ? `${open} to do, ${items.length - open} done` : "";
  $("items").hidden = !items.length;
  $("nothing").hidden = items.length > 0;
}

function add(item) {
  items.push(item);
  const box = element("input", { type: "checkbox", checked: item.done });
  const row = element(
    "li",
    { className: "item" },
    element("label", {}, box, element("span", { textContent: item.text })),
    element("button", { type: "button", className: "plain", textContent: "Delete", ariaLabel: `Delete ${item.text}` }),
  );
  box.addEventListener("change", () =>
    attempt(async () => {
      const done = box.checked;
      try {
        await api("PATCH", `/api/items/${item.id}`, { done });
        item.done = done;
      } finally {
        box.checked = item.done;
      }
      show();
    }),
  );
  row.lastChild.addEventListener("click", () =>
    attempt(async () => {
      await api("DELETE", `/api/items/${item.id}`);
      items = items.filter((one) => one !== item);
      row.remove();
      show();
      $("text").focus();
    }),
  );
  $("items").append(row);
}

$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    add(await api("POST", "/api/items", { text: $("text").value }));
    $("text").value = "";
    $("text").focus();
    show();
  });
});

attempt(async () => {
  for (const item of (await api("GET", "/api/items")).items) add(item);
  show();
});
