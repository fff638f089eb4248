// A hot standby, which has no LISTEN, and its promotion.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Listener, Refused, TokenCache } from "../dist/index.js";
import { proxy } from "./proxy.mjs";
import { one, Server, sleep, sleepUntil, until } from "./server.mjs";

const ended = (error) => error instanceof Refused && error.reason === "session_version_mismatch";

test("on a standby changes are known within the bound, and after its promotion nothing of before is answered", async (t) => {
  const primary = await Server.start("primary");
  const writer = await primary.database("app");
  const standby = await primary.standby("standby");
  t.after(() => {
    primary.stop("immediate");
    standby.stop("immediate");
  });

  // The application of the standby.
  const maxStaleness = 900;
  const reader = standby.pool("app");
  const near = new Listener(reader.config, { maxStaleness });
  const nearTokens = new TokenCache(near, reader);
  t.after(() => near.close());
  // The application of whichever is the primary, over an address that moves.
  const address = await proxy(primary.port);
  t.after(() => address.close());
  const moving = primary.pool("app", { port: address.port });
  const errors = [];
  const far = new Listener({ ...moving.config, port: address.port }, { onError: (error) => errors.push(error) });
  const farTokens = new TokenCache(far, moving);
  t.after(() => far.close());

  await until(() => near.fresh && far.fresh, "fresh");
  const [mine, other] = [await one(writer, "SELECT auth.issue_jwt('7')"), await one(writer, "SELECT auth.issue_jwt('8')")];
  await until(async () => (await nearTokens.verify(mine)) && nearTokens.peek(mine), "cached on the standby");
  await writer.query("SELECT auth.bump_session_version('7')");
  const { rows } = await writer.query("SELECT pg_current_wal_insert_lsn() AS lsn");
  await until(() => one(reader, "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", [rows[0].lsn]), "replayed");
  const replayed = performance.now();
  await sleepUntil(replayed + maxStaleness);
  assert.equal(nearTokens.peek(mine), undefined, "within the bound");
  await assert.rejects(nearTokens.verify(mine), ended);

  await until(async () => (await farTokens.verify(other)) && farTokens.peek(other), "cached");
  primary.stop("immediate");
  standby.run("pg_ctl", "promote", "-s", "-w", "-D", standby.data);
  address.turn(standby.port);
  await reader.query("SELECT auth.bump_session_version('8')");
  await far.sync(20_000);
  assert.equal(farTokens.peek(other), undefined);
  await assert.rejects(farTokens.verify(other), ended);
  assert.ok(errors.length > 0);

  // What was a standby's listener begins to hear: what is sent and in no log.
  const third = await one(reader, "SELECT auth.issue_jwt('9')");
  const hears = async () => {
    await nearTokens.verify(third);
    if (!nearTokens.peek(third)) return false;
    await reader.query("SELECT pg_notify('auth_invalidation', $1)", ['{"v":1,"kind":"user","id":"9"}']);
    await sleep(50);
    return near.fresh && !nearTokens.peek(third);
  };
  await until(hears, "it listens");
  await Promise.all([writer, moving, reader].map((pool) => pool.end()));
});
