// The copies that were made in this browser, so that each can be revoked later although the service never saw it. Knows names, ids
// and times, in this browser's storage; never a token. Its ids are no secrets: with them nothing can be done but revoke.

/**
 * A copy that was made here.
 * @typedef {object} Copy
 * @property {string} branch its branch id: 32 hexadecimal digits
 * @property {string} tokenId
 * @property {string} name what the person calls it
 * @property {string} says what it allowed when it was made, as a sentence
 * @property {string} made ISO 8601
 * @property {string | null} expires ISO 8601; null for never
 * @property {string | null} revoked since when, by this browser's doing
 */

const KEY = "caveats-copies";
/** The most copies that are remembered. */
const MOST = 200;

/** All copies, the newest first. @returns {Copy[]} */
export function copies() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? stored.filter(isCopy) : [];
  } catch {
    return []; // what another program left there, or a browser that keeps nothing
  }
}

/** @param {any} value @returns {value is Copy} */
const isCopy = (value) => typeof value === "object" && value !== null && /^[0-9a-f]{32}$/.test(value.branch)
  && /^[0-9A-HJKMNP-TV-Z]{26}$/.test(value.tokenId) && [value.name, value.says, value.made].every((text) => typeof text === "string")
  && [value.expires, value.revoked].every((text) => text === null || typeof text === "string");

/**
 * Remembers a copy; one that is known gets the new name. Returns whether it is kept: not where the browser keeps nothing, and
 * not where 200 are kept that live on. For room, those that ended go first.
 * @param {Copy} copy @returns {boolean}
 */
export function remember(copy) {
  let kept = copies().filter((other) => other.branch !== copy.branch);
  const now = new Date();
  for (let at = kept.length - 1; at >= 0 && kept.length >= MOST; at--) {
    if (isOver(/** @type {Copy} */ (kept[at]), now)) kept.splice(at, 1);
  }
  if (kept.length >= MOST) return false;
  return write([copy, ...kept]);
}

/** Whether it cannot be used any more, as far as this browser knows. @param {Copy} copy @param {Date} now */
export const isOver = (copy, now) => copy.revoked !== null || (copy.expires !== null && new Date(copy.expires) <= now);

/** @param {string} branch @param {Date} at */
export const markRevoked = (branch, at) => write(copies().map((copy) => copy.branch === branch ? { ...copy, revoked: at.toISOString() } : copy));

/** @param {string} branch */
export const forget = (branch) => write(copies().filter((copy) => copy.branch !== branch));

/** Calls when another tab of this browser changed the copies. @param {() => void} changed */
export const onChange = (changed) => addEventListener("storage", (event) => { if (event.key === KEY || event.key === null) changed(); });

/** @param {Copy[]} all */
function write(all) {
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
    return true;
  } catch {
    return false;
  }
}
