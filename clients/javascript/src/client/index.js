/**
 * The client of a caveats service, over fetch: the public names. Knows nothing else.
 *
 * Reading order: `client.js` (everyday methods), `calls.js` (a function for each endpoint), `messages.js` (what a reply
 * means), `discharge/protocol.js` (third parties), `token_fetch.js` (a token on an app's own requests).
 *
 * @module
 */

export * from "./errors.js";
export { Client } from "./client.js";
export * as calls from "./calls.js";
export { DISCHARGE_BOUNDS, Unbound, collect, thirdParty } from "./discharge/protocol.js";
export { parseAgent } from "./discharge/agent.js";
export { tokenFetch } from "./token_fetch.js";

/** @typedef {import("./bodies.js").Issued} Issued */
/** @typedef {import("./bodies.js").NotLive} NotLive */
/** @typedef {import("./bodies.js").RevocationEntry} RevocationEntry */
/** @typedef {import("./bodies.js").Session} Session */
/** @typedef {import("./bodies.js").TokenIdentity} TokenIdentity */
/** @typedef {import("./bodies.js").TokenRecord} TokenRecord */
/** @typedef {import("./bodies.js").UserRecord} UserRecord */
/** @typedef {import("./bodies.js").Verification} Verification */
/** @typedef {import("./calls.js").RequestFacts} RequestFacts */
/** @typedef {import("./calls.js").TokenWish} TokenWish */
/** @typedef {import("./client.js").ClientOptions} ClientOptions */
/** @typedef {import("./discharge/agent.js").Agent} Agent */
/** @typedef {import("./discharge/protocol.js").Collecting} Collecting */
/** @typedef {import("./discharge/protocol.js").FoundParty} FoundParty */
/** @typedef {import("./discharge/protocol.js").Interact} Interact */
