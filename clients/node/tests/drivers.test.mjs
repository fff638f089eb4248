// What docs/poolers-and-drivers.md shows of node-postgres.

import assert from "node:assert/strict";
import { test } from "node:test";
import { one, Server } from "./server.mjs";

async function graphsOf(pool, token) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query("SELECT auth.authenticate($1)", [token]);
    const { rows } = await client.query("SELECT id, title FROM graphs");
    await client.query("COMMIT");
    return rows;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

test("a driver's own transaction is the token's user's, and a refusal has its reason", async (t) => {
  const server = await Server.start("drivers");
  t.after(() => server.stop());
  const admin = await server.database("app", "CREATE VIEW graphs AS SELECT id::int, 'of ' || id AS title FROM users WHERE id = auth.user_id_bigint()");
  const pool = server.pool("app", { max: 1 });
  const token = await one(admin, "SELECT auth.issue_jwt('3')");
  assert.deepEqual(await graphsOf(pool, token), [{ id: 3, title: "of 3" }]);
  assert.equal(await one(pool, "SELECT count(*)::int FROM graphs"), 0);
  await assert.rejects(graphsOf(pool, "a.b.c"), { code: "28000", detail: "malformed" });
  assert.equal(await one(pool, "SELECT count(*)::int FROM graphs"), 0, "the connection is good");
  await Promise.all([admin.end(), pool.end()]);
});
