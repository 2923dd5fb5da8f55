// Elements made by one function. Knows the document; knows nothing of tokens. No markup is ever parsed from text.

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element. Of its attributes `class` is its class, `on...` adds a listener, true is an attribute without a value, and what
 * is null, undefined or false is left out.
 * @param {string} name
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

/**
 * An element of a drawing.
 * @param {string} name
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {SVGElement}
 */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(element, attributes, children);
  return element;
}

/** @param {Element} element @param {Record<string, unknown>} attributes @param {(Child | Child[])[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** The element with this id, which the document has. @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the document has no element ${id}`);
  return found;
}

/** Says something to a screen reader, without moving anybody's focus. @param {string} words */
export function say(words) {
  const status = byId("status");
  status.textContent = "";
  requestAnimationFrame(() => {
    status.textContent = words;
  });
}

let ids = 0;
/** An id that no other element has. @param {string} prefix */
export const newId = (prefix) => `${prefix}-${(ids += 1)}`;
