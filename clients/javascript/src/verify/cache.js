/**
 * What a verifier remembers: which texts were authentic, within bounds. Knows no keys and no clock, judges nothing.
 *
 * Two generations: when the young one is full it becomes the old one, and the old one is dropped, so that no entry is ever
 * looked for in order to be evicted. What is found in the old one is young again.
 *
 * @module
 */

/**
 * Entries by the text of their token.
 *
 * @template {{size: number}} T `size`: the bytes that it takes, roughly, with its text
 */
export class VerificationCache {
  /** Grows when everything is forgotten. */
  generation = 0;
  /** @type {Map<string, T>} */
  #young = new Map();
  /** @type {Map<string, T>} */
  #old = new Map();
  #youngSize = 0;
  #entries;
  #size;

  /**
   * @param {number} entries at most, of together about `size` bytes. 0 remembers nothing
   * @param {number} size
   */
  constructor(entries, size) {
    this.#entries = entries >> 1;
    this.#size = size / 2;
  }

  /** Forget everything, and what is being authenticated right now: its `generation` is over. */
  clear() {
    this.generation++;
    this.#young = new Map();
    this.#old = new Map();
    this.#youngSize = 0;
  }

  /**
   * The entry of a text, if it is remembered.
   *
   * @param {string} text
   * @returns {T | undefined}
   */
  find(text) {
    const young = this.#young.get(text);
    if (young) return young;
    const old = this.#old.get(text);
    if (old) this.add(text, old, this.generation);
    return old;
  }

  /**
   * Remember an entry.
   *
   * @param {string} text
   * @param {T} entry
   * @param {number} generation as it was before the token was authenticated
   */
  add(text, entry, generation) {
    const { size } = entry;
    if (size > this.#size || !this.#entries || generation !== this.generation || this.#young.has(text)) return;
    if (this.#young.size >= this.#entries || this.#youngSize + size > this.#size) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSize = 0;
    }
    this.#young.set(text, entry);
    this.#youngSize += size;
  }
}
