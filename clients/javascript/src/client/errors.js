/**
 * The errors of the client: one class for each thing that a caller can do about it. Knows no request.
 *
 *     ClientError
 *     ├── UnusableAddress      a token must not be sent to this address: give another
 *     ├── NotAuthenticated     401: sign in (again)
 *     ├── Forbidden            403: `failures` says which caveats refuse, and what would pass
 *     ├── NotFound             404
 *     ├── Conflict             409: the name is taken, or the thing has changed
 *     ├── BadRequest           400, 408, 413, 415, 431: correct the request
 *     ├── RateLimited          429: try again after `retryAfter`
 *     ├── Unavailable          502, 503, 504, a timeout, or no connection: try again after `retryAfter`
 *     ├── UnexpectedResponse   not the answer of a caveats service: check the address
 *     ├── InteractionRequired  a third party wants to know who asks: give `interact`
 *     └── BadDischarge         a third party's answer is not the discharge that was asked for: tell its operator
 *
 * `code` is the service's own word for the error, or the class's where the service said none. Tokens are cut out of the
 * message and control characters are escaped, since any server may have written it: it can be printed and logged.
 *
 * @module
 */

import { CaveatsError } from "../errors.js";
import { escaped } from "../kinds/base.js";

/** @typedef {import("../kinds/checkers.js").Failure} Failure */

/** The base class. */
export class ClientError extends CaveatsError {
  /** @type {string} */
  static code = "client_error";

  /**
   * The status of the answer; null without one.
   *
   * @type {number | null}
   */
  status;

  /**
   * @param {string} message for people
   * @param {{code?: string, status?: number | null, cause?: unknown}} [said] `code`: the service's word, if it said one
   */
  constructor(message, { code, status = null, cause } = {}) {
    super(printable(message), cause);
    this.code = code || new.target.code;
    this.status = status;
  }
}

/** The address is not http(s), or is plain http to another machine, or is no third party's that may be asked. */
export class UnusableAddress extends ClientError {
  static code = "unusable_address";

  /**
   * The third party's origin, if it is not on the list of those that may be asked.
   *
   * @type {string | null}
   */
  unlisted = null;
}

/** The token or the password is not accepted, or none was given. */
export class NotAuthenticated extends ClientError {
  static code = "not_authenticated";
}

/** The token is live and does not allow this. */
export class Forbidden extends ClientError {
  static code = "forbidden";

  /**
   * The caveats that refuse, if caveats refuse.
   *
   * @type {readonly Failure[]}
   */
  failures = [];
}

/** The thing does not exist, or the caller may not know that it does. */
export class NotFound extends ClientError {
  static code = "not_found";
}

/** The name is taken, or the thing was changed by another request. */
export class Conflict extends ClientError {
  static code = "conflict";
}

/** The service does not accept the request: a value is wrong, or it is too large. */
export class BadRequest extends ClientError {
  static code = "bad_request";
}

/** Too many requests. */
export class RateLimited extends ClientError {
  static code = "rate_limited";

  /**
   * Whole seconds to wait, if the service said.
   *
   * @type {number | null}
   */
  retryAfter = null;
}

/** The service is busy, down or out of reach. */
export class Unavailable extends ClientError {
  static code = "unavailable";

  /**
   * Whole seconds to wait, if the service said.
   *
   * @type {number | null}
   */
  retryAfter = null;
}

/** The answer is not that of a caveats service, or this client cannot read it. */
export class UnexpectedResponse extends ClientError {
  static code = "unexpected_response";
}

/** A third party wants to know who asks, and `interact` has no way that it accepts. */
export class InteractionRequired extends ClientError {
  static code = "interaction_required";
}

/** A third party's answer is not the discharge that was asked for: too large, for another caveat, or malformed. */
export class BadDischarge extends ClientError {
  static code = "bad_discharge";
}

/**
 * A text with everything that looks like a token cut out of it, and an escape for every character that is not printed.
 *
 * @param {string} text
 * @returns {string}
 */
function printable(text) {
  return text
    .replace(/cav1_[\w.-]{4,}|[\w-]{64,}/g, (found) => (found.startsWith("cav1_") ? "cav1_..." : "..."))
    .replace(/(?! )[\p{C}\p{Z}]/gu, escaped);
}
