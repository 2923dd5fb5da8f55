// Address ranges as people type them: checked, put into their one form, and said in words. Knows addresses; knows no caveat.

import { parseAddress } from "../client/kinds/facts.js";
import { counted } from "../words.js";

/**
 * A range as it was typed.
 * @typedef {object} Range
 * @property {string} network in its one form, such as 10.0.0.0/8; empty if it is none
 * @property {string} words what it holds, or what is wrong with it
 */

/** The range in a word. @param {string} word @returns {Range} */
export function readRange(word) {
  const [typed = "", prefix, more] = word.split("/");
  const address = parseAddress(typed);
  if (address === undefined) {
    const partly = /^[0-9.]+$/.test(typed);
    return none(partly ? `${word} is not a whole address: IPv4 has four numbers up to 255, such as 10.0.0.0/8.` : `${word} is no address: write one such as 192.0.2.7, or a range such as 10.0.0.0/8 or 2001:db8::/32.`);
  }
  const all = address.bits.length;
  if (prefix === undefined) return { network: address.text, words: address.text === word ? "one address" : `taken as ${address.text}: one address` };
  if (more !== undefined || !/^(?:0|[1-9][0-9]{0,2})$/.test(prefix) || Number(prefix) > all) {
    return none(`What follows / is how many bits all addresses share: 0 to ${all}.`);
  }
  const network = `${firstOf(address.bits, Number(prefix))}/${Number(prefix)}`;
  const left = all - Number(prefix);
  const size = left <= 32 ? counted(2 ** left, "address", "addresses") : `2 to the power of ${left} addresses`;
  return { network, words: network === word ? size : `taken as ${network}: ${size}` };
}

/** The first address of a range, as text. @param {string} bits of an address in it @param {number} shared how many of these all have */
function firstOf(bits, shared) {
  const first = bits.slice(0, shared).padEnd(bits.length, "0");
  const groups = first.match(bits.length === 32 ? /.{8}/g : /.{16}/g) ?? [];
  const text = groups.map((group) => parseInt(group, 2).toString(bits.length === 32 ? 10 : 16)).join(bits.length === 32 ? "." : ":");
  return parseAddress(text)?.text ?? text;
}

/** @param {string} words @returns {Range} */
const none = (words) => ({ network: "", words });
