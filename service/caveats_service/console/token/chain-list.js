// A token's chain as an ordered list: of each caveat who added it, what it says and what it takes away. Knows links and elements.

import { h } from "../dom.js";
import { tag, time } from "../parts.js";

/** @typedef {import("./chain.js").Chain} Chain */
/** @typedef {import("./chain.js").Link} Link */

const WHO = /** @type {const} */ ({ issuer: "issuer", holder: "holder", discharger: "discharger", unknown: "unknown who" });

/** The list of all chains. @param {Chain[]} chains @param {Date} now */
export function chainLists(chains, now) {
  return chains.map((chain) => h("section", { class: chain.discharge === null ? "chain" : "chain inner" },
    chain.discharge !== null && h("h3", {}, `Discharge ${chain.discharge}`, chain.location && ` of ${chain.location}`),
    chain.links.length === 0 ? h("p", { class: "hint" }, "No caveats: it allows everything that its issuer allows it.")
      : h("ol", { class: "links" }, ...chain.links.map((link) => item(link, now)))));
}

/** @param {Link} link @param {Date} now */
function item(link, now) {
  const mark = link.effect?.mark ?? null;
  return h("li", { class: `link ${link.addedBy} ${mark ?? ""}`.trim() },
    h("span", { class: "number", "aria-hidden": "true" }, String(link.number)),
    h("div", {},
      h("div", { class: "title" },
        link.thirdParty === null ? h("strong", {}, link.effect?.says ?? "") : h("strong", {}, `Asks ${link.thirdParty.location || "a third party"}.`),
        tag(WHO[link.addedBy], link.addedBy === "issuer" ? "main" : ""),
        mark === "repeats" && tag("changes nothing"),
        mark === "contradicts" && tag("leaves nothing", "bad"),
        mark === "unknown" && tag("unknown here", "soon"),
        link.thirdParty !== null && (link.thirdParty.discharged ? tag("discharged", "good") : tag("no discharge", "soon"))),
      link.caveat !== null && h("code", {}, link.caveat.predicate),
      link.effect !== null && (link.effect.because || link.effect.takes) !== "" && h("p", { class: mark === "contradicts" ? "mistake" : "hint" }, [link.effect.because, link.effect.takes].filter(Boolean).join(" ")),
      link.thirdParty !== null && h("p", { class: "hint" }, ...ofThirdParty(link.thirdParty, now))));
}

/** @param {import("./chain.js").InspectedThirdParty} thirdParty @param {Date} now @returns {(Node | string)[]} */
function ofThirdParty({ discharged, discharge, expires_at: until, ticket }, now) {
  const format = ticket === "unknown" ? "Its ticket has a format that is not known here." : ticket === "caveats" ? "" : `Its ticket is one of the ${ticket}.`;
  if (!discharged) return ["Every verifier refuses until a discharge of it comes along. ", format];
  return [`Discharge ${discharge} answers it`, ...(until === null ? [", for ever"] : [", until ", time(new Date(until), now)]), ". ", format];
}
