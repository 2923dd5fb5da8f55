/**
 * The error family. Knows no other module.
 *
 * Each class is a different thing for the caller to do, and has a `code` that stays the same whatever a bundler does to
 * its name. The evidence (which caveats, which location) is in `cause`; never a key, a token or a signature.
 *
 *     CaveatsError
 *     ├── MalformedToken          the text or bytes are not a token
 *     │   └── DamagedToken        ... and a checksum says that they once were
 *     ├── MalformedCaveat         a predicate or a value breaks its kind's grammar
 *     ├── MalformedDuration       not a length of time
 *     ├── LimitExceeded           longer, more or deeper than the limits allow
 *     ├── InvalidKey              a key of a wrong type, length or value
 *     ├── NoCrypto                there is no WebCrypto here, and no HMAC was handed in
 *     ├── RejectedDelivery        keys or revocations that did not come from the service, or came too late
 *     └── Refused                 a well-formed token that is refused
 *         ├── UnknownKey          the keyring has no key for its identifier
 *         ├── BadSignature        not authentic
 *         │   └── BindingMismatch a discharge bound to something else
 *         ├── MissingDischarge    a third-party caveat has no discharge
 *         ├── UnusedDischarge     a discharge that no caveat, or more than one, asks for
 *         ├── Revoked             authentic, and revoked, or came of a token that is
 *         ├── Stale               the verifier's keys or revocations are too old to decide
 *         ├── WrongAudience       authentic, and meant for another app
 *         └── UnsatisfiedCaveats  authentic, and its caveats say no
 *
 * @module
 */

/** The base class of all errors of this package. */
export class CaveatsError extends Error {
  /** A name for programs, which does not change. @type {string} */
  code = "caveats_error";

  /**
   * @param {string} message for people
   * @param {unknown} [cause] the evidence
   */
  constructor(message, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
  }
}

/** The text or bytes are not a token in any accepted encoding. */
export class MalformedToken extends CaveatsError {
  /** @override @type {string} */
  code = "malformed_token";
}

/** The checksum of a `cav1_` text does not match: the text was cut off or mistyped. */
export class DamagedToken extends MalformedToken {
  /** @override @type {string} */
  code = "damaged_token";
}

/** A predicate, or a value offered for one, breaks the grammar of its kind. */
export class MalformedCaveat extends CaveatsError {
  /** @override @type {string} */
  code = "malformed_caveat";
}

/** Not a length of time in an accepted form. */
export class MalformedDuration extends CaveatsError {
  /** @override @type {string} */
  code = "malformed_duration";
}

/** The token is longer, holds more, or nests deeper than the limits allow. */
export class LimitExceeded extends CaveatsError {
  /** @override @type {string} */
  code = "limit_exceeded";
}

/** A key has the wrong type, length or value. Never says what the key was. */
export class InvalidKey extends CaveatsError {
  /** @override @type {string} */
  code = "invalid_key";
}

/** There is no WebCrypto here (a page over plain http has none), and no HMAC was handed in. */
export class NoCrypto extends CaveatsError {
  /** @override @type {string} */
  code = "no_crypto";
}

/** A key box or a page of the revocation feed is not authentic, not for this verifier, or out of date. */
export class RejectedDelivery extends CaveatsError {
  /** @override @type {string} */
  code = "rejected_delivery";
}

/** The token is well formed and is refused. */
export class Refused extends CaveatsError {
  /** @override @type {string} */
  code = "refused";
}

/** The keyring has no key for the token's identifier. `cause.keyId`: which key, if the identifier is ours. */
export class UnknownKey extends Refused {
  /** @override @type {string} */
  code = "unknown_key";
}

/** The token, or one of its discharges, is not authentic. */
export class BadSignature extends Refused {
  /** @override @type {string} */
  code = "bad_signature";
}

/** A discharge is not bound to this macaroon: unbound, or bound before it was narrowed. */
export class BindingMismatch extends BadSignature {
  /** @override @type {string} */
  code = "binding_mismatch";
}

/** A third-party caveat has no discharge. `cause`: its `location` and its `ticket`, to ask there with. */
export class MissingDischarge extends Refused {
  /** @override @type {string} */
  code = "missing_discharge";
}

/** The bundle has a discharge that no caveat asks for, or that more than one asks for. */
export class UnusedDischarge extends Refused {
  /** @override @type {string} */
  code = "unused_discharge";
}

/** The token, its branch, or everything its user held has been revoked; or a token that it was issued against. */
export class Revoked extends Refused {
  /** @override @type {string} */
  code = "revoked";
}

/** The verifier's revocations or keys are older than it allows: it cannot decide. */
export class Stale extends Refused {
  /** @override @type {string} */
  code = "stale";
}

/** The token is for another audience than the verifier's. `cause`: its `audience` and the `expected` one. */
export class WrongAudience extends Refused {
  /** @override @type {string} */
  code = "wrong_audience";
}

/** One or more caveats refuse. `cause.failures` has every one of them, explained. */
export class UnsatisfiedCaveats extends Refused {
  /** @override @type {string} */
  code = "unsatisfied_caveats";
}
