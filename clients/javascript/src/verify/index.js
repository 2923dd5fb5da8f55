/**
 * Verification for back ends, with the keys of an audience: the public names. Knows nothing else.
 *
 * @module
 */

export * from "../errors.js";
export { checkValue } from "../kinds/base.js";
export { standardCheckers } from "../kinds/checkers.js";
export { LocalVerifier, follow } from "../follow/index.js";
export { Grant } from "./grant.js";
export { AudienceKeyring } from "./keyring.js";
export { RevocationSet } from "./revocations.js";
export { Verifier } from "./verifier.js";

/** @typedef {import("../kinds/checkers.js").Failure} Failure */
/** @typedef {import("../kinds/checkers.js").PluginKind} PluginKind */
/** @typedef {import("../follow/index.js").FollowOptions} FollowOptions */
/** @typedef {import("../follow/index.js").Status} Status */
/** @typedef {import("./keyring.js").ExportedKeys} ExportedKeys */
/** @typedef {import("./revocations.js").Row} Row */
/** @typedef {import("./verifier.js").Facts} Facts */
/** @typedef {import("./verifier.js").VerifierOptions} VerifierOptions */
