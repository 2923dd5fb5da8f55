/**
 * Capability tokens that their holders can narrow: the public names. Knows nothing else.
 *
 * @module
 */

export * from "./errors.js";
export { LIMITS } from "./limits.js";
export { decode, decodeBundle, encode } from "./token/bundle.js";
export { decodeAny, decodeBytes } from "./token/legacy.js";
export { encodeBinary as encodeBytes } from "./token/wire.js";
export { issueTime, parseIdentifier } from "./token/identifier.js";
export { mint } from "./token/macaroon.js";
export { attenuate } from "./attenuate.js";
export { inspect } from "./inspect.js";
export { bind, branchId } from "./third_party/bind.js";
export { requireDischarge } from "./third_party/require.js";
export { authenticate } from "./authenticate.js";
export { standardCheckers, unsatisfied } from "./kinds/checkers.js";
export { effective, repeated } from "./kinds/authority.js";
export { parseDuration } from "./durations.js";

/** @typedef {import("./attenuate.js").Narrowing} Narrowing */
/** @typedef {import("./authenticate.js").Authenticated} Authenticated */
/** @typedef {import("./hmac.js").Hmac} Hmac */
/** @typedef {import("./inspect.js").Inspection} Inspection */
/** @typedef {import("./kinds/authority.js").Authority} Authority */
/** @typedef {import("./kinds/base.js").Caveat} Caveat */
/** @typedef {import("./kinds/checkers.js").Checkers} Checkers */
/** @typedef {import("./kinds/checkers.js").Context} Context */
/** @typedef {import("./kinds/checkers.js").Failure} Failure */
/** @typedef {import("./kinds/checkers.js").PluginKind} PluginKind */
/** @typedef {import("./kinds/checkers.js").Unmet} Unmet */
/** @typedef {import("./limits.js").Limits} Limits */
/** @typedef {import("./token/identifier.js").Identifier} Identifier */
/** @typedef {import("./token/macaroon.js").Bundle} Bundle */
/** @typedef {import("./token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("./token/macaroon.js").ThirdPartyCaveat} ThirdPartyCaveat */
