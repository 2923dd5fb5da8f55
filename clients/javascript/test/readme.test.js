/**
 * The README is true: its programs run, and each line that says what it gives (`// ...`) gives that. What needs a service runs in
 * `client_service.test.js`.
 */

import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import * as caveats from "../src/index.js";
import { utf8 } from "../src/bytes.js";
import * as client from "../src/client/index.js";
import * as fetchGuard from "../src/guards/fetch.js";
import * as nodeGuard from "../src/guards/node.js";
import * as verify from "../src/verify/index.js";
import { KEYS, issue } from "./issued.js";

const README = readFileSync(new URL("../README.md", import.meta.url), "utf-8");

test("what the README shows is what happens", async () => {
  const rootKey = new Uint8Array(32).fill(7);
  const minted = await caveats.mint(rootKey, "1.k1.photos.01KB5R7M00ABCDEFGHJKMNPQRS.3");
  const expires = new Date(Date.now() + 3600_000).toISOString().slice(0, 19);
  const first = ["user = alice", `expires = ${expires}Z`, "scope = photos:*"];
  const token = caveats.encode(await caveats.attenuate(minted, { caveats: first.map(utf8) }));

  const blocks = [...README.matchAll(/^```js\n(.*?)^```$/gms)].map((found) => found[1]);
  let said = 0;
  const lines = blocks.join("\n").replace(/^(.+); \/\/ (.+)$/gm, (_, shown, given) => {
    said++;
    return `expect(${shown}, ${given});`;
  });
  assert.ok(said > 5);
  const imports = [...lines.matchAll(/^import .*;$/gm)].map((found) => found[0]);
  const body = lines.replace(/^import .*;$/gm, "");
  const file = new URL(`readme-${process.pid}.mjs`, import.meta.url);
  writeFileSync(file, `${imports.join("\n")}\nexport default async ({ token, rootKey, keys, issued }, expect) => {\n${body}\n};\n`);
  try {
    const { default: run } = await import(fileURLToPath(file));
    const until = new Date(Date.now() + 3600_000).toISOString().slice(0, 19);
    const given = { token, rootKey, keys: JSON.stringify(KEYS), issued: await issue([], { expires: `${until}Z` }) };
    await run(given, (/** @type {unknown} */ got, /** @type {unknown} */ wanted) => {
      if (typeof wanted === "number") assert.ok(Math.abs(/** @type {number} */ (got) - wanted) <= 1);
      else assert.deepEqual(got, wanted);
    });
  } finally {
    rmSync(file);
  }
});

test("the README names each public function, and each error that they throw, and nothing else", () => {
  const functions = Object.keys(caveats).filter((name) => /^[a-z]/.test(name));
  for (const name of functions) assert.ok(README.includes(`\`${name}`), name);
  const methods = Object.getOwnPropertyNames(client.Client.prototype).map((name) => [name, name]);
  const asking = { ...client, ...client.calls, ...Object.fromEntries(methods) };
  const all = { ...caveats, ...asking, ...verify, ...fetchGuard, ...nodeGuard };
  for (const [, name] of README.matchAll(/`[a-z_]+` \| `(\w+)` \|/g)) assert.ok(name in all, name);
  for (const [, name] of README.matchAll(/`([a-z]\w+)\(/g)) assert.ok(name in all, name);
});
