/**
 * Lengths of time as people write them: `90s`, `15m`, `8h`, `30d`, `1w`, `1h30m`. Knows no policy.
 *
 * Strict on purpose: no sign, space, underscore or fraction passes.
 *
 * @module
 */

import { MalformedDuration } from "./errors.js";

const COUNT = "(0|[1-9][0-9]{0,9})";
const UNITS = { w: 604800, d: 86400, h: 3600, m: 60, s: 1 };
const LONGEST = 36500 * 86400;

/**
 * The whole seconds, from 0 to a hundred years, in a length of time. A number, and a text of digits alone, is seconds.
 * Throws `MalformedDuration`.
 *
 * @param {string | number} duration
 * @returns {number}
 */
export function parseDuration(duration) {
  const text = typeof duration === "number" ? `${duration}s` : String(duration).replace(/^[0-9]+$/, "$&s");
  const form = Object.keys(UNITS).map((unit) => `(?:${COUNT}${unit})?`);
  const found = new RegExp(`^${form.join("")}$`).exec(text);
  if (!text || !found) {
    throw new MalformedDuration("a duration is whole seconds (900), or such as 90s, 15m, 8h, 30d, 1w, 1h30m");
  }
  const seconds = Object.values(UNITS).reduce((sum, unit, place) => sum + unit * Number(found[place + 1] ?? 0), 0);
  if (seconds > LONGEST) throw new MalformedDuration("a duration is at most 36500d");
  return seconds;
}
