// A token's chain as a picture: a ring for each caveat, as a chain hangs together. Knows links and elements. Screen readers have the
// list of the same links instead, and are told so.

import { h, svg } from "../dom.js";
import { counted, listed } from "../words.js";

/** @typedef {import("./chain.js").Chain} Chain */
/** @typedef {import("./chain.js").Link} Link */

const WIDTH = 58;
const HEIGHT = 36;
const OVERLAP = 12;
const ROW = 62;
const PITCH = WIDTH - OVERLAP;
const EDGE = 4;

/** The picture of all chains, drawn anew when its width changes. @param {Chain[]} chains @returns {HTMLElement} */
export function chainPicture(chains) {
  const holder = h("div", { class: "picture" });
  let columns = 12;
  const draw = () => holder.replaceChildren(...chains.map((chain) => drawing(chain, columns)));
  draw();
  new ResizeObserver(([entry]) => {
    const width = entry?.contentRect.width ?? 0;
    const fit = Math.max(3, Math.floor((width - 2 * EDGE - OVERLAP) / PITCH));
    if (width === 0 || fit === columns) return;
    columns = fit;
    draw();
  }).observe(holder);
  return holder;
}

/** @param {Chain} chain @param {number} columns */
function drawing(chain, columns) {
  const rows = Math.max(1, Math.ceil(chain.links.length / columns));
  const width = Math.min(Math.max(chain.links.length, 1), columns) * PITCH + OVERLAP + 2 * EDGE;
  const height = rows * ROW - (ROW - HEIGHT) + 2 * EDGE;
  const rings = chain.links.map((link, at) => ring(link, EDGE + (at % columns) * PITCH, EDGE + Math.floor(at / columns) * ROW));
  const turns = Array.from({ length: rows - 1 }, (_, row) => turn(row, columns));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": inWords(chain) }, ...turns, ...rings);
  return h("figure", { class: chain.discharge === null ? "" : "inner" },
    chain.discharge !== null && h("figcaption", {}, `Discharge ${chain.discharge}`, chain.location && ` of ${chain.location}`), picture);
}

/** A ring with its number. @param {Link} link @param {number} x @param {number} y */
function ring(link, x, y) {
  const mark = link.effect?.mark ?? (link.thirdParty !== null && !link.thirdParty.discharged ? "open" : "");
  const shape = { x: x + 3, y: y + 3, width: WIDTH - 6, height: HEIGHT - 6, rx: link.thirdParty === null ? (HEIGHT - 6) / 2 : 5 };
  return svg("g", { class: `ring ${link.addedBy} ${mark ?? ""}`.trim() },
    svg("title", {}, `${link.number}: ${link.caveat?.predicate ?? `asks ${link.thirdParty?.location ?? ""}`}`),
    svg("rect", { class: "gap", ...shape }),
    svg("rect", { class: "metal", ...shape }),
    svg("text", { x: x + WIDTH / 2, y: y + HEIGHT / 2 + 4.5, "text-anchor": "middle" }, String(link.number)),
    ...(mark === "contradicts" ? cross(x + WIDTH / 2, y + 4, 7) : []));
}

/** A cross in a disc. @param {number} x its middle @param {number} y @param {number} size its radius */
function cross(x, y, size) {
  const arm = size / 2.3;
  return [svg("circle", { class: "disc", cx: x, cy: y, r: size }),
    svg("path", { class: "cross", d: `M${x - arm} ${y - arm} L${x + arm} ${y + arm} M${x + arm} ${y - arm} L${x - arm} ${y + arm}` })];
}

/** The line from the end of a row to the start of the next. @param {number} row @param {number} columns */
function turn(row, columns) {
  const right = EDGE + columns * PITCH + OVERLAP / 2;
  const y = EDGE + row * ROW + HEIGHT - 3;
  const middle = y + (ROW - HEIGHT) / 2 + 3;
  const left = EDGE + WIDTH / 2;
  return svg("path", { class: "turn", d: `M${right - WIDTH / 2} ${y} V${middle} H${left} V${y + ROW - HEIGHT + 6}` });
}

/** @param {Chain} chain */
function inWords(chain) {
  const count = (/** @type {string} */ who) => chain.links.filter((link) => link.addedBy === who).length;
  const by = /** @type {[string, string][]} */ ([["issuer", "by the issuer"], ["holder", "by holders"], ["discharger", "by a discharger"], ["unknown", "by nobody knows whom"]])
    .flatMap(([who, words]) => count(who) === 0 ? [] : [`${count(who)} ${words}`]);
  return `A chain of ${counted(chain.links.length, "caveat")}${by.length === 0 ? "" : `: ${listed(by)}`}. The list below has each of them.`;
}

/** What the colours and forms mean, as far as they occur. @param {Chain[]} chains */
export function legend(chains) {
  const links = chains.flatMap((chain) => chain.links);
  /** @type {[boolean, string, string][]} */
  const rows = [
    [links.some((link) => link.addedBy === "issuer"), "issuer", "the issuer wrote it"],
    [links.some((link) => link.addedBy === "holder"), "holder", "a holder added it"],
    [links.some((link) => link.addedBy === "discharger"), "discharger", "a discharger added it"],
    [links.some((link) => link.addedBy === "unknown"), "unknown", "nobody says who added it"],
    [links.some((link) => link.effect?.mark === "repeats"), "repeats", "changes nothing"],
    [links.some((link) => link.effect?.mark === "contradicts"), "contradicts", "leaves nothing"],
    [links.some((link) => link.thirdParty !== null), "third", "asks a third party"],
  ];
  return h("ul", { class: "ring-key", "aria-hidden": "true" }, ...rows.filter(([there]) => there).map(([, name, words]) => h("li", {}, swatch(name), words)));
}

/** @param {string} name */
function swatch(name) {
  const shape = { x: 3, y: 3, width: 26, height: 12, rx: name === "third" ? 3 : 6 };
  return svg("svg", { viewBox: "0 0 32 18", width: 32, height: 18, class: `ring ${name}` }, svg("rect", { class: "metal", ...shape }),
    ...(name === "contradicts" ? cross(16, 5, 5) : []));
}
