// What this tab keeps until it is closed. In a browser that blocks storage it keeps nothing, and nothing else changes.

/** What is kept under a key; null for nothing. @param {string} key @returns {string | null} */
export function kept(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Keeps a text under a key; null removes it. @param {string} key @param {string | null} text */
export function keep(key, text) {
  try {
    if (text === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, text);
  } catch {
    // Blocked, or full.
  }
}
