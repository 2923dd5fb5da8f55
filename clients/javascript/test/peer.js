/**
 * The JavaScript side of a conversation with another language: reads a JSON value from each line of standard input and
 * answers with one line. The tests in tests/javascript speak to it.
 */

import { createInterface } from "node:readline";
import {
  CaveatsError,
  attenuate,
  authenticate,
  bind,
  branchId,
  decode,
  decodeAny,
  decodeBundle,
  encode,
  inspect,
  unsatisfied,
} from "../src/index.js";
import { hex, unhex } from "../src/bytes.js";
import { hmac } from "../src/node.js";

/** @type {Record<string, (asked: any) => unknown>} */
const ANSWERS = {
  /** The content of a token. */
  inspect: ({ token, now }) => inspect(decodeBundle(token, { decode: decodeAny }), { now: new Date(now) }),
  /** A token in its one form, from any encoding. */
  decode: ({ token }) => encode(decodeBundle(token, { decode: decodeAny })),
  /** A narrower copy. */
  attenuate: ({ token, narrowing, now }) => attenuate(token, narrowing, { hmac, now: new Date(now) }),
  /** A copy with these predicates, whatever they are. */
  append: async ({ token, predicates }) => encode(await attenuate(decode(token), { caveats: predicates.map(unhex) }, { hmac })),
  /** A bundle of a macaroon and unbound discharges. */
  bind: async ({ token, discharges }) => encode(await bind(token, discharges, { hmac })),
  /** A copy's branch id. */
  branch: ({ token }) => branchId(token, { hmac }),
  /** Which caveats refuse a request; what of an authentic token they are, and who added them. */
  judge: async ({ token, key, context }) => {
    const { caveats, addedBy, signatures } = await authenticate(token, unhex(key), { hmac });
    const failures = unsatisfied(caveats, { ...context, now: new Date(context.now) }, { addedBy });
    return { failures, addedBy, caveats: caveats.map(({ text }) => text), signatures: signatures.map(hex) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = { answer: await ANSWERS[asked.do](asked) };
  } catch (error) {
    if (!(error instanceof CaveatsError)) throw error;
    answer = { code: error.code, message: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
