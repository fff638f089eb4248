// The middleware in Express and in Fastify, over HTTP. What is behind it answers at once; no database.

import assert from "node:assert/strict";
import { request } from "node:http";
import { inspect } from "node:util";
import { test } from "node:test";
import express from "express";
import fastify from "fastify";
import { ApiKeyCache, authOf, expressAuth, fastifyAuth, requireAuth, TokenCache } from "../dist/index.js";
import { Fake, row, serverError } from "./fake.mjs";

const fake = new Fake();
let asked;
const pool = {
  query: async (_, values) => {
    asked = values;
    const [credential] = values;
    if (credential.includes("away")) throw new Error("connect ECONNREFUSED");
    if (credential.includes("behind")) return { rows: [row({ valid: false, reason: "stale_standby" })] };
    if (credential.includes("wrong")) throw serverError("42501");
    if (credential === "good") return { rows: [row()] };
    if (credential === "rfs_good") return { rows: [{ id: "k", user_id: "43", session_version: "1", expires_at: null, holds: null }] };
    if (credential.startsWith("rfs_")) throw serverError("28000", "unknown_api_key");
    return { rows: [row({ valid: false, reason: "session_version_mismatch" })] };
  },
};
const tokens = new TokenCache(fake, pool);
const apiKeys = new ApiKeyCache(fake, pool);
const device = ({ headers }) => (headers["x-device"] ? { name: headers["x-device"] } : undefined);
const body = ({ error, reason }) => ({ error, reason });
const who = (request) => ({ user: authOf(request)?.userId ?? null, shown: inspect(authOf(request), { depth: 9, showHidden: true }) });

const frameworks = {
  async express() {
    const app = express();
    app.get("/private", expressAuth({ tokens, apiKeys, device }), (request, response) => response.json(who(request)));
    app.get("/open", expressAuth({ tokens, apiKeys, anonymous: true }), (request, response) => response.json(who(request)));
    app.get("/reason", expressAuth({ tokens, body }), (request, response) => response.json(who(request)));
    app.get("/keys", expressAuth({ apiKeys, apiKeyHeader: "X-Key" }), (request, response) => response.json(who(request)));
    app.get("/forgotten", (request, response) => response.json(requireAuth(request)));
    app.use((error, request, response, next) => response.status(500).json({ failed: error.message }));
    return new Promise((resolve) => {
      const server = app.listen(0, "127.0.0.1", () => resolve({ port: server.address().port, close: () => server.close() }));
    });
  },
  async fastify() {
    const app = fastify();
    const route = (path, options) => app.get(path, { onRequest: fastifyAuth(options) }, async (request) => who(request));
    route("/private", { tokens, apiKeys, device });
    route("/open", { tokens, apiKeys, anonymous: true });
    route("/reason", { tokens, body });
    route("/keys", { apiKeys, apiKeyHeader: "X-Key" });
    app.get("/forgotten", async (request) => requireAuth(request));
    app.setErrorHandler((error, request, reply) => reply.code(500).send({ failed: error.message }));
    await app.listen({ port: 0, host: "127.0.0.1" });
    return { port: app.server.address().port, close: () => app.close() };
  },
};

for (const [name, start] of Object.entries(frameworks)) {
  test(name, async (t) => {
    const { port, close } = await start();
    t.after(close);
    /** With headers as they are: two of a name, too. */
    const get = (path, ...headers) =>
      new Promise((resolve, reject) => {
        const question = request({ host: "127.0.0.1", port, path, headers: ["Host", "x", ...headers], agent: false }, async (response) => {
          let text = "";
          for await (const part of response) text += part;
          const { "www-authenticate": challenge, "retry-after": retry } = response.headers;
          resolve({ status: response.statusCode, challenge, retry, body: JSON.parse(text) });
        });
        question.on("error", reject).end();
      });
    const is = async (expected, ...asking) => {
      const { status, challenge, retry, body } = await get(...asking);
      assert.deepEqual([status, challenge ?? retry, body.error ?? body.user ?? body.failed ?? null], expected, inspect(asking));
    };
    const refused = [401, 'Bearer error="invalid_token"', "invalid_token"];
    const invalid = [400, undefined, "invalid_request"];

    await is([200, undefined, "42"], "/private", "Authorization", "Bearer good");
    await is([200, undefined, "42"], "/private", "authorization", "bEARER  good");
    await is([200, undefined, "43"], "/private", "X-API-Key", "rfs_good");
    await is([200, undefined, "43"], "/private", "X-API-Key", "rfs_good", "Authorization", "Basic abc");
    await is([200, undefined, "43"], "/keys", "X-Key", "rfs_good");
    await is([200, undefined, null], "/open");

    await is([401, "Bearer", "unauthenticated"], "/private");
    await is([401, "Bearer", "unauthenticated"], "/private", "Authorization", "Basic abc");
    await is([401, "Bearer", "unauthenticated"], "/keys", "Authorization", "Bearer good");
    await is(refused, "/private", "Authorization", "Bearer bad");
    await is(refused, "/private", "X-API-Key", "rfs_bad");
    await is(refused, "/open", "Authorization", "Bearer bad");
    await is(invalid, "/private", "Authorization", "Bearer");
    await is(invalid, "/private", "Authorization", "Bearer a b");
    await is(invalid, "/private", "Authorization", "Bearer good", "Authorization", "Bearer good");
    await is(invalid, "/private", "Authorization", "Bearer good", "Authorization", "Basic abc");
    await is(invalid, "/private", "X-API-Key", "rfs_good", "X-API-Key", "rfs_good");
    await is(invalid, "/open", "X-API-Key", "rfs_good", "Authorization", "Bearer good");
    await is([503, "1", "unavailable"], "/private", "Authorization", "Bearer away");
    await is([503, "1", "unavailable"], "/private", "Authorization", "Bearer behind");
    await is([500, undefined, "of the server"], "/private", "Authorization", "Bearer wrong");
    assert.match((await get("/forgotten")).body.failed, /nobody is authenticated/);

    // The reason only where the application wants it told; the credential nowhere.
    assert.deepEqual((await get("/private", "Authorization", "Bearer bad")).body, { error: "invalid_token" });
    assert.deepEqual((await get("/reason", "Authorization", "Bearer bad")).body, { error: "invalid_token", reason: "session_version_mismatch" });
    assert.ok(!/good/.test((await get("/private", "Authorization", "Bearer good")).body.shown));
    await get("/private", "Authorization", "Bearer bound", "X-Device", "phone");
    assert.deepEqual(asked, ["bound", '{"name":"phone"}']);
  });
}

test("ended of a request compares with whom the middleware let in", async () => {
  let owner;
  const moving = {
    query: async (_, [credential]) => ({
      rows: [credential === "t" ? row({ user_id: owner }) : { id: "k", user_id: owner, session_version: "1", expires_at: null, holds: null }],
    }),
  };
  const middleware = expressAuth({ tokens: new TokenCache(fake, moving), apiKeys: new ApiKeyCache(fake, moving) });
  for (const headersDistinct of [{ authorization: ["Bearer t"] }, { "x-api-key": ["rfs_t"] }]) {
    const incoming = { headersDistinct };
    owner = "42";
    await new Promise((resolve) => middleware(incoming, {}, resolve));
    owner = "43";
    fake.hear({ kind: "user", id: "42", session_version: 7, reason: "unlinked" });
    assert.equal(await requireAuth(incoming).ended({ signal: AbortSignal.timeout(1_000) }), "unlinked");
  }
});
