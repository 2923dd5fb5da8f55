// A token's chain in the order in which it was made: its caveats, the third parties it asks, and their discharges' own chains.
// Knows an inspection and the bundle it was made from; knows no element.

import { effectsOf } from "./effects.js";

/** @typedef {import("../client/token/macaroon.js").Bundle} Bundle */
/** @typedef {import("../client/token/macaroon.js").Macaroon} Macaroon */
/** @typedef {import("../client/inspect.js").Inspection} Inspection */
/** @typedef {import("../client/inspect.js").InspectedCaveat} InspectedCaveat */
/** @typedef {import("../client/inspect.js").InspectedThirdParty} InspectedThirdParty */
/** @typedef {import("./effects.js").Effect} Effect */

/**
 * A link: a first-party caveat with its effect, or a third-party caveat.
 * @typedef {object} Link
 * @property {number} number its place in its own chain, from 1
 * @property {InspectedCaveat["added_by"]} addedBy
 * @property {InspectedCaveat | null} caveat
 * @property {Effect | null} effect
 * @property {InspectedThirdParty | null} thirdParty
 */

/**
 * A chain: the token's, or a discharge's.
 * @typedef {object} Chain
 * @property {number | null} discharge which discharge of the bundle it is, from 1; null for the token
 * @property {string} location who made it, by its own word
 * @property {Link[]} links
 */

/** The chains of a token: its own, then those of its discharges as they are asked for. @param {Bundle} bundle @param {Inspection} inspection @param {Date} now @returns {Chain[]} */
export function chainsOf({ macaroon, discharges }, inspection, now) {
  const effects = effectsOf(inspection, now);
  /** @type {Chain[]} */
  const chains = [];
  let index = 0;
  let asked = 0;

  /** @param {Macaroon} one @param {number | null} discharge */
  const visit = (one, discharge) => {
    /** @type {Link[]} */
    const links = [];
    chains.push({ discharge, location: one.location, links });
    one.caveats.forEach((caveat, place) => {
      const isOwn = caveat instanceof Uint8Array;
      const found = isOwn ? inspection.caveats[index] : undefined;
      const effect = isOwn ? effects[index] : undefined;
      if (isOwn) index += 1;
      links.push({ number: place + 1, addedBy: found?.added_by ?? "unknown", caveat: found ?? null, effect: effect ?? null, thirdParty: null });
    });
    for (const link of links) {
      if (link.caveat !== null) continue;
      const thirdParty = /** @type {InspectedThirdParty} */ (inspection.third_parties[asked++]);
      link.thirdParty = thirdParty;
      link.addedBy = thirdParty.added_by;
      const at = thirdParty.discharge;
      if (at !== null) visit(/** @type {Macaroon} */ (discharges[at - 1]), at);
    }
  };
  visit(macaroon, null);
  return chains;
}

/** Whether caveats of the token contradict each other. @param {Chain[]} chains */
export const isDead = (chains) => chains.some((chain) => chain.links.some((link) => link.effect?.mark === "contradicts"));
