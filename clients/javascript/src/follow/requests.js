/**
 * Requests for the feed of revocations: which one to send, when to send the next, and how to split answers into lines.
 *
 * Opens nothing. Knows the three forms of the feed: server-sent events, long-poll, and the whole feed at once. If a proxy holds
 * events back, no line arrives; then the verifier polls. Whoever answers may be a mirror that means harm: what is read without
 * news is bounded in bytes and lines, after unpacking. Times are milliseconds.
 *
 * @module
 */

import { concat } from "../bytes.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {"catch up" | "stream" | "poll"} Mode everything up to now; server-sent events; by long-poll */

/** Without news for so long a stream counts as broken: three heartbeats. */
export const SILENCE = 6_000;
const POLL_SECONDS = 4; // short enough that a change of keys alone, which ends no poll, is seen in five
const LONGEST_LINE = 1024 * 1024; // bytes of a line, and of an event. A page of 5000 entries has 750 KiB at most
const MOST_WITHOUT_NEWS = 2 * 1024 * 1024; // bytes of an answer without anything new in them
const MOST_LINES_WITHOUT_NEWS = 1000; // of an answer, empty ones too
const LEAST_CHUNK = 128; // bytes that a smaller chunk counts as: each takes its time, whatever is in it
const POLL_FOR = 300_000; // after so long of polling events are tried again
const FIRST_WAIT = 250; // after a failure, doubled at each failure up to the longest
const LONGEST_WAIT = 5_000;
const LONGEST_ASKED = 30_000; // that an answer may ask to wait: at most half of what is left until the verifier is stale

/** The answer is not the feed, or no keys. */
export class CannotRead extends Error {
  /**
   * @param {string} message
   * @param {{retryAfter?: number, unsuited?: boolean, unproved?: boolean}} [why] `retryAfter`: milliseconds that the service asked to
   *   wait; `unsuited`: another mode may work; `unproved`: the service no longer accepts the key that was proved
   */
  constructor(message, { retryAfter = 0, unsuited = false, unproved = false } = {}) {
    super(message);
    this.retryAfter = retryAfter;
    this.unsuited = unsuited;
    this.unproved = unproved;
  }
}

/**
 * The request for the pages after a place. `patience`: how long to wait between two lines with news.
 *
 * @param {Mode} mode
 * @param {{audience: string, verifierId: string}} identity
 * @param {{after: number, epoch: number | null}} place
 * @param {string} proof that this verifier has a key of its audience
 * @param {number} silence
 * @returns {{query: string, headers: Record<string, string>, patience: number}}
 */
export function feedRequest(mode, { audience, verifierId }, { after, epoch }, proof, silence) {
  const query = new URLSearchParams({ audience, after: String(after) });
  if (epoch !== null) query.set("epoch", String(epoch));
  if (mode === "poll") query.set("wait", String(POLL_SECONDS));
  const shown = { "X-Feed-Proof": proof, "X-Feed-Verifier": verifierId, "Cache-Control": "no-store" };
  const headers =
    mode === "stream"
      ? { ...shown, Accept: "text/event-stream", "Accept-Encoding": "identity" }
      : { ...shown, Accept: "application/x-ndjson" };
  return { query: query.toString(), headers, patience: silence + (mode === "poll" ? POLL_SECONDS * 1000 : 0) };
}

/**
 * Throws `CannotRead` for an answer that is not the feed.
 *
 * @param {Mode} mode
 * @param {Response} response
 */
export function checkAnswer(mode, { status, headers }) {
  const events = mode === "stream";
  if (status !== 200) {
    throw new CannotRead(
      status === 403
        ? "the service does not let this verifier read the feed (403): are its keys retired, or its clock off?"
        : `the feed answers ${status}`,
      {
        retryAfter: secondsToWait(headers) * 1000,
        unsuited: events && [404, 405, 406, 415, 500, 501, 505].includes(status),
        unproved: status === 403,
      },
    );
  }
  if (events && !/^text\/event-stream *(;|$)/i.test(headers.get("content-type") ?? "")) {
    throw new CannotRead("a proxy answers with something other than an event stream", { unsuited: true });
  }
}

/**
 * The seconds in a header `Retry-After`, which has them or a date (RFC 9110, section 10.2.3); 0 for anything else.
 *
 * @param {Headers} headers
 * @returns {number}
 */
export function secondsToWait(headers) {
  const asked = headers.get("retry-after") ?? "";
  if (/^[0-9]{1,9}$/.test(asked)) return Number(asked);
  const until = Date.parse(asked);
  const sent = Date.parse(headers.get("date") ?? "") || Date.now();
  return until ? Math.max(0, Math.ceil((until - sent) / 1000)) : 0;
}

/** The lines of the feed in an answer's bytes as they come, within bounds. */
export class LineReader {
  #events;
  /** What is not UTF-8 becomes U+FFFD, in one pass: such a line is authentic under no key. */
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** @type {Bytes} */
  #rest = new Uint8Array();
  /** @type {string[]} */
  #data = [];
  #dataSize = 0;
  #bytesLeft = MOST_WITHOUT_NEWS;
  #linesLeft = MOST_LINES_WITHOUT_NEWS;

  /** @param {Mode} mode */
  constructor(mode) {
    this.#events = mode === "stream";
  }

  /** Begin to count anew: the lines so far had news. */
  heardNews() {
    this.#bytesLeft = MOST_WITHOUT_NEWS;
    this.#linesLeft = MOST_LINES_WITHOUT_NEWS;
  }

  /**
   * The lines that are complete with these bytes. Throws `CannotRead` for a line that is too long, and for more lines or bytes
   * than an answer may have without news.
   *
   * @param {Uint8Array} chunk
   * @returns {Generator<string>}
   */
  *take(chunk) {
    this.#bytesLeft -= Math.max(chunk.length, LEAST_CHUNK);
    if (this.#bytesLeft < 0) throw new CannotRead(`more than ${MOST_WITHOUT_NEWS} bytes without anything new`);
    let start = 0;
    for (let end; (end = chunk.indexOf(10, start)) >= 0; start = end + 1) {
      if (--this.#linesLeft < 0) throw new CannotRead(`more than ${MOST_LINES_WITHOUT_NEWS} lines without anything new`);
      const whole = concat(this.#rest, chunk.subarray(start, end));
      this.#rest = new Uint8Array();
      const line = this.#line(this.#decoder.decode(whole).replace(/\r$/, ""));
      if (line) yield line;
    }
    this.#rest = concat(this.#rest, chunk.subarray(start));
    if (this.#rest.length > LONGEST_LINE) throw new CannotRead("a line without an end");
  }

  /**
   * @param {string} text
   * @returns {string | undefined}
   */
  #line(text) {
    if (!this.#events) return text;
    if (text.startsWith("data:")) {
      this.#data.push(text.slice(5).replace(/^ /, ""));
      this.#dataSize += text.length;
      if (this.#dataSize > LONGEST_LINE) throw new CannotRead("an event without an end");
    } else if (!text && this.#data.length) {
      const data = this.#data.join("\n");
      this.#data = [];
      this.#dataSize = 0;
      return data;
    }
    return undefined;
  }
}

/** The mode of the next request, and how long to wait before it, by the results of the last ones. */
export class Backoff {
  failures = 0;
  #pollUntil = -Infinity;

  /**
   * The mode of the next request.
   *
   * @param {boolean} behind whether the whole feed is to be read
   * @param {number} tick
   * @returns {Mode}
   */
  mode(behind, tick) {
    return behind ? "catch up" : tick < this.#pollUntil ? "poll" : "stream";
  }

  /**
   * How long to wait after an answer that ended.
   *
   * @param {Mode} mode
   * @param {boolean} news whether it had something new
   * @param {number} took
   * @returns {number}
   */
  ended(mode, news, took) {
    if (!news) return this.failed();
    this.failures = 0;
    if (mode === "stream") return 200 * Math.random(); // the node stopped, or closed the stream
    return mode === "poll" ? Math.max(0, 200 - took) : 0;
  }

  /**
   * No events arrive: poll for some minutes, then try events again.
   *
   * @param {number} tick
   */
  noStream(tick) {
    this.#pollUntil = tick + POLL_FOR;
  }

  /**
   * How long to wait after a failed attempt: as long as the answer asked for, and never past the bound.
   *
   * @param {number} [asked]
   * @param {number} [left] until the verifier is stale. Whatever is on the way can ask to wait, and would make it so
   * @returns {number}
   */
  failed(asked = 0, left = Infinity) {
    this.failures++;
    // Chance keeps a thousand verifiers from asking at the same moment.
    let wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(this.failures - 1, 10)) * (0.5 + Math.random() / 2);
    if (left > 0) wait = Math.min(wait, Math.max(FIRST_WAIT, left / 2));
    return Math.max(wait, Math.min(asked, LONGEST_ASKED, left / 2));
  }
}
