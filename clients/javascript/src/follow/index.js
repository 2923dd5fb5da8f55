/**
 * A verifier that keeps its keys and revocations fresh in the background, over the service's feed.
 *
 * Does the I/O: `requests.js` decides what to ask for, `replica.js` what to accept, `gate.js` whether to grant. Nothing is
 * stored: after a restart the service has to be there once.
 *
 * @module
 */

import { decodeBase64 } from "../bytes.js";
import { serviceAddress } from "../client/address.js";
import { parseDuration } from "../durations.js";
import { InvalidKey, RejectedDelivery, Revoked, Stale, UnknownKey, UnsatisfiedCaveats } from "../errors.js";
import { FreshnessGate } from "./gate.js";
import { UnknownSeal } from "./pages.js";
import { Registration } from "./registration.js";
import { Unconfirmed } from "./replica.js";
import { Backoff, CannotRead, LineReader, SILENCE, checkAnswer, feedRequest, secondsToWait } from "./requests.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("../verify/grant.js").Grant} Grant */
/** @typedef {import("../verify/verifier.js").Facts} Facts */
/** @typedef {import("./gate.js").Health} Health */
/** @typedef {import("./gate.js").Status} Status */
/** @typedef {import("./registration.js").RegistrationFile} RegistrationFile */

/**
 * @typedef {object} Following
 * @property {AbortSignal} [signal] ends the background work; from then on every token is refused
 * @property {string | number} [maxStaleness] how long the verifier grants without news of revocations: `30s`, or seconds
 * @property {"refuse" | "accept"} [onStale] what happens then: it refuses every token, or grants without the newest revocations
 *   until the keys end
 * @property {string | number} [startTimeout] how long the first question waits until the verifier is ready: `10s`
 * @property {(status: Status) => void} [onChange] called when the health changes
 * @property {string} [url] the service's address, in place of the registration's
 * @property {string} [feedUrl] a mirror of the feed
 * @property {boolean} [allowHttp] plain http to any machine
 * @property {typeof fetch} [fetch]
 * @property {() => number} [clock] milliseconds, as `Date.now`
 * @property {() => number} [monotonic] milliseconds, as `performance.now`
 * @property {number} [silence] milliseconds without news after which a stream counts as broken
 */

/** @typedef {import("../verify/verifier.js").VerifierOptions & Following} FollowOptions */

const MISSES_STAY = 1_000; // until the service is asked again about an unknown key id, and between two fetches in the background
const AFTER_A_FALSE_HINT = 2_000; // between two fetches in the background while they bring no other keys
const MOST_MISSES = 3; // unknown key ids that the service is asked about in that time
const FETCH_WITHIN = 5_000; // for a fetch of keys
const LARGEST_BOX = 64 * 1024; // bytes of an answer with keys, of which each takes 80
const WATCH_EVERY = 250;
const PRUNE_EVERY = 600_000;

/**
 * A verifier for the audience of a registration. It starts at once, and runs until `signal` is aborted.
 *
 * Throws `InvalidKey` for a content that is no completed registration, `MalformedDuration`, and `UnusableAddress` for an address
 * that is not https, nor http to this machine.
 *
 * @param {RegistrationFile} registration the content of the file that `caveats verifier register` completed
 * @param {FollowOptions} [options]
 * @returns {LocalVerifier}
 */
export function follow(registration, options) {
  return new LocalVerifier(registration, options);
}

/** What `follow` gives. It fits into every guard. */
export class LocalVerifier {
  #registration;
  #gate;
  #signal;
  #fetch;
  #onChange;
  #silence;
  #startTimeout;
  #keysUrl;
  #feedUrl;
  #hasWaited = false;
  #keysWanted = new Bell();
  #keysCame = new Bell();
  #changed = new Bell();
  #isReady = new Bell();
  /** @type {Promise<boolean> | undefined} */
  #fetching;
  #tried = -Infinity;
  #succeeded = false;
  #pause = MISSES_STAY;
  #keysDue = -Infinity;
  #keyWaits = new Backoff();
  /** @type {Map<string, number>} */
  #missed = new Map();

  /**
   * Made by `follow`.
   *
   * @param {RegistrationFile} file
   * @param {FollowOptions} [options]
   */
  constructor(file, options = {}) {
    const { signal = new AbortController().signal, maxStaleness = 30, onStale = "refuse", startTimeout = 10, ...rest } = options;
    const { onChange = () => {}, url, feedUrl, allowHttp = false, fetch = globalThis.fetch, silence = SILENCE, ...more } = rest;
    const { clock = Date.now, monotonic = () => performance.now(), ...verifying } = more;
    const bound = millisecondsOf(maxStaleness);
    if (!bound) throw new TypeError("maxStaleness is longer than nothing");
    if (onStale !== "refuse" && onStale !== "accept") throw new TypeError("onStale is refuse or accept");
    this.#registration = new Registration(file);
    this.#gate = new FreshnessGate(this.#registration, { ...verifying, bound, accepts: onStale === "accept", clock, monotonic });
    this.#signal = signal;
    this.#fetch = (/** @type {string} */ address, /** @type {RequestInit} */ how) => fetch(address, how);
    this.#onChange = onChange;
    this.#silence = silence;
    this.#startTimeout = millisecondsOf(startTimeout);
    const service = serviceAddress(url ?? this.#registration.url, allowHttp).base;
    this.#keysUrl = `${service}/v1/verifiers/${this.#registration.verifierId}/keys`;
    this.#feedUrl = `${feedUrl === undefined ? service : serviceAddress(feedUrl, allowHttp).base}/v1/revocations/feed`;
    this.#keysWanted.ring();
    for (const work of [this.#follow, this.#tendKeys, this.#watch]) this.#forever(work);
  }

  /** The audience whose tokens are verified. */
  get audience() {
    return this.#registration.audience;
  }

  /** The status now, for health checks. Sends nothing. @returns {Status} */
  status() {
    return this.#gate.status();
  }

  /**
   * Returns when the verifier may grant. Throws `Stale` after `timeout`; the background work goes on.
   *
   * @param {string | number} [timeout] `startTimeout` if left out
   */
  async ready(timeout) {
    const most = timeout === undefined ? this.#startTimeout : millisecondsOf(timeout);
    const until = this.#tick + most;
    while (!this.#signal.aborted && !this.status().ready && this.#tick < until) {
      this.#isReady.reset();
      await this.#isReady.wait(Math.min(WATCH_EVERY, until - this.#tick), this.#signal);
    }
    this.#hasWaited = true;
    this.#checkOpen();
    const { ready, problem } = this.status();
    if (!ready) throw new Stale(`not ready within ${most / 1000} s: ${problem || "the service takes too long"}`);
  }

  /**
   * The grant for this token and this request. Throws as `Verifier.verify`; also `Stale` if revocations or keys are too old.
   *
   * @param {string | import("../token/macaroon.js").Macaroon | import("../token/macaroon.js").Bundle} presented
   * @param {Facts} [facts]
   * @returns {Promise<Grant>}
   */
  async verify(presented, facts = {}) {
    if (!this.#hasWaited) await this.ready();
    this.#checkOpen();
    const gate = this.#gate;
    gate.check();
    const context = { now: new Date(gate.instant.now), ...facts };
    try {
      return await gate.verifier.verify(presented, context);
    } catch (error) {
      const isMissing = error instanceof UnknownKey || error instanceof Revoked;
      const keyId = isMissing && /** @type {any} */ (error.cause)?.keyId;
      if (!keyId || !(await this.#keyTurnedUp(keyId))) throw error;
    }
    gate.check();
    return gate.verifier.verify(presented, context);
  }

  /**
   * The caveats that refuse this request; empty where `verify` grants. Throws as `verify` otherwise.
   *
   * @param {Parameters<LocalVerifier["verify"]>[0]} presented
   * @param {Facts} [facts]
   * @returns {Promise<readonly import("../kinds/checkers.js").Failure[]>}
   */
  async failures(presented, facts) {
    try {
      await this.verify(presented, facts);
    } catch (error) {
      if (!(error instanceof UnsatisfiedCaveats)) throw error;
      return /** @type {any} */ (error.cause).failures;
    }
    return [];
  }

  #checkOpen() {
    if (this.#signal.aborted) throw new Stale("this verifier has been closed");
  }

  get #tick() {
    return this.#gate.instant.tick;
  }

  // Keys

  /**
   * Whether a key is here now. Fetches keys for it at most once a second, for all who wait.
   *
   * All wait for the first second of a fetch, and nobody for the rest: a stranger who names keys that there are not must not
   * hold requests while the service is silent. Throws `Stale` if the service cannot be asked.
   *
   * @param {string} keyId
   * @returns {Promise<boolean>}
   */
  async #keyTurnedUp(keyId) {
    const { replica } = this.#gate;
    if (replica.keyIds.includes(keyId)) return true;
    if (replica.isDead(keyId)) return false;
    if (this.#fetching || this.#mayAskFor(keyId)) {
      const left = this.#fetching ? this.#tried + MISSES_STAY - this.#tick : MISSES_STAY;
      await Promise.race([this.#fetchKeys(), sleep(Math.max(0, left), this.#signal)]);
    }
    if (replica.keyIds.includes(keyId)) return true;
    if (this.#fetching || !this.#succeeded) {
      const why = this.#gate.problem || "it takes too long";
      throw new Stale(`a token under key ${keyId}, which is not here, and the service cannot be asked for it: ${why}`);
    }
    return false;
  }

  /**
   * Whether the service may be asked: not about this key within a second, and about fewer than three others.
   *
   * @param {string} keyId
   * @returns {boolean}
   */
  #mayAskFor(keyId) {
    const tick = this.#tick;
    for (const [other, at] of this.#missed) if (tick - at >= MISSES_STAY) this.#missed.delete(other);
    if (this.#missed.has(keyId) || this.#missed.size >= MOST_MISSES) return false;
    this.#missed.set(keyId, tick);
    return true;
  }

  /** Whether the keys could be fetched. Those who come while a fetch is under way share it. */
  #fetchKeys() {
    this.#fetching ??= this.#fetchOnce().finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  async #fetchOnce() {
    const began = (this.#tried = this.#tick);
    const gate = this.#gate;
    try {
      const box = await this.#box();
      const changed = await gate.takeBox(box, this.#tick - began);
      this.#pause = changed ? MISSES_STAY : AFTER_A_FALSE_HINT;
    } catch (error) {
      this.#succeeded = false;
      this.#keysDue = this.#tick + this.#keyWaits.failed(this.#failed("keys", error), gate.left);
      return false;
    }
    this.#succeeded = true;
    gate.problems.delete("keys");
    this.#keyWaits.failures = 0;
    this.#keysDue = Infinity; // when the gate says so
    this.#keysCame.ring();
    this.#changed.ring();
    return true;
  }

  /**
   * The key bundle in its box.
   *
   * @returns {Promise<Bytes>}
   */
  async #box() {
    const deadline = new Deadline(FETCH_WITHIN, this.#signal);
    try {
      return await this.#boxIn(deadline.signal);
    } finally {
      deadline.end();
    }
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Bytes>}
   */
  async #boxIn(signal) {
    const response = await this.#fetch(this.#keysUrl, { headers: { Accept: "application/json" }, redirect: "manual", signal });
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body ?? new Blob().stream()).getReader();
    let body = "";
    let size = 0;
    const decoder = new TextDecoder();
    for (let read; !(read = await reader.read()).done; ) {
      size += read.value.length;
      if (size > LARGEST_BOX) throw new CannotRead("the service gives no keys: its answer is too large");
      body += decoder.decode(read.value, { stream: true });
    }
    if (response.status === 404 && body.includes('"not_found"')) {
      throw new CannotRead("the service does not know this verifier: it was never registered, or was revoked");
    }
    const retryAfter = secondsToWait(response.headers) * 1000;
    if (response.status !== 200) throw new CannotRead(`the service gives no keys: it answers ${response.status}`, { retryAfter });
    try {
      return decodeBase64(JSON.parse(body).box);
    } catch {
      throw new CannotRead("the service gives no keys: its answer has none");
    }
  }

  /** Fetch keys when the gate says that they are due, when a page names others, and again after a failure. */
  async #tendKeys() {
    await this.#keysWanted.wait(WATCH_EVERY, this.#signal);
    const due = this.#keysDue < Infinity ? this.#tick >= this.#keysDue : this.#gate.areKeysDue;
    if (due || this.#keysWanted.isRung) await this.#fetchAgain();
  }

  /** Fetch keys, not sooner after the last time than the pause that is kept. */
  async #fetchAgain() {
    await sleep(this.#tried + this.#pause - this.#tick, this.#signal);
    this.#keysWanted.reset();
    await this.#fetchKeys();
  }

  // The feed

  #backoff = new Backoff();
  #hasGap = false;

  /** Send one request for the feed, read its answer, and wait until the next is to be sent. */
  async #follow() {
    const gate = this.#gate;
    const proof = await gate.proof();
    if (!proof) {
      this.#keysCame.reset();
      await this.#keysCame.wait(1_000, this.#signal);
      return;
    }
    const began = this.#tick;
    const { replica } = gate;
    const mode = this.#backoff.mode(replica.behind || this.#hasGap, began);
    const attempt = { heard: false, news: false, gap: false };
    let wait;
    try {
      await this.#read(mode, proof, attempt);
      wait = this.#backoff.ended(mode, attempt.news, this.#tick - began);
    } catch (error) {
      const asked = this.#failed("feed", error);
      const isUnsuited = isTimeout(error) || (error instanceof CannotRead && error.unsuited);
      if (mode === "stream" && !attempt.heard && isUnsuited) this.#backoff.noStream(this.#tick);
      if (error instanceof RejectedDelivery || (error instanceof CannotRead && error.unproved)) this.#keysWanted.ring();
      if (attempt.news) this.#backoff.failures = 0;
      wait = this.#backoff.failed(asked, gate.left);
    }
    this.#hasGap = attempt.gap;
    await sleep(wait, this.#signal);
  }

  /**
   * @param {import("./requests.js").Mode} mode
   * @param {string} proof
   * @param {{heard: boolean, news: boolean, gap: boolean}} attempt its result, also where this throws
   */
  async #read(mode, proof, attempt) {
    const { query, headers, patience } = feedRequest(mode, this.#registration, this.#gate.replica.place, proof, this.#silence);
    const deadline = new Deadline(patience, this.#signal);
    const { signal } = deadline;
    try {
      const response = await this.#fetch(`${this.#feedUrl}?${query}`, { headers, redirect: "manual", signal });
      checkAnswer(mode, response);
      const lines = new LineReader(mode);
      const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      for (let read; !(read = await reader.read()).done; ) {
        for (const line of lines.take(read.value)) {
          deadline.stop(); // the time that is spent here is not the service's
          const { fetchKeys, news, reconnect } = await this.#take(line);
          if (this.#signal.aborted) return;
          // Only news extends the deadline: incomplete lines and old pages do not.
          if (news) deadline.extend();
          deadline.go();
          attempt.heard = true;
          if (fetchKeys) this.#keysWanted.ring();
          if (news) {
            lines.heardNews();
            attempt.news = true;
            this.#gate.problems.delete("feed");
            this.#changed.ring();
          }
          if (reconnect) {
            attempt.gap = true;
            return;
          }
        }
      }
    } finally {
      deadline.end();
    }
  }

  /**
   * @param {string} line
   * @returns {Promise<import("./replica.js").Next>}
   */
  async #take(line) {
    try {
      return await this.#gate.takeLine(line);
    } catch (error) {
      if (!(error instanceof UnknownSeal || error instanceof Unconfirmed)) throw error;
    }
    await this.#fetchAgain();
    return this.#gate.takeLine(line);
  }

  // Health

  /** @type {Health | undefined} */
  #healthBefore;
  /** @type {number | undefined} */
  #pruneAt;

  /** Report changes of the health, and forget revocations of tokens that have expired. */
  async #watch() {
    const { health } = this.#gate;
    const before = this.#healthBefore;
    this.#healthBefore = health;
    if (this.status().ready) this.#isReady.ring();
    if (before && health !== before) this.#onChange(this.status());
    this.#pruneAt ??= this.#tick + PRUNE_EVERY;
    if (this.#tick >= this.#pruneAt) {
      this.#pruneAt = undefined;
      this.#gate.prune();
    }
    this.#changed.reset();
    await this.#changed.wait(WATCH_EVERY, this.#signal);
  }

  /**
   * Note what failed, in words. Milliseconds that the answer asked to wait.
   *
   * @param {"keys" | "feed"} what
   * @param {unknown} error
   * @returns {number}
   */
  #failed(what, error) {
    if (this.#signal.aborted) return 0;
    const isOurs = error instanceof CannotRead || error instanceof RejectedDelivery || error instanceof InvalidKey;
    const code = /** @type {any} */ (error)?.cause?.code ?? /** @type {any} */ (error)?.code;
    const words = isTimeout(error)
      ? "nothing new in time"
      : isOurs || code === "no_crypto"
        ? /** @type {Error} */ (error).message
        : `cannot reach the service (${typeof code === "string" ? code : /** @type {any} */ (error)?.name})`;
    this.#gate.problems.set(what, words);
    return error instanceof CannotRead ? error.retryAfter : 0;
  }

  /**
   * Do some work again and again until the end. Whatever goes wrong in it, the work goes on.
   *
   * @param {() => Promise<void>} work
   */
  async #forever(work) {
    while (!this.#signal.aborted) {
      try {
        await work.call(this);
      } catch (error) {
        if (!this.#signal.aborted) console.error("a verifier's background work failed, and begins again:", error);
        await sleep(1_000, this.#signal);
      }
    }
  }
}

/**
 * Throws `MalformedDuration`.
 *
 * @param {string | number} duration a number is seconds
 * @returns {number}
 */
function millisecondsOf(duration) {
  return typeof duration === "number" && duration >= 0 && duration < Infinity ? duration * 1000 : parseDuration(duration) * 1000;
}

/** Something to wait for, with a time limit. It stays rung until it is reset. */
class Bell {
  isRung = false;
  /** @type {Set<() => void>} */
  #waiting = new Set();

  ring() {
    this.isRung = true;
    for (const wake of this.#waiting) wake();
  }

  reset() {
    this.isRung = false;
  }

  /**
   * @param {number} most milliseconds
   * @param {AbortSignal} signal
   */
  async wait(most, signal) {
    if (this.isRung) return;
    /** @type {() => void} */
    let wake = () => {};
    await sleep(most, signal, (awake) => this.#waiting.add((wake = awake)));
    this.#waiting.delete(wake);
  }
}

/**
 * A time limit that can be stopped and extended. Its signal aborts with a `TimeoutError` when it has passed, and with the signal
 * of the whole work. (`AbortSignal.any` would keep something of each request for as long as that one lives.)
 */
class Deadline {
  #controller = new AbortController();
  #whole;
  #patience;
  #until;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #abort = () => this.#controller.abort();

  /**
   * @param {number} patience milliseconds
   * @param {AbortSignal} whole
   */
  constructor(patience, whole) {
    this.#whole = whole;
    if (whole.aborted) this.#abort();
    whole.addEventListener("abort", this.#abort);
    this.#patience = patience;
    this.#until = performance.now() + patience;
    this.go();
  }

  get signal() {
    return this.#controller.signal;
  }

  extend() {
    this.#until = performance.now() + this.#patience;
  }

  go() {
    const passed = () => this.#controller.abort(new DOMException("nothing new in time", "TimeoutError"));
    this.#timer = setTimeout(passed, Math.max(0, this.#until - performance.now()));
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** Stop, and close whatever was opened under the signal. */
  end() {
    this.stop();
    this.#whole.removeEventListener("abort", this.#abort);
    this.#abort();
  }
}

/**
 * Returns after some time, or when a signal is aborted.
 *
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @param {(wake: () => void) => void} [began] given what ends it sooner
 * @returns {Promise<void>}
 */
function sleep(milliseconds, signal, began = () => {}) {
  return new Promise((resolve) => {
    if (signal.aborted || milliseconds <= 0) return resolve();
    const awake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", awake);
      resolve();
    };
    const timer = setTimeout(awake, milliseconds);
    signal.addEventListener("abort", awake);
    began(awake);
  });
}

/**
 * @param {unknown} error
 * @returns {boolean}
 */
function isTimeout(error) {
  return error instanceof Error && error.name === "TimeoutError";
}
