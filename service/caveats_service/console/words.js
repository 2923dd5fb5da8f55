// Times, lives and scopes in words. Knows language; knows no element and no request. The words are the glossary's.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const LOCALE = "en-GB";
// Made once: each takes a browser as long as all else that a page does.
const NUMBER = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const DATE_OF_A_YEAR = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric" });

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${NUMBER.format(count)} ${count === 1 ? one : many}`;

/** A length of time, in its two greatest units: "3 days 4 hours". @param {number} milliseconds */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return counted(seconds, "second");
  const units = /** @type {[number, string][]} */ ([
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ]);
  const at = units.findIndex(([size]) => seconds >= size);
  const [size, name] = /** @type {[number, string]} */ (units[at]);
  const first = counted(Math.floor(seconds / size), name);
  const next = units[at + 1];
  const rest = next === undefined ? 0 : Math.floor((seconds % size) / next[0]);
  return rest === 0 || next === undefined ? first : `${first} ${counted(rest, next[1])}`;
}

/** How long ago, or how long from now: "3 minutes ago", "in 2 days", "just now". @param {Date} at @param {Date} now */
export function relative(at, now) {
  const difference = at.getTime() - now.getTime();
  const far = Math.abs(difference);
  if (far < MINUTE) return "just now";
  const rough = duration(
    far < HOUR ? far : far < DAY ? Math.round(far / MINUTE / 5) * 5 * MINUTE : Math.round(far / HOUR) * HOUR,
  );
  const shown = far < 3 * HOUR ? rough : /** @type {string} */ (rough.match(/^\S+ \S+/)?.[0]);
  return difference < 0 ? `${shown} ago` : `in ${shown}`;
}

/** A moment in this browser's time zone: "14:10 today", "9:00 tomorrow", "3 Dec 2026, 14:10". @param {Date} at @param {Date} now */
export function moment(at, now) {
  const time = TIME.format(at);
  const days = Math.round((startOfDay(at) - startOfDay(now)) / DAY);
  if (days === 0) return `${time} today`;
  if (days === 1) return `${time} tomorrow`;
  if (days === -1) return `${time} yesterday`;
  return `${(at.getFullYear() === now.getFullYear() ? DATE : DATE_OF_A_YEAR).format(at)}, ${time}`;
}

/** @param {Date} at */
const startOfDay = (at) => new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();

/** Parts with commas and one "and": "a, b and c". @param {string[]} parts */
export function listed(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

/**
 * What a scope allows, for the end of a sentence that begins with "may": "read photos and do anything with notes/7".
 * @param {string} scope patterns with one space between @param {string} user
 */
export function allowed(scope, user) {
  const patterns = scope.split(" ").filter(Boolean);
  if (patterns.length === 0) return "nothing";
  const own = patterns.some((pattern) => pattern === "caveats:*" || pattern === "caveats:admin");
  const rest = patterns.filter((pattern) => !pattern.startsWith("caveats:"));
  const parts = [];
  if (rest.includes("*")) parts.push(`do everything ${user} may do`);
  else {
    /** @type {Map<string, string[]>} */
    const byAction = new Map();
    for (const pattern of rest) {
      const at = pattern.lastIndexOf(":");
      const action = at < 0 ? "*" : pattern.slice(at + 1);
      byAction.set(action, [...(byAction.get(action) ?? []), resource(at < 0 ? pattern : pattern.slice(0, at))]);
    }
    for (const [action, resources] of byAction) {
      parts.push(`${action === "*" ? "do anything with" : action} ${listed(resources)}`);
    }
  }
  if (own) parts.push("administer this service");
  else if (patterns.length > rest.length) parts.push(listed(patterns.filter((pattern) => pattern.startsWith("caveats:"))));
  return listed(parts);
}

/** @param {string} name */
function resource(name) {
  if (name === "*") return "anything";
  return name.endsWith("/*") ? `what is below ${name.slice(0, -2)}` : name;
}
