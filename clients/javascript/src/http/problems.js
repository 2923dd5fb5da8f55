/**
 * Problems: what the answer to a refused request looks like. Status, code, challenge and body, as the service words them.
 *
 * Knows the errors. Knows no framework. Sources: RFC 9457 (problems), RFC 6750 section 3 (challenges).
 *
 * @module
 */

import { encodeBase64, utf8 } from "../bytes.js";
import { CaveatsError, DamagedToken, LimitExceeded, MalformedToken, MissingDischarge } from "../errors.js";
import { Refused, RejectedDelivery, Stale, UnsatisfiedCaveats, WrongAudience } from "../errors.js";

/** @type {Record<string, string>} */
const TITLES = {
  bad_request: "The request is not what this endpoint takes",
  caveats_unsatisfied: "The token's caveats refuse this request",
  credential_required: "This needs a credential",
  damaged_token: "The token was cut off or mistyped",
  discharge_required: "A third party has to agree first",
  internal: "Something went wrong here",
  invalid_token: "The token is not valid",
  two_credentials: "One request carries one credential",
  unavailable: "The service cannot do that now; try again",
  wrong_audience: "The token is for another audience",
};
const REALM = 'Bearer realm="caveats"';
const LONGEST_WAIT = 3600; // seconds that clients are told to wait, at most: whatever is on the way can ask for more

/** An answer other than the one asked for. `code` is stable, for programs; `detail` is for people. */
export class Problem extends CaveatsError {
  /**
   * @param {number} status
   * @param {string} code
   * @param {{detail?: string, headers?: Record<string, string>, members?: object}} [more] `headers`: further headers of the
   *   answer; `members`: further members of its body
   */
  constructor(status, code, { detail = "", headers = {}, members = {} } = {}) {
    super(detail || code);
    this.status = status;
    this.code = code;
    /** The body: JSON (RFC 9457, section 3.1). */
    this.body = JSON.stringify({
      type: `urn:caveats:problem:${code}`,
      title: TITLES[code] ?? code.replaceAll("_", " "),
      status,
      code,
      ...(detail && { detail }),
      ...members,
    });
    /** All headers of the answer. */
    this.headers = {
      "Content-Type": "application/problem+json",
      "Content-Length": String(utf8(this.body).length),
      "Cache-Control": "no-store",
      ...headers,
    };
  }
}

/**
 * The challenge to a token that was refused. `error`: a code of RFC 6750, section 3.1.
 *
 * @param {string} [error]
 */
const challenge = (error) => ({ "WWW-Authenticate": error ? `${REALM}, error="${error}"` : REALM });

/**
 * 400: the form of the request, or a value in it, is wrong.
 *
 * @param {string} detail
 */
export const badRequest = (detail) => new Problem(400, "bad_request", { detail });

/** 400: several credentials, of which each reader of the request might take another. */
export const twoCredentials = () =>
  new Problem(400, "two_credentials", { detail: "send one credential, in one header" });

/** 401: no credential, or one of a scheme that is not taken. */
export const credentialRequired = () => new Problem(401, "credential_required", { headers: challenge() });

/** 401: the token is not authentic, or not live. The same answer in every such case. */
export const invalidToken = () => new Problem(401, "invalid_token", { headers: challenge("invalid_token") });

/**
 * The problem of an error; undefined for one that says nothing of a token, which is a bug of the program.
 *
 * @param {unknown} error
 * @returns {Problem | undefined}
 */
export function problemOf(error) {
  if (error instanceof Problem) return error;
  const cause = /** @type {any} */ (error instanceof Error && error.cause) || {};
  if (error instanceof DamagedToken) return new Problem(401, "damaged_token", { headers: challenge("invalid_token") });
  if (error instanceof MissingDischarge) {
    const members = { location: cause.location, ticket: encodeBase64(cause.ticket) };
    return new Problem(401, "discharge_required", { detail: error.message, headers: challenge("invalid_token"), members });
  }
  if (error instanceof WrongAudience) return new Problem(403, "wrong_audience", { detail: error.message });
  if (error instanceof UnsatisfiedCaveats) return unsatisfiedProblem(cause.failures);
  if (error instanceof Stale || error instanceof RejectedDelivery) return unavailable(cause);
  const refused = error instanceof Refused || error instanceof MalformedToken || error instanceof LimitExceeded;
  return refused ? invalidToken() : undefined;
}

/**
 * 403 with every failure; for an expired token the 401 of every token that is not live.
 *
 * @param {readonly import("../kinds/checkers.js").Failure[]} failures
 * @returns {Problem}
 */
function unsatisfiedProblem(failures) {
  if (failures.some(({ kind }) => kind === "expires")) return invalidToken();
  const shown = failures.map(({ addedBy, reason, hint, ...which }) => ({ ...which, added_by: addedBy, reason, hint }));
  return new Problem(403, "caveats_unsatisfied", {
    headers: challenge("insufficient_scope"),
    members: { failures: shown },
  });
}

/**
 * 503: the token cannot be judged now. Of the reason only the clock is told: the rest may name machines.
 *
 * @param {{retryAfter?: unknown, clock?: string}} cause `retryAfter`: seconds
 * @returns {Problem}
 */
function unavailable({ retryAfter, clock }) {
  const wait = typeof retryAfter === "number" && retryAfter >= 1 ? Math.min(Math.trunc(retryAfter), LONGEST_WAIT) : 1;
  return new Problem(503, "unavailable", { detail: clock, headers: { "Retry-After": String(wait) } });
}
