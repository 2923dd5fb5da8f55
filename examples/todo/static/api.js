/**
 * Requests to the app's own API, and what the pages share. Knows no page.
 *
 * @module
 */

/** A refusal, in the form of RFC 9457: `code` is for programs, the message for people. */
export class Refused extends Error {
  constructor(status, { code = "internal", title = "Something went wrong here", detail = "" } = {}) {
    super(detail || title);
    this.status = status;
    this.code = code;
  }
}

/**
 * The answer to a request, from JSON. The browser adds the session's cookie, unless a token is given: then it is sent instead.
 * Throws `Refused`. Where nobody is signed in, the page goes to sign in, and is told to come back.
 */
export async function api(method, path, body, token) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      body: body && JSON.stringify(body),
      headers: { ...(body && { "Content-Type": "application/json" }), ...(token !== undefined && { Authorization: `Bearer ${token}` }) },
      credentials: token === undefined ? "same-origin" : "omit",
      cache: "no-store",
    });
  } catch {
    throw new Refused(0, { code: "unavailable", title: "The app cannot be reached. Are you offline?" });
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => undefined);
  if (answer.ok) return said;
  const refused = new Refused(answer.status, said);
  if (token === undefined && ["credential_required", "invalid_token"].includes(refused.code)) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
  }
  throw refused;
}

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** A new element, with properties and children. Text stays text, whatever is in it. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Run what somebody asked for; what went wrong is shown in the page's alert. */
export async function attempt(work) {
  const problem = $("problem");
  problem.hidden = true;
  try {
    return await work();
  } catch (error) {
    problem.textContent = `${error.message.replace(/\.$/, "")}.`;
    problem.hidden = false;
    if (!(error instanceof Refused)) throw error;
  }
}

/** A time as people say it: Friday, 4 December, 23:59. */
export const said = (time) =>
  new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" }).format(new Date(time));

$("sign-out")?.addEventListener("click", () =>
  attempt(async () => {
    await api("POST", "/api/sign-out");
    location.assign("/sign-in");
  }),
);
