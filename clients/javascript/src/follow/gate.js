/**
 * Decides whether a verifier may grant: whether its keys and revocations are recent enough, on two clocks. Knows clocks and
 * limits, knows no network.
 *
 * @module
 */

import { Stale } from "../errors.js";
import { run } from "../hmac.js";
import { AudienceKeyring } from "../verify/keyring.js";
import { Verifier } from "../verify/verifier.js";
import { openLine, proofOf } from "./pages.js";
import { Replica, SKEW } from "./replica.js";

/** @typedef {import("./registration.js").Registration} Registration */
/** @typedef {import("./replica.js").Fresh} Fresh */
/** @typedef {import("./replica.js").Instant} Instant */

/**
 * Whether a verifier may grant. `starting`: not yet, it has never heard of all keys and revocations. `fresh`: yes. `stale`: it has
 * no news for longer than its bound, or its keys ended. `accepting`: it has no news, and still grants.
 *
 * @typedef {"starting" | "fresh" | "stale" | "accepting"} Health
 */

/**
 * A verifier's health, for health checks and logs.
 *
 * @typedef {object} Status
 * @property {boolean} ready whether it may grant
 * @property {Health} health
 * @property {Date | null} freshAt it knows every revocation before this time, on the service's clock
 * @property {number | null} staleness how many seconds ago that was
 * @property {number} epoch
 * @property {number} position
 * @property {string[]} keyIds
 * @property {Date | null} keysUntil when the keys end, unless the service confirms them before
 * @property {string} problem why it is not fresh, and what fails now; empty if nothing does
 */

const KEYS_EVERY = 3_600_000; // milliseconds between two requests for keys, at most

/** A verifier and its replica. */
export class FreshnessGate {
  replica = new Replica();
  /** @type {Map<"keys" | "feed", string>} the last failure with each, in words; removed at the next success */
  problems = new Map();
  #registration;
  #bound;
  #accepts;
  #clock;
  #monotonic;
  #hmac;
  /** @type {Instant | null} when the keys end */
  #keysUntil = null;

  /**
   * @param {Registration} registration
   * @param {import("../verify/verifier.js").VerifierOptions & {bound: number, accepts: boolean, clock: () => number,
   *   monotonic: () => number}} options `bound`: milliseconds; `clock`, `monotonic`: milliseconds, as `Date.now` and
   *   `performance.now` give them
   */
  constructor(registration, { bound, accepts, clock, monotonic, ...options }) {
    this.verifier = new Verifier(new AudienceKeyring(registration.audience, []), options);
    this.#registration = registration;
    this.#bound = bound;
    this.#accepts = accepts;
    this.#clock = clock;
    this.#monotonic = monotonic;
    this.#hmac = options.hmac;
  }

  // Questions

  /** Now. @returns {Instant} */
  get instant() {
    return { now: this.#clock(), tick: this.#monotonic() };
  }

  /** The health now. */
  get health() {
    return this.#judged(this.instant)[0];
  }

  /** Returns if the verifier may grant. Throws `Stale` if not. */
  check() {
    const [health, why] = this.#judged(this.instant);
    if (health === "fresh" || health === "accepting") return;
    throw new Stale([why, this.problem].filter(Boolean).join(": "), { clock: this.replica.clock });
  }

  /** All that fails now, in words, and how wrong this app's clock is. */
  get problem() {
    const failed = [...this.problems].sort().map(([what, words]) => `${what}: ${words}`);
    return [this.replica.clock, ...failed].filter(Boolean).join("; ");
  }

  /**
   * @param {Instant} instant
   * @returns {[Health, string]}
   */
  #judged(instant) {
    const { confirmed, known } = this.replica;
    const until = this.#keysUntil;
    if (!until || !confirmed) return ["starting", "this verifier has no keys yet"];
    if (instant.now >= until.now || instant.tick >= until.tick) {
      return ["stale", "this verifier's keys have not been confirmed in time"];
    }
    if (!known?.fresh) return ["starting", "this verifier has not heard of all revocations yet"];
    if (Math.max(known.fresh.at, confirmed.at) > instant.now + SKEW) {
      return ["stale", "what is known of revocations is from the future: a clock was wrong, then or now"];
    }
    const heard = ageOf(known.fresh, instant);
    const keys = ageOf(confirmed, instant);
    if (Math.max(heard, keys) <= this.#bound) return ["fresh", ""];
    const [what, age] =
      heard > this.#bound ? ["nothing heard of revocations", heard] : ["the service has not said which keys verify", keys];
    const why = `${what} for ${Math.round(age / 1000)} s, of ${this.#bound / 1000} s allowed`;
    return [this.#accepts ? "accepting" : "stale", why];
  }

  /** Whether the service is to be asked for keys again: three times within the bound, on the faster clock. */
  get areKeysDue() {
    const { confirmed } = this.replica;
    return !confirmed || ageOf(confirmed, this.instant) >= Math.min(KEYS_EVERY, this.#bound / 3);
  }

  /** Milliseconds until the verifier is stale if it hears nothing; 0 if it is. */
  get left() {
    const { confirmed, known } = this.replica;
    if (!confirmed || !known?.fresh) return 0;
    const { instant } = this;
    return Math.max(0, this.#bound - Math.max(ageOf(known.fresh, instant), ageOf(confirmed, instant)));
  }

  /** The status now. Asks nobody. @returns {Status} */
  status() {
    const { instant, replica } = this;
    const [health, why] = this.#judged(instant);
    const fresh = replica.known?.fresh ?? null;
    return {
      ready: health === "fresh" || health === "accepting",
      health,
      freshAt: fresh && new Date(fresh.at),
      staleness: fresh && Math.max(0, ageOf(fresh, instant)) / 1000,
      epoch: replica.epoch,
      position: replica.known?.position ?? 0,
      keyIds: replica.keyIds,
      keysUntil: this.#keysUntil && new Date(this.#keysUntil.now),
      problem: [why, this.problem].filter(Boolean).join("; "),
    };
  }

  /** The proof that this verifier has a key, which the service asks for at the feed; undefined without a key. */
  async proof() {
    const { keyring } = this.replica;
    const [newest] = this.replica.keyIds.sort((one, other) => Number(other.slice(1)) - Number(one.slice(1)));
    return keyring && newest ? run(proofOf(keyring, newest, this.instant.now), this.#hmac) : undefined;
  }

  // Changes

  /**
   * Take in a key bundle in its box, `took` milliseconds after it was asked for; true if the keys changed. Throws
   * `RejectedDelivery`, `NoCrypto`.
   *
   * @param {import("../bytes.js").Bytes} box
   * @param {number} took
   * @returns {Promise<boolean>}
   */
  async takeBox(box, took) {
    const bundle = await this.#registration.open(box);
    try {
      return this.replica.takeBundle(bundle, this.instant, took);
    } finally {
      this.#publish();
    }
  }

  /**
   * Take in a line of the feed. Throws `RejectedDelivery`; `UnknownSeal` if the key that opens it is not here.
   *
   * @param {string} line
   * @returns {Promise<import("./replica.js").Next>}
   */
  async takeLine(line) {
    for (;;) {
      const keyring = this.replica.keyring ?? new AudienceKeyring(this.#registration.audience, []);
      const { page, seal } = await run(openLine(line, keyring), this.#hmac);
      if (this.replica.keyring !== keyring) continue; // other keys came meanwhile: is its own still among them?
      try {
        return this.replica.takePage(page, seal, this.instant);
      } finally {
        this.#publish();
      }
    }
  }

  /** Forget revocations of tokens that have expired by the feed's time, which all share, not by this machine's. */
  prune() {
    const fresh = this.replica.known?.fresh;
    if (fresh) this.verifier.revocations.prune(fresh.at - SKEW);
  }

  /** Give the verifier its keys and revocations. */
  #publish() {
    const { keyring, known, bundle } = this.replica;
    const { verifier } = this;
    if (keyring && keyring !== verifier.keyring) verifier.keyring = keyring;
    if (known && known.revocations !== verifier.revocations) verifier.revocations = known.revocations;
    if (bundle && bundle.notAfter !== this.#keysUntil?.now) {
      const { now, tick } = this.instant;
      this.#keysUntil = { now: bundle.notAfter, tick: tick + bundle.notAfter - now };
    }
  }
}

/**
 * Milliseconds since then, on the clock that shows more of them: setting a clock back makes nothing fresh.
 *
 * @param {Fresh} fresh
 * @param {Instant} instant
 * @returns {number}
 */
function ageOf(fresh, instant) {
  return Math.max(instant.now - fresh.at, instant.tick - fresh.tick);
}
