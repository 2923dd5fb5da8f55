/**
 * Lengths of time as people write them: `90s`, `15m`, `8h`, `30d`, `1w`, `1h30m`. Knows no policy.
 *
 * Strict on purpose: no sign, space, underscore or fraction passes.
 *
 * @module
 */

import { MalformedDuration } from "./errors.js";

const FORM = /^(?:(0|[1-9][0-9]{0,9})w)?(?:(0|[1-9][0-9]{0,9})d)?(?:(0|[1-9][0-9]{0,9})h)?(?:(0|[1-9][0-9]{0,9})m)?(?:(0|[1-9][0-9]{0,9})s?)?$/;
const SECONDS = [604800, 86400, 3600, 60, 1];
const LONGEST = 36500 * 86400;

/**
 * The whole seconds, from 0 to a hundred years, in a length of time. A number, and a text of digits alone, is seconds.
 * Throws `MalformedDuration`.
 *
 * @param {string | number} duration
 * @returns {number}
 */
export function parseDuration(duration) {
  const found = FORM.exec(typeof duration === "number" || typeof duration === "string" ? String(duration) : "");
  if (!found || !found[0] || /[a-z]\d+$/.test(found[0])) {
    throw new MalformedDuration(
      "a duration is whole seconds (900), or a whole number with s, m, h, d or w (90s, 15m, 8h, 30d, 1w), or several, the largest first (1h30m)",
    );
  }
  const seconds = SECONDS.reduce((sum, unit, place) => sum + unit * Number(found[place + 1] ?? 0), 0);
  if (seconds > LONGEST) throw new MalformedDuration("a duration is at most 36500d");
  return seconds;
}
