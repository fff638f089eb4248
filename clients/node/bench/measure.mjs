// What the cache is worth: the table of the README. Give it a server with the extension, as clients/README.md says under
// "Tests":
//
//     npm ci && npm run build && node --expose-gc bench/measure.mjs

import { randomUUID } from "node:crypto";
import { Listener, TokenCache } from "../dist/index.js";
import { Invalidation } from "../dist/invalidation.js";
import { row } from "../tests/fake.mjs";
import { Server, sleep, until } from "../tests/server.mjs";

const CALLERS = 10;
const SECONDS = 3;
const USERS = 40;

const server = await Server.start("measure", { max_connections: 50 });
const pool = await server.database("measure");
const { rows } = await pool.query("SELECT auth.issue_jwt(id::text, ttl => '1 hour') AS token FROM users ORDER BY id");
const tokens = rows.map(({ token }) => token);

/** Calls a second, and the time that 99 of 100 calls take at most, in microseconds. */
async function measure(verify, seconds = SECONDS) {
  const took = [];
  const end = performance.now() + seconds * 1000;
  const call = async () => {
    for (let n = 0; ; n += 1) {
      const began = performance.now();
      if (began > end) return;
      await verify(tokens[n % tokens.length]).catch((error) => {
        if (error.name !== "Refused") throw error;
      });
      took.push(performance.now() - began);
      // Others have their turn, as between the requests of a server.
      if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  took.sort((a, b) => a - b);
  return { rate: took.length / seconds, p99: took[Math.floor(took.length * 0.99)] * 1000 };
}

const lines = [];
const line = (name, { rate, p99 }) => lines.push([name, Math.round(rate).toLocaleString("en"), Math.round(p99).toLocaleString("en")]);

line("a round trip each: `auth.verify_jwt`, a pool of 10", await measure((token) => pool.query("SELECT auth.verify_jwt($1)", [token])));

const listener = new Listener(pool.config);
const cache = new TokenCache(listener, pool);
await until(() => listener.fresh, "fresh");
for (const token of tokens) await cache.verify(token);
await measure((token) => cache.verify(token), 0.5);
line("through the cache", await measure((token) => cache.verify(token)));

// 1,000 bumps a second of other users, as a busy service has them.
await pool.query("INSERT INTO users SELECT generate_series(1000, 2000)");
let bumps = 0;
let bumping = true;
const bumper = server.pool("measure", { max: 8 });
const started = performance.now();
const bump = async () => {
  while (bumping) {
    if (bumps > performance.now() - started) await sleep(1);
    else {
      bumps += 1;
      await bumper.query("SELECT auth.bump_session_version($1)", [String(1000 + (bumps % 1000))]);
    }
  }
};
const bumpers = Array.from({ length: 8 }, bump);
await sleep(500);
const busy = await measure((token) => cache.verify(token));
bumping = false;
await Promise.all(bumpers);
const rate = Math.round((bumps / (performance.now() - started)) * 1000);
line(`through the cache, ${rate.toLocaleString("en")} bumps a second of other users`, busy);

console.log(`| ${CALLERS} callers, ${USERS} tokens | verifications/s | p99, µs |\n|---|---:|---:|`);
for (const words of lines) console.log(`| ${words.join(" | ")} |`);
await listener.close();
await Promise.all([pool.end(), bumper.end()]);
server.stop();

// Memory: 100,000 tokens of 50,000 users, with claims as issue_jwt makes them.
const invalidation = new Invalidation(3_600_000);
invalidation.caughtUp(invalidation.clock(), []);
const full = new TokenCache(
  { invalidation },
  {
    query: async (_, [token]) => {
      const [jti, sid, userId] = token.split(" ");
      const claims = { iss: "https://api.example.com", aud: "app.example.com", sub: userId, iat: 1, exp: 2, jti, sid, session_version: 7 };
      return { rows: [row({ token_id: jti, user_id: userId, claims: JSON.stringify(claims) })] };
    },
  },
  { maxAge: 3_600_000 },
);
globalThis.gc();
const empty = process.memoryUsage().heapUsed;
for (let n = 0; n < 100_000; n += 1) await full.verify(`${randomUUID()} ${randomUUID()} ${n % 50_000}`);
globalThis.gc();
const megabytes = (process.memoryUsage().heapUsed - empty) / 1e6;
console.log(`\n${full.stats().entries.toLocaleString("en")} entries: ${Math.round(megabytes)} MB, ${Math.round(megabytes * 10)} bytes each`);
