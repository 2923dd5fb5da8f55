// Requests of the last hour, as a drawing and as a table. The numbers are the service's own: of the process that answered.

import { ask } from "../api.js";
import { h, svg } from "../dom.js";
import { time } from "../parts.js";
import { counted, moment } from "../words.js";
import { frame } from "./frame.js";

export const title = "Requests";

const AGAIN = 15_000;
/** Milliseconds between two looks. */
const TOGETHER = 5;
/** Minutes in a row of the table. */

/** @typedef {{at: string, requests: number, refused: number, failed: number}} Minute */

/** @param {import("../shell.js").Console} _console */
export async function show(_console) {
  const inside = h("div", { class: "stack" });
  const picture = h("div");
  /** @type {{since: string, minutes: Minute[]}} */
  let counts = await ask("GET", "v1/counts");
  const draw = () => {
    if (picture.clientWidth > 0) picture.replaceChildren(plot(counts.minutes, new Date(), picture.clientWidth));
  };
  /** @param {{since: string, minutes: Minute[]}} fresh */
  const fill = (fresh) => {
    counts = fresh;
    inside.replaceChildren(...drawn(counts, picture));
    draw();
  };
  fill(counts);
  new ResizeObserver(draw).observe(picture);
  const timer = setInterval(async () => {
    if (!inside.isConnected) clearInterval(timer);
    else if (document.visibilityState === "visible") await ask("GET", "v1/counts").then(fill, () => clearInterval(timer));
  }, AGAIN);
  return frame(
    "admin",
    "Requests",
    "What was asked of the service in the last hour, and how often the answer was no.",
    [],
    inside,
  );
}

/** @param {{since: string, minutes: Minute[]}} counts @param {HTMLElement} picture where the drawing is */
function drawn({ since, minutes }, picture) {
  const now = new Date();
  const sum = (/** @type {"requests" | "refused" | "failed"} */ name) =>
    minutes.reduce((before, minute) => before + minute[name], 0);
  const [requests, refused, failed] = [sum("requests"), sum("refused"), sum("failed")];
  return [
    h(
      "div",
      { class: "figures" },
      figure(requests, "requests", ""),
      figure(refused, "refused", "soon", share(refused, requests)),
      figure(failed, "failed", "bad", share(failed, requests)),
    ),
    h(
      "div",
      { class: "beside" },
      h(
        "figure",
        { class: "card plot" },
        picture,
        h(
          "figcaption",
          {},
          legend("", "answered"),
          legend("soon", "refused: the credential, the caveats or a rate limit said no"),
          legend("bad", "failed: the service could not"),
        ),
      ),
      h(
        "div",
        { class: "card flush tall", tabindex: 0, role: "region", "aria-label": "The same as a table" },
        inNumbers(minutes, now),
      ),
    ),
    h(
      "p",
      { class: "hint" },
      "Counted by the process that answered this page, since ",
      time(new Date(since), now),
      ". With several workers or nodes, each counts its own. The console's files and health checks are left out.",
    ),
  ];
}

/** @param {number} part @param {number} whole */
const share = (part, whole) =>
  whole === 0 || part === 0 ? "" : ` · ${part / whole < 0.01 ? "under 1" : Math.round((part / whole) * 100)} %`;

/** @param {number} number @param {string} words @param {string} look @param {string} [more] */
const figure = (number, words, look, more = "") =>
  h(
    "div",
    { class: `card figure ${number > 0 ? look : ""}`.trim() },
    h("strong", {}, number.toLocaleString("en")),
    h("span", {}, words + more),
  );

/** @param {string} look @param {string} words */
const legend = (look, words) => h("span", { class: `legend ${look}`.trim() }, words);

/** Bars, one a minute, the newest at the right. @param {Minute[]} minutes @param {Date} now @param {number} width in pixels of CSS */
function plot(minutes, now, width) {
  const [height, left, bottom] = [width < 420 ? 180 : 250, 40, 24];
  const gap = width < 420 ? 1 : 2;
  const top = ceiling(Math.max(1, ...minutes.map((minute) => minute.requests)));
  const step = (width - left) / 60;
  const y = (/** @type {number} */ value) => 10 + (height - bottom - 10) * (1 - value / top);
  const last = minutes.at(-1);
  const end = last === undefined ? now.getTime() : Date.parse(last.at);
  const words = `${counted(
    minutes.reduce((before, minute) => before + minute.requests, 0),
    "request",
  )} in the last hour, at most ${Math.max(0, ...minutes.map((minute) => minute.requests))} a minute. The table has the numbers.`;
  const picture = svg("svg", { width, height, role: "img", "aria-label": words });
  for (const value of top % 2 === 0 ? [0, top / 2, top] : [0, top]) {
    picture.append(
      svg("line", { class: "rule", x1: left, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toLocaleString("en")),
    );
  }
  for (const back of width < 420 ? [60, 30, 0] : [60, 45, 30, 15, 0]) {
    const x = width - back * step;
    picture.append(
      svg(
        "text",
        {
          x: Math.min(Math.max(x, left), width - 2),
          y: height - 4,
          "text-anchor": back === 60 ? "start" : back === 0 ? "end" : "middle",
        },
        back === 0 ? "now" : moment(new Date(end - back * 60_000), now).slice(0, 5),
      ),
    );
  }
  for (const minute of minutes) {
    const x = width - ((end - Date.parse(minute.at)) / 60_000 + 1) * step;
    let below = 0;
    for (const [look, value] of /** @type {[string, number][]} */ ([
      ["bad", minute.failed],
      ["soon", minute.refused],
      ["", minute.requests - minute.refused - minute.failed],
    ])) {
      if (value > 0)
        picture.append(
          svg("rect", {
            class: look || null,
            x: x + gap / 2,
            width: step - gap,
            y: y(below + value),
            height: y(below) - y(below + value),
          }),
        );
      below += value;
    }
  }
  return picture;
}

/** The next round number: two digits at most, then zeros. @param {number} value */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return (
    power *
    ([1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value && Number.isInteger(each * power)) ?? 10)
  );
}

/** @param {Minute[]} minutes @param {Date} now */
function inNumbers(minutes, now) {
  /** @type {Minute[]} */
  const rows = [];
  for (const minute of minutes) {
    const start = Math.floor(Date.parse(minute.at) / 60_000 / TOGETHER) * TOGETHER * 60_000;
    const row = rows.at(-1);
    if (row === undefined || Date.parse(row.at) !== start) rows.push({ ...minute, at: new Date(start).toISOString() });
    else for (const name of /** @type {const} */ (["requests", "refused", "failed"])) row[name] += minute[name];
  }
  const numbers = (/** @type {Minute} */ row) =>
    [row.requests, row.refused, row.failed].map((value) => h("td", { class: "number" }, value.toLocaleString("en")));
  return h(
    "table",
    {},
    h("caption", { class: "unseen" }, `Requests of the last hour, ${TOGETHER} minutes a row, newest first`),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "From"),
        ...["Requests", "Refused", "Failed"].map((name) => h("th", { scope: "col", class: "number" }, name)),
      ),
    ),
    h(
      "tbody",
      {},
      ...rows.reverse().map((row) =>
        h(
          "tr",
          {},
          h(
            "th",
            { scope: "row" },
            time(new Date(row.at), now, (at, today) => moment(at, today).slice(0, 5)),
          ),
          ...numbers(row),
        ),
      ),
    ),
  );
}
