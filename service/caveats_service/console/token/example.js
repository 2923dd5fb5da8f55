// A request that a token may allow, to begin from. Knows what an inspection says; promises nothing: what passes, checkers say.

import { pathCovers } from "../client/kinds/facts.js";
import { scopeCovers, parseScope } from "../client/kinds/scopes.js";

/** @typedef {import("../client/inspect.js").Inspection} Inspection */

/**
 * Facts of a request; null where the token does not ask for one.
 * @param {Inspection} inspection
 * @returns {{method: string | null, path: string | null, host: string | null, clientIp: string | null, scope: string | null}}
 */
export function example({ authority }) {
  return {
    method: authority.methods?.[0] ?? null,
    path: pathOf(authority.paths),
    host: authority.hosts?.[0] ?? null,
    clientIp: authority.client_ips.at(-1)?.[0]?.split("/")[0] ?? null,
    scope: scopeOf(authority.scopes),
  };
}

/** A path of which each list has a pattern. @param {string[][]} lists */
function pathOf(lists) {
  const candidates = lists.flat().map((pattern) => decodeURI(pattern.endsWith("/*") ? `${pattern.slice(0, -1)}example` : pattern));
  const found = candidates.find((path) => lists.every((patterns) => patterns.some((pattern) => pathCovers(decodeURI(pattern), path))));
  return found === undefined ? null : encodeURI(found);
}

/** A scope that one of these patterns covers. @param {string[]} patterns */
function scopeOf(patterns) {
  const first = patterns[0];
  if (first === undefined || first === "*") return first === undefined ? null : "photos:read";
  const pattern = parseScope(first);
  const text = `${pattern.resource}${pattern.below ? "/example" : ""}:${pattern.action === "*" ? "read" : pattern.action}`;
  return scopeCovers(pattern, parseScope(text)) ? text : null;
}
