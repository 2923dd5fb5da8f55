/**
 * The standard kinds: how the value of each is read, and what it leaves of a token. Knows no request and no key.
 *
 * The table is in the order in which `attenuate` appends. The checks are in `checkers.js`, so that whoever only holds tokens
 * does not load them.
 *
 * @module
 */

import { MalformedCaveat } from "../errors.js";
import { checkValue, quoted } from "./base.js";
import { parseHost, parseNetwork, pathCovers, pathPattern } from "./facts.js";
import { MOST_PATTERNS, intersectScopes, parseScope, reduceScopes, scopeCovers } from "./scopes.js";
import { readMoment, readWords } from "./values.js";

/** @typedef {import("./authority.js").Authority} Authority */

/**
 * A standard kind. What `read` makes of a value is given to the others as `data`.
 *
 * @typedef {object} StandardKind
 * @property {(value: string) => any} read the value, read. Throws `MalformedCaveat`
 * @property {(authority: Authority, data: any) => Partial<Authority>} [narrow] the fields of an authority that it changes
 * @property {(before: Authority, data: any) => string | false} [repeats] why it takes nothing away from what stands before it
 * @property {"words" | "each" | "moment"} [asks] how a holder gives its values; left out where only the issuer writes it
 * @property {string} [as] its name among the ways to narrow, if it is another
 * @property {boolean} [lists] whether an authority has its words in `lists`
 * @property {boolean} [joint] whether the words of several such caveats are intersected
 * @property {(word: string) => string} [typed] the form in which it holds a word that a person may write in another form
 */

const SAME = "the same caveat stands before it";

/**
 * A kind that lists words, one of which the request must match.
 *
 * @param {string} kind
 * @param {boolean} joint true if a word matches only itself
 * @param {(value: string) => any} read
 * @param {(data: any) => string[]} allowed the words, as an authority lists them
 * @param {(data: any, word: string) => boolean} covers whether the list matches everything that a word does
 * @param {(word: string) => string} [typed]
 * @returns {StandardKind}
 */
function listOf(kind, joint, read, allowed, covers, typed) {
  return {
    read,
    asks: "words",
    lists: true,
    joint,
    typed,
    narrow({ lists }, data) {
      const words = allowed(data);
      const before = lists[kind] ?? [];
      const after = joint && before.length ? [before[0].filter((word) => words.includes(word))] : [...before, words];
      return { lists: { ...lists, [kind]: after } };
    },
    repeats: ({ lists }, data) =>
      (lists[kind] ?? []).some((words) => words.every((word) => covers(data, word))) &&
      `the ${kind}s before it are no wider`,
  };
}

/**
 * A list of words that match only themselves.
 *
 * @param {string} kind
 * @param {(word: string) => boolean} isWord
 * @param {(word: string) => string} misfit what to say of a word that is none
 * @param {(words: string[]) => string[]} [allowed]
 * @param {(word: string) => string} [typed]
 * @returns {StandardKind}
 */
function namesOf(kind, isWord, misfit, allowed = (words) => words, typed) {
  /** @param {string} value */
  const read = (value) =>
    readWords(kind, value, (word) => {
      if (!isWord(word)) throw new MalformedCaveat(`not ${misfit(quoted(word))}`);
      return word;
    });
  return listOf(kind, true, read, allowed, (words, word) => allowed(words).includes(word), typed);
}

/** An audience. */
const AUDIENCE = /^[a-z][a-z0-9-]{0,31}$/;
/** An HTTP method in upper case. */
export const METHOD = /^[A-Z][A-Z-]{0,31}$/;

/**
 * The methods that a list allows: `GET` stands for `HEAD` as well (RFC 9110, section 9.3.2).
 *
 * @param {string[]} methods
 * @returns {string[]}
 */
export function allowedMethods(methods) {
  return methods.includes("GET") && !methods.includes("HEAD") ? [...methods, "HEAD"] : methods;
}

/**
 * The patterns in the value of a `path` caveat: a space before a `/` separates two, any other is part of a name.
 *
 * @param {string} value
 * @returns {string[]}
 */
export function splitPaths(value) {
  return value.split(/ (?=\/)/);
}

/** @type {Readonly<Record<string, StandardKind>>} */
export const STANDARD = {
  user: {
    read: checkValue,
    narrow: ({ user }, name) => (user === null ? { user: name } : {}),
    repeats: ({ user }, name) => user === name && SAME,
  },
  scope: {
    read: (value) => readWords("scope", value, parseScope),
    asks: "words",
    narrow({ scopes }, patterns) {
      const limit = reduceScopes(patterns);
      return { scopes: scopes ? intersectScopes(scopes, limit) : limit };
    },
    // A full list may have left scopes out.
    repeats: ({ scopes }, patterns) =>
      scopes !== null &&
      scopes.length < MOST_PATTERNS &&
      scopes.every((known) =>
        patterns.some((/** @type {import("./scopes.js").ScopePattern} */ one) => scopeCovers(one, known)),
      ) &&
      "the scopes before it are no wider",
  },
  expires: {
    read: readMoment,
    asks: "moment",
    narrow: ({ expiresAt }, at) => (expiresAt !== null && expiresAt <= at ? {} : { expiresAt: at }),
    repeats: ({ expiresAt }, at) => expiresAt !== null && expiresAt <= at && "an earlier expiry stands before it",
  },
  "not-before": {
    read: readMoment,
    asks: "moment",
    as: "notBefore",
    narrow: ({ notBefore }, at) => (notBefore !== null && notBefore >= at ? {} : { notBefore: at }),
    repeats: ({ notBefore }, at) => notBefore !== null && notBefore >= at && "a later start stands before it",
  },
  audience: namesOf(
    "audience",
    (word) => AUDIENCE.test(word),
    (word) => `an audience: ${word} (expected a-z, 0-9 and -, at most 32)`,
  ),
  method: namesOf(
    "method",
    (word) => METHOD.test(word),
    (word) => `an HTTP method: ${word} (upper case)`,
    allowedMethods,
    (word) => word.toUpperCase(),
  ),
  path: listOf(
    "path",
    false,
    (value) => {
      const names = splitPaths(checkValue(value)).map(pathPattern);
      if (new Set(names).size < names.length) throw new MalformedCaveat("a path caveat lists one path or more, each once");
      return names;
    },
    (names) => names.map(encodeURI),
    (names, word) => names.some((/** @type {string} */ pattern) => pathCovers(pattern, pathPattern(word))),
    (word) => encodeURI(pathPattern(word)),
  ),
  host: namesOf(
    "host",
    (word) => parseHost(word) === word,
    (word) => `a host: ${word} (a DNS name in lower case, without port)`,
    undefined,
    (word) => word.toLowerCase().replace(/\.$/, ""),
  ),
  "client-ip": {
    ...listOf(
      "client-ip",
      false,
      (value) => readWords("client-ip", checkValue(value), (word) => ({ word, ...parseNetwork(word) })),
      (networks) => networks.map((/** @type {{word: string}} */ network) => network.word),
      (networks, word) => networks.some((/** @type {{word: string}} */ network) => network.word === word),
    ),
    as: "clientIp",
  },
  note: { read: checkValue, asks: "each", narrow: ({ notes }, text) => ({ notes: [...notes, text] }) },
  renewed: { read: readMoment },
  parent: { read(value) {
    const [keyId, tokenId = "", ...branches] = checkValue(value).split(" ");
    if (!branches.every((branch) => /^[0-9a-f]{32}$/.test(branch))) {
      throw new MalformedCaveat("a parent caveat reads: key id, token id, then branch ids in hex");
    }
    if (!/^k[1-9][0-9]{0,8}$/.test(keyId)) throw new MalformedCaveat(`not a key id: ${quoted(keyId)}`);
    if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(tokenId)) throw new MalformedCaveat(`not a token id: ${quoted(tokenId)}`);
    if (new Set(branches).size < branches.length) {
      throw new MalformedCaveat("branch ids have 16 bytes and are listed once each");
    }
    return { keyId, tokenId, branches };
  } },
};
