/** What `npm pack` makes, installed in an empty folder: it runs, it has types, it holds nothing else. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const CLIENT = fileURLToPath(new URL("..", import.meta.url));
const TSC = join(CLIENT, "node_modules/typescript/bin/tsc");
const PROGRAM = `
import { attenuate, decode, encode, inspect, mint } from "caveats";
import { Client, Unavailable, calls } from "caveats/client";
import { hmac } from "caveats/node";
import { TokenGuard, grantOf } from "caveats/guards/fetch";
import { AudienceKeyring, Verifier, follow } from "caveats/verify";

const token = encode(await mint(new Uint8Array(32).fill(7), "1.k1.photos.01KB5R7M00ABCDEFGHJKMNPQRS.1", { hmac }));
const narrower = await attenuate(token, { scope: "photos:read", expiresIn: "10m" }, { hmac });
console.log(decode(narrower).caveats.length, inspect(narrower).authority.scopes.join());
const client = new Client("http://127.0.0.1:1", { token: narrower });
const service = await client.send(calls.about()).then(({ service }) => service.length, (error) => error instanceof Unavailable);
console.log(service === true ? "nobody there" : service);
const verifier = new Verifier(new AudienceKeyring("photos", [["k1", new Uint8Array(32).fill(7)]]), { hmac });
const facts = { scopes: ["photos:read"] };
console.log(await verifier.verify(narrower, facts).then((grant) => grant.user, (error) => error.code));
const guarded = new TokenGuard(verifier).protect((request) => new Response(grantOf(request).user), { scopes: ["photos:read"] });
console.log((await guarded(new Request("https://photos.example/"))).status, typeof follow);
`;

test("the package runs and has types where it is installed", () => {
  const folder = mkdtempSync(join(tmpdir(), "caveats-pack-"));
  /** @param {string} command @param {string[]} given */
  const run = (command, ...given) => execFileSync(command, given, { cwd: folder, encoding: "utf-8", stdio: ["ignore", "pipe", "pipe"] });
  try {
    const [packed] = JSON.parse(run("npm", "pack", CLIENT, "--json", "--pack-destination", folder));
    const names = packed.files.map((/** @type {{path: string}} */ file) => file.path);
    const strange = names.filter((/** @type {string} */ name) => !/^(src\/.*\.js|types\/.*\.d\.ts|README\.md|LICENSE|package\.json)$/.test(name));
    assert.deepEqual(strange, []);
    for (const { default: file, types } of Object.values(JSON.parse(readFileSync(join(CLIENT, "package.json"), "utf-8")).exports)) {
      if (file) assert.ok(names.includes(file.slice(2)) && names.includes(types.slice(2)), file);
    }
    writeFileSync(join(folder, "package.json"), '{"type": "module", "private": true}');
    run("npm", "install", "--offline", "--no-audit", "--no-fund", join(folder, packed.filename));
    writeFileSync(join(folder, "program.js"), PROGRAM);
    assert.equal(run(process.execPath, "program.js").trim(), "2 photos:read\nnobody there\nbad_signature\n401 function");
    writeFileSync(join(folder, "program.ts"), PROGRAM);
    const strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
    run(process.execPath, TSC, ...strict, "program.ts");
    writeFileSync(join(folder, "wrong.ts"), PROGRAM.replace("scope:", "scopes:"));
    assert.throws(() => run(process.execPath, TSC, ...strict, "wrong.ts"), (/** @type {any} */ error) => /scopes/.test(error.stdout));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
