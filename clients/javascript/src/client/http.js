/**
 * One request over fetch: within its time, with at most so many bytes of an answer, and without a redirect. Knows no token
 * and no endpoint.
 *
 * @module
 */

import { concat } from "../bytes.js";
import { ClientError, Unavailable } from "./errors.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {typeof globalThis.fetch} Fetch */

/**
 * An answer: its status, its headers, and all of its body.
 *
 * @typedef {object} Reply
 * @property {number} status 0 for a redirect that a browser does not show
 * @property {Headers} headers
 * @property {Bytes} body
 * @property {string} origin that was asked, for messages
 */

/**
 * How long and how large an answer may be.
 *
 * @typedef {object} Bounds
 * @property {number} first seconds until the answer begins
 * @property {number} whole seconds until all of it has arrived
 * @property {number} largest bytes of the body, unpacked
 * @property {string} [within] the time in words, for the message
 * @property {new (message: string) => ClientError} tooLarge the error for a body that is too large
 * @property {boolean} [secret] whether the address is a secret, which fetch's own error may repeat
 */

/**
 * The answer to a request. Throws `Unavailable` if there is none in time, `tooLarge`, and whatever `signal` was aborted with.
 *
 * @param {URL | string} url
 * @param {RequestInit} init
 * @param {Bounds} bounds
 * @param {{fetch?: Fetch, signal?: AbortSignal | null}} [options]
 * @returns {Promise<Reply>}
 */
export async function exchange(url, init, bounds, { fetch = globalThis.fetch, signal } = {}) {
  const { origin } = new URL(url);
  const late = new Unavailable(`${origin} did not answer ${bounds.within ?? "in time"}`);
  const ending = new AbortController();
  const end = () => ending.abort(signal?.reason);
  signal?.addEventListener("abort", end);
  if (signal?.aborted) end();
  let timer = setTimeout(() => ending.abort(late), bounds.first * 1000);
  const began = performance.now();
  try {
    const options = /** @type {RequestInit} */ ({
      ...init,
      redirect: "manual",
      referrerPolicy: "no-referrer",
      cache: "no-store",
      signal: ending.signal,
    });
    const response = await unlessAborted(fetch(url, options), ending.signal);
    clearTimeout(timer);
    timer = setTimeout(() => ending.abort(late), bounds.whole * 1000 - (performance.now() - began));
    const body = await readBody(response, bounds.largest, ending.signal);
    if (!body) throw new bounds.tooLarge(`${origin} answers with more than ${bounds.largest} bytes`);
    return { status: response.status, headers: response.headers, body, origin };
  } catch (error) {
    if (ending.signal.aborted) throw ending.signal.reason;
    if (error instanceof ClientError) throw error;
    throw new Unavailable(`cannot reach ${origin}${reasonOf(error)}`, bounds.secret ? {} : { cause: error });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    if (!ending.signal.aborted) ending.abort(); // what is left of the answer is not waited for
  }
}

/**
 * The result of a promise; throws what `signal` is aborted with, if that comes first.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal | null} [signal]
 * @returns {Promise<T>}
 */
export function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}

/**
 * The whole body of a response; undefined if it has more bytes than `largest`.
 *
 * @param {Response} response
 * @param {number} largest
 * @param {AbortSignal | null} [signal]
 * @returns {Promise<Bytes | undefined>}
 */
export async function readBody(response, largest, signal) {
  const reader = response.body?.getReader();
  let body = new Uint8Array(1024);
  let size = 0;
  while (reader) {
    const { done, value } = await unlessAborted(reader.read(), signal);
    if (done) break;
    const end = size + value.length;
    if (end > largest) {
      reader.cancel().catch(() => {});
      return undefined;
    }
    if (end > body.length) body = concat(body.subarray(0, size), new Uint8Array(Math.max(size, value.length)));
    body.set(value, size);
    size = end;
  }
  return body.subarray(0, size);
}

/**
 * Why there is no connection, where fetch says so: `: ECONNREFUSED`.
 *
 * @param {any} error
 * @returns {string}
 */
function reasonOf(error) {
  const code = error?.cause?.code;
  return typeof code === "string" ? `: ${code}` : "";
}
