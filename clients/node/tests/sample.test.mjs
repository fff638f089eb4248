// The sample application, as two processes on one database, behind a real HTTP client. And the transaction helper.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Refused, transaction, Unavailable } from "../dist/index.js";
import { one, Server } from "./server.mjs";

const SAMPLE = new URL("../examples/notes/", import.meta.url);
let server;
let pool;
const apps = [];

before(async () => {
  server = await Server.start("sample");
  pool = await server.database("helped");
  const maker = server.pool("postgres");
  await maker.query("CREATE DATABASE notes");
  await maker.end();
  const owner = server.pool("notes");
  await owner.query(readFileSync(new URL("schema.sql", SAMPLE), "utf8"));
  await owner.end();
  for (const _ of [1, 2]) apps.push(await start());
});

after(async () => {
  for (const { process } of apps) process.kill("SIGTERM");
  await Promise.all(apps.map(({ ended }) => ended));
  await pool.end();
  server.stop();
});

async function start() {
  const url = (user) => `postgres://${user}@127.0.0.1:${server.port}/notes`;
  const env = { ...process.env, DATABASE_URL: url("notes_app"), LISTENER_URL: url("notes_listener"), PORT: "0" };
  const child = spawn(process.execPath, [fileURLToPath(new URL("app.js", SAMPLE))], { env, stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const port = await new Promise((resolve, reject) => {
    child.stdout.on("data", (text) => resolve(/\d+/.exec(text)[0]));
    child.on("exit", () => reject(new Error("the sample ended")));
  });
  return { process: child, ended, base: `http://127.0.0.1:${port}` };
}

/** A browser or a program: its own name, token and key. */
class Client {
  constructor(name, app) {
    Object.assign(this, { name, base: app.base, headers: {} });
  }

  fetch(method, path, body) {
    const headers = { "user-agent": this.name, "content-type": "application/json", ...this.headers };
    return fetch(this.base + path, { method, headers, body: body && JSON.stringify(body) });
  }

  async call(method, path, body) {
    const response = await this.fetch(method, path, body);
    const text = await response.text();
    return { status: response.status, challenge: response.headers.get("www-authenticate"), body: text && JSON.parse(text) };
  }

  async take(path, body) {
    const { status, body: pair } = await this.call("POST", path, body);
    assert.equal(status, 200, path);
    this.refreshToken = pair.refresh_token;
    this.headers = { authorization: `Bearer ${pair.access_token}` };
  }
}

const ADA = { email: "ada@example.com", password: "correct horse" };
const BOB = { email: "bob@example.com", password: "battery staple" };

test("people log in, refresh, see their devices and end one of them", async () => {
  const [phone, desk] = [new Client("Phone", apps[0]), new Client("Desk", apps[1])];
  assert.equal((await phone.call("POST", "/users", ADA)).status, 201);
  assert.equal((await phone.call("POST", "/users", BOB)).status, 201);
  assert.equal((await phone.call("POST", "/login", { ...ADA, password: "wrong" })).status, 403);
  assert.equal((await phone.call("POST", "/login", { ...ADA, email: "nobody@example.com" })).status, 403);
  assert.equal((await phone.call("POST", "/login", {})).status, 400);
  assert.deepEqual((await phone.call("GET", "/notes")).challenge, "Bearer");

  await phone.take("/login", ADA);
  await desk.take("/login", ADA);
  const used = phone.refreshToken;
  await phone.take("/refresh", { refresh_token: used });
  assert.notEqual(phone.refreshToken, used);
  assert.equal((await desk.call("POST", "/refresh", { refresh_token: phone.refreshToken })).status, 401, "from another device");

  const { body: devices } = await desk.call("GET", "/devices");
  assert.deepEqual(devices.map(({ label, is_current }) => [label, is_current]).sort(), [
    ["Desk", true],
    ["Phone", false],
  ]);
  const { session_id } = devices.find(({ label }) => label === "Phone");
  assert.equal((await phone.call("GET", "/whoami")).status, 200);
  assert.equal((await desk.call("DELETE", `/devices/${session_id}`)).status, 204);
  assert.equal((await desk.call("DELETE", `/devices/${session_id}`)).status, 404);
  await within(1_000, async () => (await phone.call("GET", "/whoami")).status === 401);
  assert.equal((await phone.call("GET", "/notes")).challenge, 'Bearer error="invalid_token"');
  assert.equal((await phone.call("POST", "/refresh", { refresh_token: phone.refreshToken })).status, 401);
  assert.equal((await desk.call("GET", "/whoami")).status, 200);
});

test("notes are their owner's only, also for an API key", async () => {
  const [ada, bob] = [new Client("A", apps[0]), new Client("B", apps[1])];
  await ada.take("/login", ADA);
  await bob.take("/login", BOB);
  await ada.call("POST", "/notes", { text: "Ada's" });
  await bob.call("POST", "/notes", { text: "Bob's" });
  const { body: made } = await ada.call("POST", "/api-keys", { name: "robot" });
  const robot = new Client("Robot", apps[1]);
  robot.headers = { "x-api-key": made.key };
  await robot.call("POST", "/notes", { text: "the robot's" });
  const texts = async (client) => (await client.call("GET", "/notes")).body.map(({ text }) => text);
  assert.deepEqual(await texts(ada), ["the robot's", "Ada's"]);
  assert.deepEqual(await texts(robot), ["the robot's", "Ada's"]);
  assert.deepEqual(await texts(bob), ["Bob's"]);
  assert.equal((await robot.call("GET", "/devices")).status, 401, "for people only");
  robot.headers = { "x-api-key": `${made.key}x` };
  assert.equal((await robot.call("GET", "/notes")).status, 401);
});

test("log out everywhere ends requests and open streams on the other machine within a second", async () => {
  const [here, there, bob] = [new Client("Here", apps[0]), new Client("There", apps[1]), new Client("Bob", apps[1])];
  await here.take("/login", ADA);
  await there.take("/login", ADA);
  await bob.take("/login", BOB);
  const stream = async (client) => {
    const response = await client.fetch("GET", "/events");
    assert.equal(response.status, 200);
    const reader = response.body.getReader();
    await reader.read();
    return reader;
  };
  const mine = await stream(there);
  const bobs = await stream(bob);
  const began = performance.now();
  assert.equal((await here.call("POST", "/logout-everywhere")).status, 204);
  let last = "";
  for (let part = await mine.read(); !part.done; part = await mine.read()) last = new TextDecoder().decode(part.value);
  assert.ok(performance.now() - began < 1_000, `${performance.now() - began} ms`);
  assert.match(last, /event: ended\ndata: session_version_mismatch/);
  for (const client of [here, there]) assert.equal((await client.call("GET", "/whoami")).status, 401);
  assert.equal((await bob.call("GET", "/whoami")).status, 200);
  assert.match(new TextDecoder().decode((await bobs.read()).value), /^data: /, "another's goes on");
  await bobs.cancel();
});

const within = async (milliseconds, isSo) => {
  const end = performance.now() + milliseconds;
  while (!(await isSo())) assert.ok(performance.now() < end, `not within ${milliseconds} ms`);
};

// --- the transaction helper ------------------------------------------------------------------------

const whoIs = (client) => client.query("SELECT auth.user_id() AS id").then(({ rows }) => rows[0].id);

test("a transaction is its credential's, commits, and leaves nobody behind", async () => {
  const single = server.pool("helped", { max: 1 });
  const token = await one(pool, "SELECT auth.issue_jwt('7')");
  const rename = (client) => client.query("UPDATE keys SET last_used_at = 'epoch' WHERE user_id = auth.user_id_bigint()");
  await transaction(single, { token }, rename);
  assert.equal(await one(pool, "SELECT string_agg(id, ' ') FROM keys WHERE last_used_at = 'epoch'"), "k7");
  assert.equal(await transaction(single, { apiKey: "rfs_8" }, whoIs), "8");
  assert.equal(await whoIs(single), null);
  await single.end();
});

test("a transaction rolls back when its work throws, also what the work has caught", async () => {
  const single = server.pool("helped", { max: 1 });
  const token = await one(pool, "SELECT auth.issue_jwt('7')");
  const insert = (client) => client.query("INSERT INTO users (id) VALUES (1000)");
  const mine = new Error("mine");
  await assert.rejects(
    transaction(single, { token }, async (client) => {
      await insert(client);
      throw mine;
    }),
    mine,
  );
  await assert.rejects(
    transaction(single, { token }, async (client) => {
      await insert(client);
      await client.query("SELECT 1 / 0").catch(() => {});
    }),
    /rolled back/,
  );
  assert.equal(await one(pool, "SELECT count(*)::int FROM users WHERE id = 1000"), 0);
  assert.equal(await whoIs(single), null);
  await single.end();
});

test("a transaction of a refused credential does not begin its work", async () => {
  const single = server.pool("helped", { max: 1 });
  const never = () => assert.fail("it has begun");
  const is = (reason) => (error) => error instanceof Refused && error.reason === reason;
  await assert.rejects(transaction(single, { token: "x.y.z" }, never), is("malformed"));
  await assert.rejects(transaction(single, { apiKey: "rfs_none" }, never), is("unknown_api_key"));
  const away = server.pool("helped", { port: 1 });
  away.options.port = 1;
  await assert.rejects(transaction(away, { token: "x.y.z" }, never), Unavailable);
  await away.end();
  assert.equal(await whoIs(single), null, "the connection is good");
  await single.end();
});

test("a connection that dies in the middle of a transaction does not end the process, nor come back to the pool", async () => {
  const bare = server.pool("helped", { max: 1 });
  bare.removeAllListeners("connect"); // which the tests' pools have, and an application's have not
  const token = await one(pool, "SELECT auth.issue_jwt('7')");
  await assert.rejects(
    transaction(bare, { token }, async (client) => {
      const pid = await one(client, "SELECT pg_backend_pid()");
      await pool.query("SELECT pg_terminate_backend($1)", [pid]);
      await new Promise((resolve) => setTimeout(resolve, 100));
      await client.query("SELECT 1");
    }),
  );
  assert.equal(await transaction(bare, { token }, whoIs), "7");
  await bare.end();
});
