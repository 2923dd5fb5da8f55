/**
 * What the tests share: the vectors that all languages read, and outcomes as classes.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { CaveatsError } from "../src/index.js";

/**
 * A file of `tests/vectors`, at the top of the repository.
 *
 * @param {string} name
 * @returns {any}
 */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}`, import.meta.url), "utf-8"));
}

/**
 * The code of the error that something ends in; null if it ends in none. What is no error of ours is thrown on.
 *
 * @param {() => unknown} does
 * @returns {Promise<string | null>}
 */
export async function outcome(does) {
  try {
    await does();
  } catch (error) {
    if (error instanceof CaveatsError) return error.code;
    throw error;
  }
  return null;
}

