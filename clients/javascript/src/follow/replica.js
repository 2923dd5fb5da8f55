/**
 * A verifier's replica of the service's keys and revocations, and the time up to which it is complete.
 *
 * Takes key bundles, pages of the feed and times; says where to read on and whether to fetch keys. Knows no network and no
 * token. The law of this module: in whatever order authentic pages arrive, and if some are missing, it never says that it is
 * complete up to a time while a revocation from before that time is missing.
 *
 * Which keys verify, which epoch it is and what time it is at the service is believed of the key bundle alone, which the pinned
 * service makes for this verifier. Whoever has an audience key can make a page: what a page says of these is a reason to fetch
 * keys. If a key is gone, all that was read in pages under it is read anew.
 *
 * A clock that was ahead makes a service leave out, and a verifier forget, what is not over. So what came at a time that now
 * lies in the future is dropped, and asked for again. That a clock was set back is not believed if the monotonic clock shows
 * that it was right before: else old pages could be passed off as new.
 *
 * All times are milliseconds: `now` since 1970 on the wall clock, which people can set, `tick` on the monotonic clock.
 *
 * @module
 */

import { MalformedCaveat, RejectedDelivery } from "../errors.js";
import { RevocationSet } from "../verify/revocations.js";

/** @typedef {import("../verify/keyring.js").AudienceKeyring} AudienceKeyring */
/** @typedef {import("./pages.js").Page} Page */
/** @typedef {import("./registration.js").KeyBundle} KeyBundle */

/**
 * One moment on both clocks.
 *
 * @typedef {{now: number, tick: number}} Instant
 */

/**
 * The replica has everything from before `at`, on the service's clock, and had it first at `tick`.
 *
 * @typedef {{at: number, tick: number}} Fresh
 */

/**
 * What to do after a page: fetch keys, since it names others; read again from `place`, since entries are missing before it.
 * `news`: it had something new, a revocation or a later time up to which there is none.
 *
 * @typedef {{fetchKeys: boolean, reconnect: boolean, news: boolean}} Next
 */

/**
 * The feed of one epoch, read up to `position`; `seals`: the ids of the keys of the pages that it was read from.
 *
 * @typedef {{epoch: number, position: number, revocations: RevocationSet, fresh: Fresh | null, seals: Set<string>}} Known
 */

/** How far ahead of the app's clock the service's may be. The service allows the app the same. */
export const SKEW = 300_000;
/** How long pages may end before the known position. After it, the service counts as having lost entries. */
const LOST_AFTER = 10_000;
/** How far ahead of the service's time, as the key bundle states it, a page may be: another node may have made it. */
const NODES_DIFFER = 10_000;
/** How long after a bundle left a key out no bundle brings it back: a node that is behind may have made it. */
const NODES_LAG = 600_000;
/** Clocks that NTP keeps differ by less. */
const WORTH_NAMING = 5_000;

/** A page that the newest key bundle does not bear out. Fetch keys, and take it again: it may have come first. */
export class Unconfirmed extends RejectedDelivery {}

/** The keys and revocations that a verifier has received. */
export class Replica {
  /** The epoch of the newest bundle. Pages and bundles of an older one are refused. */
  epoch = 0;
  /** The serial of the newest bundle. No older bundle is taken. */
  serial = 0;
  /** By how much this app's clock differs from the service's, in words; empty if it does not, or is not known. */
  clock = "";
  /** @type {AudienceKeyring | null} the keys that verify: those of the bundle, without the dead ones */
  keyring = null;
  /** @type {KeyBundle | null} */
  bundle = null;
  /** @type {Fresh | null} when the service made the newest bundle, and when that arrived: these keys verified then */
  confirmed = null;
  /** @type {Known | null} the revocations to verify against, once the feed has been read to its end */
  known = null;
  /** @type {Map<string, number>} ids of keys that a bundle of this epoch left out while it had newer ones, and its serial */
  #dead = new Map();
  /** @type {Known | null} */
  #building = knownOf(0);
  /** @type {number | null} */
  #shortSince = null;
  /** @type {Instant | null} when the first page or bundle came */
  #began = null;

  /** The ids of the keys that verify. */
  get keyIds() {
    return this.keyring?.keyIds ?? [];
  }

  /**
   * Whether a key has been retired.
   *
   * @param {string} keyId
   * @returns {boolean}
   */
  isDead(keyId) {
    return this.#dead.has(keyId);
  }

  /** Where to read on: after this sequence, in this epoch; null for the service's present one. */
  get place() {
    const { position, epoch } = this.#reading;
    return { after: position, epoch: epoch || null };
  }

  /** Whether the whole feed is still to be read, not only what is new. */
  get behind() {
    return this.#building !== null;
  }

  get #reading() {
    return /** @type {Known} */ (this.#building ?? this.known);
  }

  // Keys

  /**
   * Take a key bundle; true if the keys changed. Throws `RejectedDelivery`, and takes nothing.
   *
   * @param {KeyBundle} bundle
   * @param {Instant} instant
   * @param {number} took milliseconds since the service was asked for it
   * @returns {boolean}
   */
  takeBundle(bundle, instant, took) {
    this.#dropWhatIsAhead(instant);
    const { serial: madeAt, notAfter, epoch } = bundle;
    if (madeAt < this.serial) throw new RejectedDelivery("the key bundle is older than the one in use");
    const isNewer = madeAt > this.serial;
    if (isNewer) this.clock = wrongClock(madeAt, instant.now, took);
    if (madeAt > instant.now + SKEW) {
      throw new RejectedDelivery(`a key bundle from the future: ${this.clock || "a clock was wrong"}`);
    }
    if (instant.now >= notAfter) throw new RejectedDelivery(`the key bundle has expired${this.clock && `: ${this.clock}`}`);
    if (epoch < this.epoch) throw new RejectedDelivery("a key bundle from before the service was restored from a backup");
    let before = this.bundle?.keyring;
    if (epoch > this.epoch) {
      this.#enter(epoch);
      before = undefined;
    }
    // The same one again confirms nothing.
    if (isNewer || !this.confirmed) this.confirmed = { at: madeAt, tick: instant.tick };
    this.bundle = bundle;
    this.serial = madeAt;
    return this.#chooseKeys(bundle, before);
  }

  /**
   * Verify with the bundle's keys from now on; true if they changed.
   *
   * @param {KeyBundle} bundle
   * @param {AudienceKeyring | undefined} before the keys of the bundle before
   * @returns {boolean}
   */
  #chooseKeys({ keyring, serial }, before) {
    const newest = Math.max(0, ...keyring.keyIds.map(numberOf));
    const gone = before?.missingFrom(keyring) ?? [];
    for (const [keyId, at] of this.#dead) if (serial - at >= NODES_LAG) this.#dead.delete(keyId);
    for (const keyId of gone) if (!keyring.has(keyId) && numberOf(keyId) < newest) this.#dead.set(keyId, serial);
    const kept = keyring.without(new Set(this.#dead.keys()));
    // Whoever has a key that is gone may have made the pages under it.
    if ([...this.#reading.seals].some((seal) => gone.includes(seal) || !kept.has(seal))) this.#building = knownOf(this.epoch);
    const old = this.keyring;
    if (old && !old.missingFrom(kept).length && !kept.missingFrom(old).length) return false;
    this.keyring = kept;
    return true;
  }

  // Revocations

  /**
   * Take a page. `seal`: the id of its key. Throws `RejectedDelivery` for a page from the future or from an older epoch, and
   * `Unconfirmed` for one of an epoch or a time that the service has not confirmed.
   *
   * @param {Page} page
   * @param {string} seal
   * @param {Instant} instant
   * @returns {Next}
   */
  takePage(page, seal, instant) {
    if (page.at > instant.now + SKEW) {
      const why = this.clock || "a clock was wrong, here or at the service";
      throw new RejectedDelivery(`a page of the feed from the future: ${why}`);
    }
    this.#dropWhatIsAhead(instant);
    if (page.epoch < this.epoch) throw new RejectedDelivery("a page from before the service was restored from a backup");
    if (page.epoch > this.epoch) throw new Unconfirmed("a page of an epoch that the service's keys do not confirm");
    const serviceNow = this.#serviceNow(instant);
    if (page.at > serviceNow + NODES_DIFFER) throw new Unconfirmed("a page from a time that is still to come at the service");
    const next = { fetchKeys: this.#isNewsOfKeys(page), reconnect: false, news: false };
    const reading = this.#reading;
    const before = reading.position;
    if (page.after > before) return { ...next, reconnect: true };
    if (page.upto > before) {
      try {
        reading.seals.add(seal);
        reading.revocations.add(page.entries, before);
      } catch (error) {
        if (!(error instanceof MalformedCaveat)) throw error;
        throw new RejectedDelivery("a page of the feed in a form that this version cannot read");
      }
      reading.position = page.upto;
    }
    if (page.last < before) return { ...next, reconnect: this.#isLost(reading, page) };
    this.#shortSince = null;
    next.news = reading.position > before;
    if (page.upto < page.last) return next;
    if (!reading.fresh || page.at > reading.fresh.at) {
      next.news = true;
      // A mirror may have kept the page, and this clock be behind: it is as old as the service's time says.
      const heldBack = Number.isFinite(serviceNow) ? Math.max(0, serviceNow - page.at) : 0;
      reading.fresh = { at: page.at, tick: instant.tick - heldBack };
      reading.seals.add(seal);
    }
    this.known = reading;
    this.#building = null;
    return next;
  }

  /**
   * Whether a page, made after the bundle, names other keys.
   *
   * @param {Page} page
   * @returns {boolean}
   */
  #isNewsOfKeys(page) {
    if (this.bundle && page.at < this.bundle.serial) return false;
    const named = new Set(page.keys.filter((keyId) => !this.#dead.has(keyId)));
    return named.size !== this.keyIds.length || this.keyIds.some((keyId) => !named.has(keyId));
  }

  /**
   * The time at the service, at least, by its newest bundle and the monotonic clock; infinite without a bundle.
   *
   * @param {Instant} instant
   * @returns {number}
   */
  #serviceNow({ tick }) {
    return this.confirmed ? this.confirmed.at + tick - this.confirmed.tick : Infinity;
  }

  /**
   * Begin a new epoch: sequences start again at 0, and removed keys may come back.
   *
   * @param {number} epoch
   */
  #enter(epoch) {
    this.epoch = epoch;
    this.#dead.clear();
    this.#building = this.known?.epoch === epoch ? null : knownOf(epoch);
  }

  /**
   * Begin again if the newest page or bundle came at a time that now lies in the future.
   *
   * Throws `RejectedDelivery` if this machine's clock, and not the earlier one, must be the wrong one: it shows less time since
   * the beginning than the monotonic clock, which nobody can set.
   *
   * @param {Instant} instant
   */
  #dropWhatIsAhead(instant) {
    this.#began ??= instant;
    const read = [this.known, this.#building].map((known) => known?.fresh?.at ?? 0);
    if (Math.max(this.serial, ...read) <= instant.now + SKEW) return;
    if (instant.now + SKEW < this.#began.now + instant.tick - this.#began.tick) {
      throw new RejectedDelivery("this machine's clock was set back: set it right, or restart if it is right only now");
    }
    this.known = this.confirmed = null;
    this.#building = knownOf(this.epoch);
    this.serial = 0;
  }

  /**
   * Whether to read the whole feed again, after a page that ends before what is known. Such a page may come from a node that is
   * late. If they continue, the service has lost entries: the replica keeps its own, and the feed is read from the beginning.
   *
   * @param {Known} reading
   * @param {Page} page
   * @returns {boolean}
   */
  #isLost(reading, page) {
    this.#shortSince = Math.min(this.#shortSince ?? page.at, page.at);
    if (page.at - this.#shortSince < LOST_AFTER) return false;
    this.#shortSince = null;
    reading.position = 0;
    return true;
  }
}

/**
 * @param {number} epoch
 * @returns {Known}
 */
function knownOf(epoch) {
  return { epoch, position: 0, revocations: new RevocationSet(), fresh: null, seals: new Set() };
}

/**
 * @param {string} keyId
 * @returns {number}
 */
function numberOf(keyId) {
  return Number(keyId.slice(1));
}

/**
 * By how much this app's clock is off the service's, at least, in words; empty if it is not worth naming.
 *
 * @param {number} stated the service's time in its answer
 * @param {number} now when that arrived
 * @param {number} took milliseconds after it was asked for
 * @returns {string}
 */
function wrongClock(stated, now, took) {
  const late = now - stated;
  const ahead = late > 0 ? Math.max(0, late - took) : late;
  if (Math.abs(ahead) < WORTH_NAMING) return "";
  return `this app's clock is ${Math.round(Math.abs(ahead) / 1000)} s ${ahead > 0 ? "ahead of" : "behind"} the service`;
}
