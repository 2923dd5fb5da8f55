// What a token allows, in one sentence, and the parts of such sentences. Knows what an inspection says; knows no element.

import { allowed, counted, listed, moment } from "../words.js";

/** @typedef {import("../client/inspect.js").Inspection} Inspection */
/** @typedef {import("../client/inspect.js").InspectedAuthority} InspectedAuthority */

const MOST = 6;
/** So many scopes are named in a sentence. */

/**
 * The effective authority: "alice may read photos/42, until 14:10 today, from 10.0.0.0/8".
 * @param {Inspection} inspection @param {Date} now @param {boolean} dead whether its caveats contradict each other
 */
export function authoritySentence(inspection, now, dead = false) {
  const { authority } = inspection;
  const who = authority.user ?? "Whoever holds it";
  if (dead) return `Good for nothing: its caveats leave ${authority.user === null ? "no request" : `${authority.user} no request`} that passes.`;
  const verb = authority.expired ? "could" : "may";
  const missing = inspection.third_parties.filter((one) => !one.discharged).map((one) => one.location || "a third party");
  const parts = [
    `${who} ${verb} ${may(authority.scopes, authority.user)}`,
    inspection.audience !== null && inspection.audience !== "default" && `at the app ${inspection.audience}`,
    ...clauses(authority),
    missing.length > 0 && `once ${listed([...new Set(missing)])} ${missing.length === 1 ? "has" : "have"} agreed`,
    authority.not_before !== null && new Date(authority.not_before) > now && `not before ${moment(new Date(authority.not_before), now)}`,
    authority.expires_at === null ? "for ever" : `until ${moment(new Date(authority.expires_at), now)}`,
  ].filter(Boolean);
  const unknown = authority.others.length;
  const rest = unknown === 0 ? "" : ` Only apps that know ${unknown === 1 ? "one more kind of caveat" : `${unknown} caveats of other kinds`} take it.`;
  return authority.expired ? `${parts.join(", ")}: it has expired.${rest}` : `${parts.join(", ")}.${rest}`;
}

/** Where, how and from where. @param {InspectedAuthority} authority */
function clauses({ methods, paths, hosts, client_ips: clients }) {
  return [
    methods !== null && `with ${methodWords(methods)}`,
    hosts !== null && `on ${either(hosts)}`,
    paths.length > 0 && paths.map(pathWords).join(" and "),
    clients.length > 0 && clients.map((words) => `from ${either(words)}`).join(" and "),
  ];
}

/** What scopes allow, for the end of a sentence. @param {readonly string[]} scopes @param {string | null} user */
export function may(scopes, user) {
  if (scopes.length > MOST) return `do ${counted(scopes.length, "thing")} (${scopes.slice(0, 3).join(" ")} …)`;
  return allowed(scopes.join(" "), user ?? "its issuer");
}

/** Methods; `HEAD` is not named beside `GET`, which includes it. @param {readonly string[]} methods */
export const methodWords = (methods) => either(methods.includes("GET") ? methods.filter((method) => method !== "HEAD") : methods);

/** Paths: "at /albums/42 or below /public/". @param {readonly string[]} patterns */
export function pathWords(patterns) {
  const each = patterns.map((pattern) => pattern === "/*" ? "at any path" : pattern.endsWith("/*") ? `below ${pattern.slice(0, -1)}` : `at ${pattern}`);
  return either(each);
}

/** "a, b or c". @param {readonly string[]} parts */
export function either(parts) {
  if (parts.length > MOST) return `${parts.slice(0, MOST).join(", ")} or ${parts.length - MOST} more`;
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} or ${parts.at(-1)}`;
}

/** Words as a sentence: a capital, and a full stop. @param {string} words */
export const asSentence = (words) => `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}.`;
