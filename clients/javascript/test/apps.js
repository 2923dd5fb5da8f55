/**
 * Small apps behind the guards, each served for real: `node:http`, Express, and Hono, whose handlers are Fetch's.
 *
 * As a program it is told its keys by one line of JSON on standard input, prints its port, and ends when the input does: the
 * tests in tests/client/guards ask it what they ask of the apps in Python.
 *
 * @module
 */

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { getConnInfo } from "@hono/node-server/conninfo";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import express from "express";
import * as fetchGuard from "../src/guards/fetch.js";
import { filledScopes } from "../src/guards/guard.js";
import * as nodeGuard from "../src/guards/node.js";
import { hmac } from "../src/node.js";
import { RevocationSet, Stale, Verifier, checkValue, standardCheckers } from "../src/verify/index.js";

const NOW = new Date("2026-11-21T12:00:00Z");

/** @typedef {{audience?: string, verify(token: string, facts: any): Promise<any>}} Verifies */

/**
 * A verifier of photos that knows a kind of its own, and is out of date for one tenant.
 *
 * @param {{keyring: any, revoked: string}} told
 * @returns {Verifies}
 */
export function verifierOf({ keyring, revoked }) {
  const checkers = standardCheckers({
    kind: "acme/tenant",
    read: checkValue,
    check: (name, { extra }) =>
      extra?.tenant === name || { reason: `the tenant is ${extra?.tenant ?? "not known"}`, hint: name },
  });
  const verifier = new Verifier(keyring, { checkers, hmac, revocations: new RevocationSet([[1, "t", 4102444800, revoked]]) });
  return {
    audience: "photos",
    verify(token, facts) {
      if (facts.extra?.tenant === "stale") throw new Stale("nothing heard for 31 s", { retryAfter: 7 });
      return verifier.verify(token, facts);
    },
  };
}

const OPTIONS = { audience: "photos", trustedProxies: ["127.0.0.2/32", "unix"], now: () => NOW };
const PUBLIC = ["/healthz", "/static/*"];

/**
 * What a request needs, for guards that know no routes.
 *
 * @param {string} method
 * @param {string} path decoded
 */
function needed(method, path) {
  if (path.startsWith("/albums/")) return filledScopes(["albums/{album}:read"], { album: path.slice(8) });
  return method === "GET" || method === "HEAD" ? ["photos:read"] : ["photos:write"];
}

/**
 * The path as a router decodes it.
 *
 * @param {string} target
 */
function decoded(target) {
  const [path] = target.split(/[?#]/);
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/**
 * @param {() => any} grantOf
 * @param {string} path
 */
function seen(grantOf, path) {
  try {
    const { user, scopes } = grantOf();
    return { user, scopes, path };
  } catch {
    return { public: true };
  }
}

/** @type {Record<string, (verifier: Verifies) => import("node:http").Server>} */
export const APPS = {
  node(verifier) {
    const guard = new nodeGuard.TokenGuard(verifier, OPTIONS);
    return createServer(
      guard.protect(
        (request, response) => {
          const body = JSON.stringify(seen(() => nodeGuard.grantOf(request), decoded(request.url ?? "")));
          response.writeHead(200, { "Content-Type": "application/json" }).end(body);
        },
        {
          scopes: ({ method = "", url = "" }) => needed(method, decoded(url)),
          public: PUBLIC,
          extra: ({ headers }) => ({ tenant: headers["x-tenant"] }),
        },
      ),
    );
  },

  express(verifier) {
    const guard = new nodeGuard.TokenGuard(verifier, OPTIONS);
    const app = express();
    const rules = {
      scopes: (/** @type {any} */ request) => needed(request.method, decoded(request.path)),
      public: PUBLIC,
      extra: (/** @type {any} */ request) => ({ tenant: request.get("x-tenant") }),
    };
    app.use(guard.middleware(rules), (request, response) => {
      response.json(seen(() => nodeGuard.grantOf(request), decoded(request.path)));
    });
    return createServer(app);
  },

  hono(verifier) {
    const guard = new fetchGuard.TokenGuard(verifier, {
      ...OPTIONS,
      peer: (_, env) => getConnInfo(/** @type {any} */ ({ env })).remote.address || null,
    });
    const app = new Hono();
    app.all("*", (context) => {
      const request = context.req.raw;
      return context.json(seen(() => fetchGuard.grantOf(request), decoded(new URL(request.url).pathname)));
    });
    const handler = guard.protect((request, env) => app.fetch(request, env), {
      scopes: (request) => needed(request.method, decoded(new URL(request.url).pathname)),
      public: PUBLIC,
      extra: ({ headers }) => ({ tenant: headers.get("x-tenant") ?? undefined }),
    });
    return createServer(getRequestListener((request, env) => handler(request, env), { overrideGlobalObjects: false }));
  },
};

if (process.argv[2] in APPS) {
  const lines = createInterface({ input: process.stdin }).on("close", () => process.exit());
  lines.once("line", (line) => {
    const server = APPS[process.argv[2]](verifierOf(JSON.parse(line)));
    server.listen(0, "127.0.0.1", () => console.log(/** @type {any} */ (server.address()).port));
  });
}
