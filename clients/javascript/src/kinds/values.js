/**
 * Two shapes of value that most kinds have: a list of words, a moment. Knows no kind by name.
 *
 * @module
 */

import { MalformedCaveat } from "../errors.js";

const MOMENT = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z$/;

/**
 * The words of a value, each once, with one space between. Throws `MalformedCaveat`.
 *
 * @template T
 * @param {string} kind
 * @param {string} value
 * @param {(word: string) => T} readWord throws `MalformedCaveat` for a word that the kind cannot hold
 * @returns {T[]}
 */
export function readWords(kind, value, readWord) {
  const words = value.split(" ");
  if (words.includes("")) throw new MalformedCaveat(`a ${kind} caveat lists its values with one space between`);
  if (new Set(words).size < words.length) throw new MalformedCaveat(`a ${kind} caveat lists each value once`);
  return words.map(readWord);
}

/**
 * `value`, if it is a moment: `YYYY-MM-DDTHH:MM:SSZ`, in this form only. Such texts compare as the moments do. Throws
 * `MalformedCaveat`.
 *
 * @param {string} value
 * @returns {string}
 */
export function readMoment(value) {
  if (!MOMENT.test(value)) throw new MalformedCaveat("a time reads YYYY-MM-DDTHH:MM:SSZ");
  const time = Date.parse(value);
  if (value < "0001" || !(time === time) || writeMoment(time) !== value) {
    throw new MalformedCaveat("there is no such day or time");
  }
  return value;
}

/**
 * The one form of a time in caveats, rounded down to the second. Throws `MalformedCaveat` for what is no time of the years
 * 1 to 9999.
 *
 * @param {Date | number} time a number is milliseconds since 1970
 * @returns {string}
 */
export function writeMoment(time) {
  const seconds = Math.floor(Number(time) / 1000);
  if (!(seconds >= -62135596800 && seconds <= 253402300799)) {
    throw new MalformedCaveat("a time is a Date, from the year 1 to 9999");
  }
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}
