// A token as a person pastes it: what surrounds it is taken off and named, and what is no token is named instead. Knows text, and
// the client's decoding; asks nobody. The same rules as those of the command line (`caveats_client/cli/pasted.py`).
// No message repeats any of the text, which may be a secret.

import { DamagedToken } from "../client/errors.js";
import { decodeBundle } from "../client/token/bundle.js";
import { decodeAny } from "../client/token/legacy.js";
import { asSentence } from "./sentence.js";
import { findTypo } from "./typo.js";
import { listed } from "../words.js";

/** @typedef {import("../client/token/macaroon.js").Bundle} Bundle */

/**
 * What a text holds: a token, or what is wrong with it.
 * @typedef {object} Pasted
 * @property {Bundle | null} bundle
 * @property {string} text the token alone, if there is one
 * @property {string} taken what was taken off, in words: "quotes and the word Bearer"; empty for nothing
 * @property {Misfit | null} misfit null if there is a token, and for an empty text
 */

/**
 * Why a text is no token.
 * @typedef {object} Misfit
 * @property {string} title
 * @property {string} advice
 * @property {{from: number, to: number} | null} at the place of the mistake in the text as it was pasted
 * @property {string | null} corrected the token as it would be with one character changed, if the checksum says that
 */

const PREFIX = "cav1_";
// Sequences of terminals, and characters that are not seen: soft hyphens, zero-width and direction marks, the BOM.
const UNSEEN = /\x1b\[[0-?]*[ -/]*[@-~]|[\0\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]/g;
const QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d\\";
const BRACKETS = "<>()[]*";
const AFTER = ".,;:!?\u2026\u3002\uff0c";
const LINE_STARTS = " \t\xa0>|\u2502\u2503";
const LINE_ENDS = " \t\xa0\\|\u2502\u2503\r";
const BEFORE = new RegExp(
  "^(?:(?:export|set|-H|--header)\\s+[\"']?)*" +
  "(?:(?:proxy-)?authorization\\s*[:=]|x-auth-token\\s*[:=]|bearer(?:\\s*[:=]|\\s)" +
  "|[\"']?\\btoken[\"']?(?:\\s*[:=]|\\s)|(?:\\$env:)?[a-z_]\\w{0,40}\\s*=\\s*(?=[\"']?cav1_))\\s*", "i");
const SCHEME = /^(basic|digest|dpop|negotiate|ntlm|hawk|apikey|macaroon|aws4-hmac-sha256)(?:\s|:|$)/i;
const JWT = /^eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){1,4}$/;
const VARIABLE = /^(?:\$\{?[A-Za-z_]\w*\}?|%\w+%|\$env:\w+)$/;
const TOKEN_ID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const STRANGE = /[^A-Za-z0-9_.+/=-]/u;
/** @type {[RegExp, string][]} */
const OTHERS = [
  [/^(?:gh[opsur]_|github_pat_)/, "a token of GitHub"],
  [/^glpat-/, "a token of GitLab"],
  [/^pypi-/, "a token of PyPI"],
  [/^(?:fm[12][ar]?_|FlyV1)/, "a token of Fly.io"],
  [/^xox[abeprs]-/, "a token of Slack"],
  [/^(?:sk-|sk_live_|sk_test_)/, "an API key"],
  [/^-----BEGIN /, "a key or certificate in PEM"],
  [/^W3s/, "a list of a bakery's macaroons"],
];
const OURS = "A token of Caveats begins with cav1_.";

/** What a pasted text holds. Never throws. @param {string} pasted @returns {Pasted} */
export function readPasted(pasted) {
  /** @type {Set<string>} */
  const taken = new Set();
  const seen = pasted.replace(UNSEEN, () => { taken.add("characters that are not seen"); return ""; });
  const lean = seen.trim().startsWith("{") ? seen.trim() : asBase64url(joined(strip(seen, taken), taken));
  if (lean === "") {
    const misfit = pasted.trim() === "" ? null : wrong("Nothing but what surrounds a token", `What is left without it is empty. ${OURS}`);
    return { bundle: null, text: "", taken: "", misfit };
  }
  try {
    const bundle = decoded(lean);
    return { bundle, text: lean, taken: listed([...taken]), misfit: null };
  } catch (error) {
    return { bundle: null, text: "", taken: "", misfit: misfitOf(pasted, seen.trim(), lean, /** @type {Error} */ (error)) };
  }
}

/** @param {string} text */
const decoded = (text) => decodeBundle(text, { decode: decodeAny });

/** @param {string} text */
function isToken(text) {
  try {
    decoded(text);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} title @param {string} advice @param {Partial<Misfit>} [more] @returns {Misfit} */
const wrong = (title, advice, more) => ({ title, advice, at: null, corrected: null, ...more });

/** Without what stands around its lines, and around all of it; the words are still apart. @param {string} text @param {Set<string>} taken */
function strip(text, taken) {
  if (text.trim().includes("\n")) {
    const lines = text.trim().split("\n").map((line) => {
      const bare = trimmed(trimmed(line.trim(), LINE_STARTS, true), LINE_ENDS, false);
      if (bare.length < line.trim().length) taken.add("marks beside its lines");
      return bare;
    });
    const last = lines.pop() ?? "";
    text = [...lines.map((line) => line.replace(/=$/, "")), last].join("\n"); // "=" is a mail's soft break
  }
  for (let before; text !== before;) {
    before = text;
    text = around(text.trim(), QUOTES, "quotes", taken);
    text = around(text, BRACKETS, "brackets", taken);
    const ended = trimmed(text, AFTER, false);
    if (ended !== text) taken.add("a mark at its end");
    text = ended;
    const found = BEFORE.exec(text);
    if (found) {
      text = text.slice(found[0].length);
      taken.add(nameOfBefore(found[0]));
    }
  }
  return text;
}

/** @param {string} before */
function nameOfBefore(before) {
  if (/bearer/i.test(before)) return "the word Bearer";
  if (/authorization/i.test(before)) return "the header's name Authorization";
  if (/x-auth-token/i.test(before)) return "the header's name X-Auth-Token";
  return "a name before it";
}

/** @param {string} text @param {string} marks @param {string} name @param {Set<string>} taken */
function around(text, marks, name, taken) {
  const bare = trimmed(trimmed(text, marks, true), marks, false);
  if (bare !== text) taken.add(name);
  return bare;
}

/** @param {string} text @param {string} marks @param {boolean} start at its start, or at its end */
function trimmed(text, marks, start) {
  let from = 0;
  let to = text.length;
  while (start && from < to && marks.includes(/** @type {string} */ (text[from]))) from++;
  while (!start && from < to && marks.includes(/** @type {string} */ (text[to - 1]))) to--;
  return text.slice(from, to);
}

/** @param {string} text @param {Set<string>} taken */
function joined(text, taken) {
  const whole = text.replace(/[\s\x85\x1c-\x1f]+/g, "");
  if (whole !== text) taken.add(text.includes("\n") ? "line breaks" : "spaces");
  return whole;
}

/** A macaroon in standard base64, or with padding, as the client takes it; any other text as it is. @param {string} text */
function asBase64url(text) {
  if (isToken(text)) return text;
  const bare = trimmed(text, "=", false).replaceAll("+", "-").replaceAll("/", "_");
  return bare !== text && isToken(bare) ? bare : text;
}

/** @param {string} pasted @param {string} seen @param {string} token @param {Error} error @returns {Misfit} */
function misfitOf(pasted, seen, token, error) {
  const words = strip(seen, new Set());
  if (/^[{[]/.test(seen)) return ofJson(seen) ?? wrong("This is no token", asSentence(error.message));
  if (/^https?:\/\//i.test(words)) {
    const own = words.match(/#(?:token=)?(cav1_\S+)$/);
    return own && isToken(/** @type {string} */ (own[1]))
      ? wrong("This is a link with a token in it", "Open the link, or take what stands behind token=.", { corrected: /** @type {string} */ (own[1]) })
      : wrong("This is an address, not a token", OURS);
  }
  const scheme = SCHEME.exec(words);
  if (scheme) {
    const name = `${/** @type {string} */ (scheme[1])[0]?.toUpperCase()}${scheme[1]?.slice(1).toLowerCase()}`;
    return wrong(name === "Basic" ? "This is a username and password, not a token" : `This is a credential for the scheme ${name}, not a token`, OURS);
  }
  if (VARIABLE.test(trimmed(trimmed(seen, "\"'", true), "\"'", false))) {
    return wrong("This is the name of a variable, not its value", "Print the variable where it is set, and paste what comes out.");
  }
  if (JWT.test(token)) return wrong("This is a JWT, not a token of Caveats", `What is in a JWT cannot be shown here. ${OURS}`);
  if (TOKEN_ID.test(token)) return wrong("This is a token's id, not its text", "The id names a token and is no secret. The text begins with cav1_.");
  for (const [pattern, what] of OTHERS) {
    if (pattern.test(token)) return wrong(`This is ${what}, not a token of Caveats`, `${OURS} If you did not mean to paste it, nothing has left this page.`);
  }
  if (token.toLowerCase().includes(PREFIX)) return damage(pasted, token, seen, error);
  return wrong("This is no token", asSentence(error.message));
}

/** @param {string} text @returns {Misfit | null} */
function ofJson(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (Array.isArray(value)) return wrong("This is a list in JSON, not a token", OURS);
  if (typeof value.token !== "string") return null;
  return wrong("This is an answer of the service, with the token in its member token", "Take the value of token alone.",
    { corrected: isToken(value.token) ? value.token : null });
}

/** Why a text with `cav1_` in it is no token. @param {string} pasted @param {string} token @param {string} seen @param {Error} error @returns {Misfit} */
function damage(pasted, token, seen, error) {
  const dots = /\u2026|\.\.\./.exec(pasted);
  if (dots && /\u2026|\.\.\./.test(seen)) {
    return wrong("A display cut this token short", "Where the dots are, a part is left out. Copy it where it is shown whole.", { at: { from: dots.index, to: dots.index + dots[0].length } });
  }
  if (!token.startsWith(PREFIX)) {
    if (token.toLowerCase().startsWith(PREFIX)) {
      return wrong("The letters of this token became capitals or small", "It cannot be told which were which. Copy it as it was printed.");
    }
    const own = /(?<![A-Za-z0-9_-])cav1_[A-Za-z0-9_.-]+/.exec(pasted);
    const text = own ? trimmed(own[0], ".", false) : "";
    return wrong("There is a token, and other text around it", "Leave only what begins with cav1_.",
      { at: own && { from: own.index, to: own.index + text.length }, corrected: text && isToken(text) ? text : null });
  }
  if ((token.match(/(?<!\.)cav1_/g) ?? []).length > 1) return wrong("There is more than one token", "Paste one at a time.");
  const strange = STRANGE.exec(token);
  if (strange) {
    const at = pasted.indexOf(strange[0]);
    const code = `U+${/** @type {number} */ (strange[0].codePointAt(0)).toString(16).toUpperCase().padStart(4, "0")}`;
    const shown = /\p{L}|\p{P}|\p{S}/u.test(strange[0]) ? `${strange[0]} (${code})` : code;
    return wrong(`Character ${strange.index + 1} is ${shown}, which no token has`, "It was changed on the way, as word processors and chats do. Copy it anew.",
      { at: at < 0 ? null : { from: at, to: at + strange[0].length } });
  }
  if (error instanceof DamagedToken) return mistyped(pasted, token);
  return wrong("This token is damaged", asSentence(error.message));
}

/** Where the checksum of a token, or of one of a bundle's, says that the mistake is. @param {string} pasted @param {string} token @returns {Misfit} */
function mistyped(pasted, token) {
  const parts = token.split(".");
  const number = parts.findIndex((part) => !isToken(part));
  const part = /** @type {string} */ (parts[number]);
  const which = parts.length === 1 ? "This token" : number === 0 ? "The token before the first dot" : `Discharge ${number}`;
  const typo = findTypo(part);
  if (typo === null) {
    return wrong("The checksum does not match", `${which} was cut off at its end, or more than one character is wrong. Copy it anew.`);
  }
  const corrected = [...parts.slice(0, number), typo.corrected, ...parts.slice(number + 1)].join(".");
  const from = pasted.indexOf(part);
  return wrong(`${which} has a typo: ${typo.words}`, "So says its checksum, if nothing else is wrong.", {
    at: from < 0 ? null : { from: from + typo.at, to: from + typo.at + typo.size },
    corrected: isToken(corrected) ? corrected : null,
  });
}
