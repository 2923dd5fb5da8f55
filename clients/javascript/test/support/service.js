/**
 * A real service for a test: the program `caveats-service` with a data directory of its own. Knows how it is started.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ADMIN = { username: "admin", password: "the admin's password" };
export const ALICE = { username: "alice", password: "correct horse battery" };

const HERE = fileURLToPath(new URL("../../../../.venv/bin/caveats-service", import.meta.url));
/** The program: of the repository's own environment, or the one that is named. */
const PROGRAM = process.env.CAVEATS_SERVICE ?? HERE;
const WHY = "there is no caveats-service: `make test` installs it into .venv, or CAVEATS_SERVICE names it";

/** Why no service can be started, for `skip`; false if one can. With CI=true there is no such excuse. */
export const noService = existsSync(PROGRAM) ? false : process.env.CI === "true" ? refuse() : WHY;

/** @returns {never} */
function refuse() {
  throw new Error(`with CI=true nothing is skipped: ${WHY}`);
}

/**
 * A service that has begun to serve. `stop` ends it and removes its data.
 *
 * @returns {Promise<{url: string, stop: () => Promise<void>}>}
 */
export async function startService() {
  const data = mkdtempSync(join(tmpdir(), "caveats-client-"));
  const limits = ["LOGIN_LIMIT_ACCOUNT", "LOGIN_LIMIT_ADDRESS", "REGISTER_LIMIT_ADDRESS", "INTERACTION_LIMIT_ADDRESS"];
  const started = spawn(PROGRAM, ["serve", "--port", "0"], {
    cwd: data,
    env: {
      PATH: process.env.PATH,
      CAVEATS_DATA_DIR: data,
      CAVEATS_ADMIN_PASSWORD: ADMIN.password,
      CAVEATS_OPEN_REGISTRATION: "true",
      CAVEATS_POLL_KEEPALIVE: "1s",
      ...Object.fromEntries(limits.map((name) => [`CAVEATS_${name}`, "1000/minute"])),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise((resolve) => started.once("exit", resolve));
  const stop = async () => {
    started.kill("SIGTERM");
    await ended;
    rmSync(data, { recursive: true, force: true });
  };
  let said = "";
  started.stderr.on("data", (chunk) => (said += chunk));
  const url = await new Promise((resolve, reject) => {
    started.stdout.on("data", (chunk) => {
      said += chunk;
      const [, address] = /serving on (http:\S+?),/.exec(said) ?? [];
      if (address) resolve(address);
    });
    ended.then(() => reject(new Error(`the service did not start: ${said}`)));
  });
  return { url, stop };
}
