// Throw-away servers with the extension, in the folder AUTH_EXT_RUN; gone when the process ends.

import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, chownSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import pg from "pg";

const { AUTH_EXT_PG_BIN: BIN, AUTH_EXT_RUN: RUN } = process.env;
if (!BIN || !RUN) throw new Error("set AUTH_EXT_PG_BIN and AUTH_EXT_RUN; see clients/README.md");

// PostgreSQL refuses to run as root.
const owner = process.getuid() === 0 ? (process.env.AUTH_EXT_OS_USER ?? "postgres") : null;
const id = (flag) => Number(execFileSync("id", [flag, owner]));
const as = owner ? { uid: id("-u"), gid: id("-g") } : {};

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export class Server {
  static async start(name, settings = {}) {
    const server = await Server.#at(name);
    server.run("initdb", "-D", server.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync");
    server.#begin({ listen_addresses: "127.0.0.1", fsync: "off", log_min_messages: "warning", ...settings });
    return server;
  }

  /** A hot standby of this server. */
  async standby(name) {
    const standby = await Server.#at(name);
    const from = `host=127.0.0.1 port=${this.port} user=postgres`;
    standby.run("pg_basebackup", "-D", standby.data, "-d", from, "-R", "-c", "fast", "--no-sync");
    standby.#begin({});
    return standby;
  }

  static async #at(name) {
    const server = new Server();
    server.home = join(RUN, name);
    server.data = join(server.home, "data");
    server.port = await freePort();
    rmSync(server.home, { recursive: true, force: true });
    mkdirSync(server.home, { recursive: true });
    chmodSync(server.home, 0o755);
    if (owner) chownSync(server.home, as.uid, as.gid);
    return server;
  }

  #begin(settings) {
    const lines = Object.entries({ port: this.port, unix_socket_directories: this.home, ...settings });
    appendFileSync(join(this.data, "postgresql.conf"), lines.map(([key, value]) => `${key} = '${value}'\n`).join(""));
    this.launch();
    process.on("exit", () => this.stop("immediate"));
  }

  run(program, ...words) {
    const { status, stderr, error } = spawnSync(join(BIN, program), words, { ...as, cwd: this.home, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
    if (status !== 0) throw error ?? new Error(`${program}: ${stderr}`);
  }

  launch() {
    this.run("pg_ctl", "start", "-s", "-w", "-D", this.data, "-l", join(this.home, "log"));
  }

  stop(mode = "fast") {
    try {
      this.run("pg_ctl", "stop", "-s", "-w", "-m", mode, "-D", this.data);
    } catch {
      // It is down.
    }
  }

  restart() {
    this.stop();
    this.launch();
  }

  /** All at once, as when the power fails. */
  async kill9() {
    const postmaster = readFileSync(join(this.data, "postmaster.pid"), "utf8").split("\n")[0];
    const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, "utf8").trim().split(" ");
    for (const pid of [postmaster, ...children]) {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // It has ended.
      }
    }
    // Until nobody holds the port and the shared memory.
    for (let turn = 0; ; turn += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      try {
        return this.launch();
      } catch (error) {
        if (turn > 100) throw error;
      }
    }
  }

  config(database, more) {
    return { host: "127.0.0.1", port: this.port, user: "postgres", database, ...more };
  }

  /** A database with users 1 to 40, of whom each has the API key `rfs_N`, and an issuer. */
  async database(name, sql = "") {
    const maker = new pg.Client(this.config("postgres"));
    await maker.connect();
    await maker.query(`CREATE DATABASE ${name}`);
    await maker.end();
    const pool = this.pool(name);
    await pool.query(TABLES);
    if (sql) await pool.query(sql);
    return pool;
  }

  pool(database, more) {
    const pool = new pg.Pool({ ...this.config(database), max: 10, connectionTimeoutMillis: 5_000, ...more });
    pool.on("error", () => {}); // it makes another
    pool.on("connect", (client) => client.on("error", () => {})); // one that is in use fails at its next query
    pool.config = this.config(database);
    return pool;
  }
}

const TABLES = `
  CREATE EXTENSION auth_ext;
  CREATE TABLE users (id bigint PRIMARY KEY, email text, is_active boolean NOT NULL DEFAULT true);
  CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true,
    expires_at timestamptz, last_used_at timestamptz);
  SELECT auth.attach_users('users', bump_on => '{email}');
  SELECT auth.attach_api_keys('keys');
  INSERT INTO users SELECT n FROM generate_series(1, 40) AS n;
  INSERT INTO keys (id, user_id, key_fingerprint)
    SELECT 'k' || n, n, auth.api_key_fingerprint('rfs_' || n) FROM generate_series(1, 40) AS n;
  INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example.com', '{app.example.com}');
  SELECT auth.create_signing_key();`;

export async function one(pool, text, values) {
  const { rows } = await pool.query(text, values);
  return Object.values(rows[0])[0];
}

/** Ends the connections of listeners, which say who they are. */
export const END_LISTENERS = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = 'auth_ext listener'`;

/** Waits until it is so. */
export async function until(isSo, what, milliseconds = 20_000) {
  const end = performance.now() + milliseconds;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** By the clock of performance.now(). */
export async function sleepUntil(moment) {
  // Timers may be early.
  for (let left; (left = moment - performance.now()) > 0; ) await sleep(Math.ceil(left));
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
