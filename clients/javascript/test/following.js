/**
 * A verifier that follows a service, as a process: reads a question from each line of standard input, answers when it knows. The
 * tests in tests/javascript ask it what they ask of the one in Python. Answers bear the number of their question; a change of
 * health bears none.
 */

import { createInterface } from "node:readline";
import { hmac } from "../src/node.js";
import { CaveatsError, follow } from "../src/verify/index.js";

/** @type {import("../src/verify/index.js").LocalVerifier} */
let verifier;
let ahead = 0;
const end = new AbortController();

/** @param {object} members */
const say = (members) => process.stdout.write(`${JSON.stringify(members)}\n`);

/** @type {Record<string, (asked: any) => unknown>} */
const ANSWERS = {
  follow({ registration, options }) {
    verifier = follow(registration, {
      ...options,
      ...(options.webcrypto ? {} : { hmac }),
      signal: end.signal,
      monotonic: () => performance.now() + ahead,
      onChange: (status) => say({ changed: status }),
    });
  },
  ahead({ milliseconds }) {
    ahead = milliseconds;
  },
  ready: ({ timeout }) => verifier.ready(timeout),
  async verify({ token, context }) {
    const { user, audience, scopes } = await verifier.verify(token, context && { ...context, now: new Date(context.now) });
    return { user, audience, scopes };
  },
  status: () => verifier.status(),
  close: () => end.abort(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { number, ...asked } = JSON.parse(line);
  (async () => ANSWERS[asked.do](asked))().then(
    (answer) => say({ number, answer: answer ?? null }),
    (error) => {
      if (!(error instanceof CaveatsError || error instanceof TypeError)) throw error;
      say({ number, code: error instanceof CaveatsError ? error.code : "type_error", message: error.message });
    },
  );
}
end.abort();
