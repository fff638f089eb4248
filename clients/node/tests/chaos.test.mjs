// Tables that change at random while the server, the connections and this process come and go. In each pause, and in the
// end, what is cached is what the tables say. AUTH_EXT_SEED repeats a run, as far as a real server can.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiKeyCache, Listener, Refused, TokenCache, Unavailable } from "../dist/index.js";
import { random, seedOf } from "./random.mjs";
import { END_LISTENERS, Server, sleep, until } from "./server.mjs";

const CHANGES = process.env.AUTH_EXT_LONG ? 10_000 : 1_000;
const USERS = 40;
const WRITERS = 2;
const READERS = 4;

function oneChange(chance) {
  const n = 1 + chance.below(USERS);
  const other = 1 + chance.below(USERS);
  const [bump, active, email, remove, insert, key, keyEnds, keyGone, keyBack, rolledBack, bulk] = [
    `SELECT auth.bump_session_version(id::text) FROM users WHERE id = ${n}`,
    `UPDATE users SET is_active = NOT is_active WHERE id = ${n}`,
    `UPDATE users SET email = random()::text WHERE id IN (${n}, ${other})`,
    `DELETE FROM users WHERE id = ${n}`,
    `INSERT INTO users (id) VALUES (${n}), (${other}) ON CONFLICT DO NOTHING`,
    `UPDATE keys SET is_active = NOT is_active WHERE id IN ('k${n}', 'k${other}')`,
    `UPDATE keys SET expires_at = clock_timestamp() WHERE id = 'k${n}'`,
    `DELETE FROM keys WHERE id = 'k${n}'`,
    `INSERT INTO keys (id, user_id, key_fingerprint) VALUES ('k${n}', ${n}, auth.api_key_fingerprint('rfs_${n}')) ON CONFLICT DO NOTHING`,
    `BEGIN; DELETE FROM users WHERE id <> ${n}; UPDATE keys SET is_active = NOT is_active; ROLLBACK`,
    `UPDATE users SET email = random()::text WHERE id % 3 = ${n % 3}`,
  ];
  const weights = [
    [22, bump], [2, active], [2, email], [2, remove], [3, insert], [2, key], [2, keyEnds], [2, keyGone], [3, keyBack], [1, rolledBack], [1, bulk],
  ];
  return chance.of(weights.flatMap(([weight, sql]) => Array(weight).fill(sql)));
}

/** Lost with the server, or with a row that the other writer had. Whether it was committed nobody knows. */
const harmless = (error) =>
  error instanceof Unavailable || (!error.severity && !(error instanceof assert.AssertionError)) || /^(57P|40P01|28000|08)/.test(error.code);

class Run {
  committed = new Map();
  tokens = new Map();
  changes = 0;
  answers = 0;

  constructor(server, pool, chance) {
    Object.assign(this, { server, pool, chance });
    // Nothing but events and catching up evicts within this time.
    this.listener = new Listener(pool.config, { maxStaleness: 300_000, onError: () => {} });
    this.cache = new TokenCache(this.listener, pool, { maxAge: 300_000 });
    this.keys = new ApiKeyCache(this.listener, pool, { maxAge: 300_000 });
  }

  async write(until) {
    while (this.changes < until && !this.failed) {
      try {
        await this.change();
        await sleep(this.chance.below(12));
      } catch (error) {
        if (!harmless(error)) throw (this.failed = error);
        await sleep(20);
      }
    }
  }

  async change() {
    const client = await this.pool.connect();
    try {
      const ending = this.chance.chance(0.1) && this.chance.of([...this.tokens.values()].flat());
      if (ending?.sid) await client.query("SELECT auth.end_session($1)", [ending.sid]);
      else if (ending) await client.query("SELECT auth.revoke_jwt($1)", [ending.token]);
      else await client.query(oneChange(this.chance));
      this.changes += 1;
      const { rows } = await client.query("SELECT id::text, session_version::text AS version FROM users");
      for (const { id, version } of rows) {
        const known = this.committed.get(id) ?? 0n;
        if (BigInt(version) > known) this.committed.set(id, BigInt(version));
      }
      client.release();
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** Whoever has asked to catch up gets nothing older than what was committed before. */
  async read(over) {
    while (!over() && !this.failed) {
      try {
        await this.look();
      } catch (error) {
        if (!harmless(error)) throw (this.failed = error);
        await sleep(20);
      }
    }
  }

  async look() {
    const user = String(1 + this.chance.below(USERS));
    const mine = this.tokens.get(user) ?? [];
    this.tokens.set(user, mine);
    if (mine.length < 3) {
      const text = this.chance.chance(0.5) ? "SELECT access_token AS token, session_id AS sid FROM auth.open_session($1)" : "SELECT auth.issue_jwt($1) AS token";
      mine.push((await this.pool.query(text, [user])).rows[0]);
    }
    const one = this.chance.of(mine);
    const synced = this.chance.chance(0.03);
    const known = this.committed.get(user) ?? 0n;
    if (synced) await this.listener.sync(30_000);
    try {
      const before = this.cache.stats().hits;
      const { sessionVersion } = await this.cache.verify(one.token);
      await this.cache.verify(one.token);
      this.answers += this.cache.stats().hits - before;
      if (synced) assert.ok(sessionVersion >= known, `user ${user}: ${sessionVersion}, after ${known} was committed`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.tokens.set(user, mine.filter((other) => other !== one));
    }
    await this.keys.verify(`rfs_${1 + this.chance.below(USERS)}`).catch((error) => {
      if (!(error instanceof Refused)) throw error;
    });
  }

  /** While nothing changes, what is cached is what the tables say. */
  async isEqual() {
    await this.listener.sync(30_000);
    // A relay may send a flush that the log had already.
    await until(() => this.listener.fresh, "fresh");
    let cached = 0;
    for (const { token } of [...this.tokens.values()].flat()) {
      const known = this.cache.peek(token);
      if (!known) continue;
      cached += 1;
      const { rows } = await this.pool.query("SELECT valid, reason, user_id, session_version::text AS version FROM auth.check_jwt($1)", [token]);
      assert.deepEqual(rows[0], { valid: true, reason: null, user_id: known.userId, version: String(known.sessionVersion) });
    }
    for (let n = 1; n <= USERS; n += 1) {
      const known = this.keys.peek(`rfs_${n}`);
      if (!known) continue;
      cached += 1;
      const { rows } = await this.pool.query("SELECT valid, reason, session_version::text AS version FROM auth.check_api_key($1)", [`rfs_${n}`]);
      assert.deepEqual(rows[0], { valid: true, reason: null, version: String(known.sessionVersion) }, `key ${n}`);
    }
    return cached;
  }

  async terminate() {
    await this.pool.query(END_LISTENERS).catch(() => {});
    await sleep(100);
  }

  troubles = {
    none: () => {},
    terminate: () => this.terminate(),
    "terminate again and again": async () => {
      for (let n = 0; n < 3; n += 1) await this.terminate();
    },
    restart: () => this.server.restart(),
    "kill -9": () => this.server.kill9(),
    // As when this process is stopped: its sockets fill up meanwhile.
    pause: () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500),
    "end the relay": () =>
      this.pool
        .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'auth_ext relay'")
        .catch(() => {}),
  };

  async go(t) {
    const troubles = Object.entries(this.troubles);
    for (const [number, [name, trouble]] of troubles.entries()) {
      const share = Math.ceil((CHANGES * (number + 1)) / troubles.length);
      let over = false;
      const writing = Array.from({ length: WRITERS }, () => this.write(share));
      const reading = Array.from({ length: READERS }, () => this.read(() => over));
      // In the middle of what happens.
      while (this.changes < share - CHANGES / troubles.length / 2 && !this.failed) await sleep(1);
      await trouble();
      try {
        await Promise.all(writing);
      } finally {
        over = true;
      }
      await Promise.all(reading);
      t.diagnostic(`${name}: ${await this.isEqual()} entries are as in the tables`);
    }
    const { answers, changes } = this;
    t.diagnostic(`${changes} changes, ${answers} answers from the cache`);
    assert.ok(changes >= CHANGES && answers > CHANGES / 50);
  }
}

for (const [name, settings] of Object.entries({ inline: {}, relay: { shared_preload_libraries: "auth_ext", "auth_ext.notify": "relay" } })) {
  test(`whatever happens to a server that notifies ${name}, a cache ends equal to the tables`, async (t) => {
    const server = await Server.start(`chaos-${name}`, settings);
    t.after(() => server.stop("immediate"));
    // A bulk is more than twelve users.
    const pool = await server.database("chaos", "ALTER DATABASE chaos SET auth_ext.bulk_threshold = 12");
    const run = new Run(server, pool, random(seedOf(t)));
    try {
      await run.go(t);
    } finally {
      await run.listener.close();
      await pool.end();
    }
  });
}
