/** What the package adds to a page: bundled, minified and compressed, as a server sends it. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const README = readFileSync(new URL("../README.md", import.meta.url), "utf-8");

/** @type {[string, string, number, string?][]} what is used, how many bytes it may be with Brotli, and of which module */
const SIZES = [
  ["reading", "decode, encode", 2_000],
  ["holding", "decode, inspect, attenuate", 7_400],
  ["everything", "*", 15_000],
  ["the client", "Client", 15_000, "client/index"],
  ["the client with every endpoint", "Client, calls", 16_000, "client/index"],
  ["fetching with a token", "tokenFetch", 13_000, "client/index"],
  ["verifying", "Verifier", 12_300, "verify/index"],
  ["following", "follow", 19_000, "verify/index"],
  ["a guard for Fetch handlers", "*", 7_000, "guards/fetch"],
  ["a guard for Node", "*", 7_000, "guards/node"],
];

for (const [name, names, most, module = "index"] of SIZES) {
  test(`${name} has at most ${most} bytes`, async (context) => {
    const contents = `export ${names === "*" ? names : `{ ${names} }`} from "./src/${module}.js";`;
    const resolveDir = fileURLToPath(new URL("..", import.meta.url));
    const built = await build({ stdin: { contents, resolveDir }, bundle: true, minify: true, format: "esm", target: "es2022", write: false });
    const { text } = built.outputFiles[0];
    const size = brotliCompressSync(text).length;
    context.diagnostic(`${name}: ${text.length} bytes, ${size} with Brotli, ${gzipSync(text).length} with gzip`);
    assert.ok(size <= most, `${size} bytes`);
    const shown = README.match(new RegExp(`\\| ${names.replace(/\w+/g, "`$&`")} \\| ([0-9.]+) KB`));
    if (shown) assert.ok(Math.abs(Number(shown[1]) * 1000 - size) < 100, "the README says another size");
  });
}
