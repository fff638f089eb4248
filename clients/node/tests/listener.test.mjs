// Listener and caches on a real server: what is answered, whatever happens to the connection.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { ApiKeyCache, Listener, Refused, TokenCache, Unavailable } from "../dist/index.js";
import { proxy } from "./proxy.mjs";
import { END_LISTENERS, one, Server, sleep, sleepUntil, until } from "./server.mjs";

let server;
before(async () => {
  server = await Server.start("listener");
});
after(() => server.stop());

/** A database of its own, with a listener and caches. */
async function application(t, { maxStaleness = 60_000, listen = {}, sql, limits } = {}) {
  const name = `d${Math.random().toString(36).slice(2)}`;
  const pool = await server.database(name, sql);
  const errors = [];
  const listener = new Listener({ ...pool.config, ...listen }, { maxStaleness, onError: (error) => errors.push(error) });
  const tokens = new TokenCache(listener, pool, limits);
  const keys = new ApiKeyCache(listener, pool, limits);
  t.after(async () => {
    await listener.close();
    await pool.end();
  });
  await until(() => listener.fresh, "fresh");
  const issue = (user, more = "") => one(pool, `SELECT auth.issue_jwt($1${more})`, [user]);
  return { pool, listener, tokens, keys, errors, issue, name };
}

/** An event of just before may keep the first answer out. */
const fill = (cache, secret) => until(async () => (await cache.verify(secret)) && cache.peek(secret), "cached");

const refused = (reason) => (error) => error instanceof Refused && error.reason === reason;

test("a token and a key are asked for once, and are as the database says", async (t) => {
  const { pool, tokens, keys, issue } = await application(t);
  const token = await issue("7");
  const identity = await tokens.verify(token);
  const row = await pool.query("SELECT * FROM auth.check_jwt($1)", [token]).then(({ rows }) => rows[0]);
  assert.deepEqual(
    { ...identity },
    {
      kind: "token",
      userId: "7",
      sessionVersion: 0n,
      sessionId: null,
      tokenId: row.token_id,
      issuer: "https://api.example.com",
      kid: row.kid,
      issuedAt: row.issued_at.getTime(),
      expiresAt: row.expires_at.getTime(),
      claims: row.claims,
    },
  );
  assert.equal(await tokens.verify(token), identity);
  assert.equal(tokens.stats().hits, 1);
  const key = await keys.verify("rfs_7");
  assert.deepEqual(
    { ...key },
    {
      kind: "api_key",
      id: "k7",
      userId: "7",
      sessionVersion: 0n,
      fingerprint: await one(pool, "SELECT auth.api_key_fingerprint('rfs_7')"),
      expiresAt: null,
    },
  );
  assert.equal(await keys.verify("rfs_7"), key);
  assert.ok(await one(pool, "SELECT last_used_at FROM keys WHERE id = 'k7'"));
});

test("every kind of change evicts what it is about, and nothing else", async (t) => {
  const { pool, tokens, keys, issue } = await application(t);
  const other = await issue("8");
  const session = await pool.query("SELECT * FROM auth.open_session('7')").then(({ rows }) => rows[0]);
  const mine = await issue("7");
  for (const [sql, reason, gone] of [
    [`SELECT auth.end_session('${session.session_id}')`, "session_ended", session.access_token],
    [`SELECT auth.revoke_jwt('${mine}')`, "revoked", mine],
    ["SELECT auth.bump_session_version('7')", "session_version_mismatch"],
    ["UPDATE users SET email = 'new' WHERE id = 7", "session_version_mismatch"],
    ["UPDATE users SET is_active = false WHERE id = 7", "inactive_user"],
    ["DELETE FROM users WHERE id = 7", "unknown_user"],
  ]) {
    const token = gone ?? (await issue("7"));
    await fill(tokens, token);
    await fill(tokens, other);
    await pool.query(sql);
    await until(() => !tokens.peek(token), sql);
    await assert.rejects(tokens.verify(token), refused(reason), sql);
    assert.ok(tokens.peek(other), `${sql} evicts another's`);
    await pool.query("UPDATE users SET is_active = true WHERE id = 7");
  }
  for (const [sql, reason] of [
    ["UPDATE keys SET is_active = false WHERE id = 'k9'", "inactive_api_key"],
    ["UPDATE users SET is_active = false WHERE id = 10", "inactive_user"],
    ["DELETE FROM keys WHERE id = 'k11'", "unknown_api_key"],
  ]) {
    const key = `rfs_${/\d+/.exec(sql)[0]}`;
    await fill(keys, key);
    await fill(keys, "rfs_12");
    await pool.query(sql);
    await until(() => !keys.peek(key), sql);
    await assert.rejects(keys.verify(key), refused(reason), sql);
    assert.ok(keys.peek("rfs_12"), `${sql} evicts another's`);
  }
  await pool.query("UPDATE auth.issuers SET not_before = clock_timestamp() + interval '2 s'");
  await until(() => !tokens.peek(other), "the kill switch");
  await assert.rejects(tokens.verify(other), refused("issued_before_cutoff"));
});

test("the row of a template evicts the tokens of all its issuers", async (t) => {
  const { pool, tokens, issue } = await application(t);
  const token = await issue("7");
  await tokens.verify(token);
  await pool.query("INSERT INTO auth.issuers (issuer, audience) VALUES ('https://login.example/{tid}/v2.0', '{x}')");
  await until(() => !tokens.peek(token), "the template's event");
});

test("versions beyond 2^53 are told apart", async (t) => {
  const { pool, tokens, listener } = await application(t);
  await pool.query("UPDATE users SET session_version = 9007199254740992 WHERE id = 7");
  const token = await one(pool, "SELECT auth.issue_jwt('7')");
  assert.equal((await tokens.verify(token)).sessionVersion, 9007199254740992n);
  assert.equal(await one(pool, "SELECT auth.bump_session_version('7')::text"), "9007199254740993");
  await listener.sync();
  await assert.rejects(tokens.verify(token), refused("session_version_mismatch"));
  const next = await one(pool, "SELECT auth.issue_jwt('7')");
  assert.equal((await tokens.verify(next)).sessionVersion, 9007199254740993n);
  assert.ok(tokens.peek(next), "it is not below the floor");
});

test("refusals are not kept: an insert sends no event", async (t) => {
  const { pool, tokens, issue } = await application(t);
  const token = await issue("99", ", session_version => 0");
  await assert.rejects(tokens.verify(token), refused("unknown_user"));
  await pool.query("INSERT INTO users VALUES (99)");
  assert.equal((await tokens.verify(token)).userId, "99");
});

test("an answer that was read before an event is not kept after it", async (t) => {
  const { pool, tokens, listener, issue } = await application(t);
  const token = await issue("7");
  // The answer has been read, and is held back until the event was heard.
  let hold;
  const held = new Promise((resolve) => (hold = resolve));
  const slow = new TokenCache(listener, {
    query: async (...words) => {
      const result = await pool.query(...words);
      await held;
      return result;
    },
  });
  const call = slow.verify(token);
  await sleep(100);
  await pool.query("SELECT auth.bump_session_version('7')");
  await listener.sync();
  hold();
  assert.equal((await call).userId, "7");
  assert.equal(slow.peek(token), undefined);
  assert.equal(slow.stats().notKept, 1);
  await assert.rejects(slow.verify(token), refused("session_version_mismatch"));
  assert.equal(tokens.peek(token), undefined);
});

test("where nothing is sent, a change is known within the bound", async (t) => {
  const { pool, tokens, issue } = await application(t, { maxStaleness: 600 });
  const token = await issue("7");
  await fill(tokens, token);
  const client = await pool.connect();
  await client.query("SET auth_ext.notify = off");
  await client.query("SELECT auth.bump_session_version('7')");
  client.release(true);
  await sleep(600);
  await assert.rejects(tokens.verify(token), refused("session_version_mismatch"));
});

test("a killed connection is stale at once, and catches up on what it missed", async (t) => {
  const { pool, tokens, listener, issue, name, errors } = await application(t);
  const [mine, other] = [await issue("7"), await issue("8")];
  await fill(tokens, mine);
  await fill(tokens, other);
  const admin = new pg.Client(server.config("postgres"));
  await admin.connect();
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await pool.query(END_LISTENERS);
  await until(() => listener.state === "stale", "stale");
  await pool.query("SELECT auth.bump_session_version('7')");
  assert.equal(tokens.peek(other), undefined);
  assert.equal((await tokens.verify(other)).userId, "8");
  await assert.rejects(tokens.verify(mine), refused("session_version_mismatch"));
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  await admin.end();
  await listener.sync(20_000);
  assert.equal(tokens.peek(mine), undefined);
  assert.ok(tokens.peek(other), "only what has changed was evicted");
  assert.ok(errors.length > 0);
});

test("a half-open connection is found, and nothing older than the bound is answered meanwhile", async (t) => {
  const between = await proxy(server.port);
  t.after(() => between.close());
  const maxStaleness = 900;
  const { pool, tokens, listener, issue } = await application(t, { maxStaleness, listen: { port: between.port } });
  const [mine, other] = [await issue("7"), await issue("8")];
  await fill(tokens, mine);
  await fill(tokens, other);
  const ended = tokens.ended(mine);
  between.swallow();
  await pool.query("SELECT auth.bump_session_version('7')");
  const changed = performance.now();
  await sleepUntil(changed + maxStaleness);
  assert.equal(tokens.peek(mine), undefined, "within the bound");
  assert.equal(await ended, "session_version_mismatch");
  assert.ok(performance.now() - changed <= maxStaleness + 5_000, "what was open has ended");
  between.open();
  await listener.sync(20_000);
  assert.equal(tokens.peek(mine), undefined);
  assert.ok(tokens.peek(other));
});

test("a listener that cannot connect answers nothing from the cache, and the database is asked", async (t) => {
  const { pool, issue } = await application(t);
  const errors = [];
  const deaf = new Listener({ ...pool.config, port: 1 }, { onError: (error) => errors.push(error) });
  t.after(() => deaf.close());
  const tokens = new TokenCache(deaf, pool);
  const token = await issue("7");
  await tokens.verify(token);
  assert.equal(tokens.peek(token), undefined);
  await pool.query("SELECT auth.bump_session_version('7')");
  await assert.rejects(tokens.verify(token), refused("session_version_mismatch"));
  await assert.rejects(deaf.sync(50), Unavailable);
  await until(() => errors.length > 2, "it tries again");
  // Without a callback it says so aloud.
  const warnings = [];
  const warned = (warning) => warnings.push(warning);
  process.on("warning", warned);
  t.after(() => process.off("warning", warned));
  const silent = new Listener({ ...pool.config, port: 1 });
  await until(() => warnings.some(({ name }) => name === "AuthExtListener"), "a warning");
  await silent.close();
});

test("a database that is away is unavailable, not a refusal", async (t) => {
  const { listener } = await application(t);
  const away = new pg.Pool({ ...server.config("postgres"), port: 1 });
  await assert.rejects(new TokenCache(listener, away).verify("x.y.z"), Unavailable);
  await away.end();
});

test("a missing grant stays the driver's error", async (t) => {
  const { pool, listener } = await application(t, { sql: "CREATE ROLE nobody_much LOGIN" });
  const poor = server.pool(pool.config.database, { user: "nobody_much" });
  await assert.rejects(new ApiKeyCache(listener, poor).verify("rfs_1"), (error) => error.code === "42501");
  await poor.end();
});

test("the roles of listener and application need no more than their profiles", async (t) => {
  const sql = `CREATE ROLE l LOGIN; CREATE ROLE a LOGIN;
    SELECT auth.grant_access('l', 'listener'), auth.grant_access('a', 'application')`;
  const { pool, listener, issue } = await application(t, { sql, listen: { user: "l" } });
  const app = server.pool(pool.config.database, { user: "a" });
  const tokens = new TokenCache(listener, app);
  await tokens.verify(await issue("7"));
  await new ApiKeyCache(listener, app).verify("rfs_7");
  await app.end();
  assert.equal(tokens.stats().entries, 1);
});

test("onEnded calls back once, for whom it was asked", async (t) => {
  const { pool, listener } = await application(t);
  const calls = [];
  const { session_id: sid } = await pool.query("SELECT * FROM auth.open_session('9')").then(({ rows }) => rows[0]);
  listener.onEnded((reason) => calls.push(`user ${reason}`), { userId: "7" });
  listener.onEnded((reason) => calls.push(`session ${reason}`), { sessionId: sid });
  listener.onEnded(() => calls.push("another"), { userId: "8" });
  const cancel = listener.onEnded(() => calls.push("cancelled"), { userId: "7" });
  cancel();
  await pool.query("SELECT auth.bump_session_version('7', 'stolen'), auth.end_session($1)", [sid]);
  await pool.query("SELECT auth.bump_session_version('7')");
  await listener.sync();
  assert.deepEqual(calls.sort(), ["session logout", "user stolen"]);
});

test("ended of a token and of a key, long before a heartbeat", { timeout: 15_000 }, async (t) => {
  const { pool, tokens, keys, issue } = await application(t);
  const { session_id: sid, access_token: token } = await pool.query("SELECT * FROM auth.open_session('9')").then(({ rows }) => rows[0]);
  const ends = [tokens.ended(token), tokens.ended(await issue("7")), keys.ended("rfs_8")];
  await sleep(100);
  await pool.query("SELECT auth.end_session($1), auth.bump_session_version('7')", [sid]);
  await pool.query("UPDATE keys SET is_active = false WHERE id = 'k8'");
  assert.deepEqual(await Promise.all(ends), ["session_ended", "session_version_mismatch", "inactive_api_key"]);
  assert.equal(await tokens.ended("no token"), "malformed");
});

test("exp ends an entry and what is open, by the server's clock", async (t) => {
  const { pool, tokens, issue } = await application(t);
  const token = await issue("7", ", ttl => interval '2 seconds'");
  const { expiresAt } = await tokens.verify(token);
  assert.equal(await tokens.ended(token), "expired");
  const late = (await one(pool, "SELECT extract(epoch FROM clock_timestamp())::float8 * 1000")) - expiresAt;
  assert.ok(late >= 0 && late < 5_000, `${late} ms`);
});

test("what any role can send does no harm but evict", async (t) => {
  const { pool, tokens, issue } = await application(t);
  const token = await issue("7");
  for (const payload of ["", "not JSON", '{"v":1,"kind":"flush"}', '{"v":1,"kind":"user","id":"7","session_version":9223372036854775807}']) {
    await fill(tokens, token);
    await pool.query("SELECT pg_notify('auth_invalidation', $1)", [payload]);
    await until(() => !tokens.peek(token), payload);
  }
});
