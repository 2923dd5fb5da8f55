// What this browser is called among the sign-ins of an account. Knows user agents, roughly; nothing depends on it.

const PREFIX = "Sign-in: ";
/** What the label of a session begins with, so that it is told apart from a token's. */

/** The label of a session from here: "Sign-in: Firefox on Linux". */
export function thisBrowser() {
  const agent = navigator.userAgent;
  const browsers = [
    ["Edg/", "Edge"],
    ["OPR/", "Opera"],
    ["Firefox/", "Firefox"],
    ["Chrome/", "Chrome"],
    ["Safari/", "Safari"],
  ];
  const systems = [
    ["Android", "Android"],
    ["iPhone", "an iPhone"],
    ["iPad", "an iPad"],
    ["Windows", "Windows"],
    ["Mac OS", "macOS"],
    ["Linux", "Linux"],
  ];
  const [, browser] = browsers.find(([mark]) => agent.includes(/** @type {string} */ (mark))) ?? ["", "A browser"];
  const [, system] = systems.find(([mark]) => agent.includes(/** @type {string} */ (mark))) ?? ["", ""];
  return PREFIX + (system ? `${browser} on ${system}` : browser);
}

/** Whether this label is of a session. @param {string} note */
export const isSignIn = (note) => note.startsWith(PREFIX);

/** The browser that a session's label names. @param {string} note */
export const browserOf = (note) => note.slice(PREFIX.length);
