// Groups: users who stand together under a name, for third parties and issuing clients.

import { all, ask, segment } from "../api.js";
import { h } from "../dom.js";
import { formDialog } from "../notices.js";
import { empty, field, nameField } from "../parts.js";
import { counted } from "../words.js";
import { act, actAfterAMoment, frame } from "./frame.js";

export const title = "Groups";

/** @param {import("../shell.js").Console} console */
export async function show(console) {
  const { rows } = await all("v1/groups", "groups");
  const add = () => h("button", { class: "main", onclick: () => void addGroup(console) }, "Add a group");
  return frame(
    "admin/groups",
    "Groups",
    "Users who stand together under a name: who approves, who belongs to a team. A change counts from the next discharge on.",
    rows.length > 0 ? [add()] : [],
    rows.length === 0
      ? empty("No groups yet", "A third-party caveat such as “approved-by = ops” asks for a member of a group.", add())
      : h("ul", { class: "rows" }, ...rows.map((group) => card(group, console))),
  );
}

/** @param {any} group @param {import("../shell.js").Console} console */
function card(group, console) {
  const path = `v1/groups/${segment(group.name)}`;
  const member = nameField({
    "aria-label": `A user to add to ${group.name}`,
    placeholder: "username",
    required: true,
    maxlength: 64,
  });
  return h(
    "li",
    { class: "card stack" },
    h(
      "div",
      { class: "row two" },
      h(
        "div",
        {},
        h("h2", {}, group.name),
        h("p", { class: "hint" }, group.members.length === 0 ? "Nobody is in it." : counted(group.members.length, "member")),
      ),
      h(
        "div",
        { class: "actions" },
        h(
          "button",
          {
            class: "danger",
            "aria-label": `Delete the group ${group.name}`,
            onclick: () =>
              void actAfterAMoment(console, {
                question: `Delete the group ${group.name}?`,
                words: "Its users stay. What asks for a member of it is refused from the next discharge on.",
                yes: "Delete",
                doing: `Deleting the group ${group.name}.`,
                did: `The group ${group.name} is deleted.`,
                work: (keepalive) => ask("DELETE", path, { keepalive }),
              }),
          },
          "Delete",
        ),
      ),
    ),
    group.members.length > 0 &&
      h(
        "ul",
        { class: "chips" },
        ...group.members.map((/** @type {string} */ name) =>
          h(
            "li",
            {},
            h("a", { href: `#admin/users/${name}` }, name),
            h(
              "button",
              {
                "aria-label": `Remove ${name} from ${group.name}`,
                onclick: () =>
                  void act(
                    console,
                    () => ask("DELETE", `${path}/members/${segment(name)}`),
                    `${name} is no longer in ${group.name}.`,
                  ),
              },
              "×",
            ),
          ),
        ),
      ),
    h(
      "form",
      {
        class: "inline",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          const name = member.value.trim();
          void act(console, () => ask("PUT", `${path}/members/${segment(name)}`), `${name} is in ${group.name}.`);
        },
      },
      member,
      h("button", {}, "Add"),
    ),
  );
}

/** @param {import("../shell.js").Console} console */
async function addGroup(console) {
  const name = nameField({ required: true, maxlength: 64 });
  const members = nameField({});
  const made = await formDialog(
    "Add a group",
    [
      field("Name", name, "No user and no other group has it."),
      field("Members", members, "Usernames, with spaces between. More can be added later."),
    ],
    "Add",
    () =>
      ask("PUT", `v1/groups/${segment(name.value.trim())}`, { body: { members: members.value.split(/[\s,]+/).filter(Boolean) } }),
  );
  if (made !== undefined) await act(console, async () => {}, `The group ${made.name} is there.`);
}
