// Where a token's text was mistyped, by its checksum. Knows CRC-32 (IEEE 802.3); knows nothing of what a token says.
//
// The state of the checksum is computed from the start of the text forwards, and from the digits at its end backwards. Where one
// changed, missing, surplus or swapped character makes both meet, it is the mistake. In a text of 400 characters with several mistakes
// both meet by chance once in 80,000 times.

/**
 * @typedef {object} Typo
 * @property {number} at its place in the text, from 0
 * @property {number} size so many characters there are wrong; 0 if one is missing
 * @property {string} words such as "character 21 should be A, not B"
 * @property {string} corrected the text without it
 */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SIZE = 6;

const table = Uint32Array.from({ length: 256 }, (_, remainder) => {
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
  return remainder;
});
/** Which entry of the table has this top byte: each has another. */
const byTop = new Uint8Array(256);
table.forEach((entry, at) => { byTop[entry >>> 24] = at; });

/** The state after one more character. @param {number} state @param {number} code */
const step = (state, code) => ((state >>> 8) ^ /** @type {number} */ (table[(state ^ code) & 255])) >>> 0;

/** The state before a character, from the one after it. @param {number} state @param {number} code */
function back(state, code) {
  const at = /** @type {number} */ (byTop[state >>> 24]);
  return (((state ^ /** @type {number} */ (table[at])) << 8) | ((at ^ code) & 255)) >>> 0;
}

/** The mistake in a text whose checksum does not match; null if no single one explains it. @param {string} text `cav1_...` @returns {Typo | null} */
export function findTypo(text) {
  const body = text.slice(0, -SIZE);
  const end = finalState(text.slice(-SIZE));
  const size = body.length;
  const codes = Array.from(body, (character) => character.charCodeAt(0));
  const after = new Uint32Array(size + 1);
  after[0] = 0xffffffff;
  for (let at = 0; at < size; at++) after[at + 1] = step(/** @type {number} */ (after[at]), /** @type {number} */ (codes[at]));
  const digits = inDigits(after[size] ?? 0);
  const differ = [...digits].filter((digit, at) => digit !== text[size + at]).length;
  if (differ === 1) {
    const at = [...digits].findIndex((digit, place) => digit !== text[size + place]);
    return changed(text, size + at, /** @type {string} */ (digits[at]));
  }
  if (end === null) return null;
  const before = new Uint32Array(size + 1);
  before[size] = end;
  for (let at = size - 1; at >= 0; at--) before[at] = back(/** @type {number} */ (before[at + 1]), /** @type {number} */ (codes[at]));
  /** @type {(at: number) => number} */
  const reached = (at) => /** @type {number} */ (after[at]);
  /** @type {(at: number) => number} */
  const needed = (at) => /** @type {number} */ (before[at]);
  for (let at = 0; at <= size; at++) {
    if (at < size && reached(at) === needed(at + 1)) {
      return { at, size: 1, words: `character ${at + 1} is one too many`, corrected: text.slice(0, at) + text.slice(at + 1) };
    }
    if (at + 2 <= size && step(step(reached(at), /** @type {number} */ (codes[at + 1])), /** @type {number} */ (codes[at])) === needed(at + 2)) {
      return { at, size: 2, words: `characters ${at + 1} and ${at + 2} are swapped`, corrected: text.slice(0, at) + text[at + 1] + text[at] + text.slice(at + 2) };
    }
    for (const letter of LETTERS) {
      const next = step(reached(at), letter.charCodeAt(0));
      if (at < size && next === needed(at + 1)) return changed(text, at, letter);
      if (next === needed(at)) {
        return { at, size: 0, words: `${letter} is missing after character ${at}`, corrected: text.slice(0, at) + letter + text.slice(at) };
      }
    }
  }
  return null;
}

/** @param {string} text @param {number} at @param {string} letter @returns {Typo} */
const changed = (text, at, letter) =>
  ({ at, size: 1, words: `character ${at + 1} should be ${letter}, not ${text[at]}`, corrected: text.slice(0, at) + letter + text.slice(at + 1) });

/** The state that these digits are written from; null if they are none. @param {string} digits */
function finalState(digits) {
  let value = 0;
  for (const digit of digits) {
    const at = DIGITS.indexOf(digit);
    if (at < 0) return null;
    value = value * 62 + at;
  }
  return digits.length === SIZE && value <= 0xffffffff ? ~value >>> 0 : null;
}

/** @param {number} state */
function inDigits(state) {
  let rest = ~state >>> 0;
  let digits = "";
  for (let place = 0; place < SIZE; place++) {
    digits = DIGITS[rest % 62] + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
