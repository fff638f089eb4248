// A service of notes: Express, Drizzle, auth_ext. Any number of these processes may run beside each other.
//
//     psql -d notes -f schema.sql
//     DATABASE_URL=postgres://notes_app@…/notes LISTENER_URL=postgres://notes_listener@…/notes PORT=8080 node app.js

import { ApiKeyCache, expressAuth, Listener, requireAuth, TokenCache } from "auth-ext";
import { desc, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import express from "express";
import pg from "pg";
import { hashOf, matches } from "./passwords.js";
import { notes, users } from "./tables.js";

const { DATABASE_URL, LISTENER_URL, PORT = "8080" } = process.env;

const pool = new pg.Pool({ connectionString: DATABASE_URL, connectionTimeoutMillis: 5_000, query_timeout: 10_000 });
pool.on("error", (error) => console.warn("pool:", error.message));
const db = drizzle(pool);
const listener = new Listener(LISTENER_URL, { onError: (error) => console.warn("listener:", error.message) });
const tokens = new TokenCache(listener, pool);
const apiKeys = new ApiKeyCache(listener, pool);

/** One row of a function of auth_ext. */
async function row(client, text, ...values) {
  return (await client.query(text, values)).rows[0];
}

/** The device that a login is bound to: its refresh token is good for nothing elsewhere. */
const deviceOf = (request) => JSON.stringify({ user_agent: request.get("user-agent") ?? "" });

const app = express();
app.use(express.json({ limit: "16kb" }));

// --- logins ----------------------------------------------------------------------------------------

app.post("/users", async (request, response) => {
  const { email, password } = strings(request.body, "email", "password");
  await db.insert(users).values({ email, passwordHash: await hashOf(password) });
  response.status(201).end();
});

app.post("/login", async (request, response) => {
  const { email, password } = strings(request.body, "email", "password");
  const [user] = await db.select().from(users).where(eq(users.email, email));
  if (!(await matches(password, user?.passwordHash))) return response.status(403).json({ error: "wrong_password" });
  const open = "SELECT access_token, refresh_token FROM auth.open_session($1, device => $2, label => $3)";
  response.json(await row(pool, open, String(user.id), deviceOf(request), request.get("user-agent")));
});

app.post("/refresh", async (request, response) => {
  const { refresh_token } = strings(request.body, "refresh_token");
  const { valid, ...pair } = await row(
    pool,
    "SELECT valid, access_token, refresh_token FROM auth.refresh_session($1, $2)",
    refresh_token,
    deviceOf(request),
  );
  if (valid) response.json(pair);
  else response.status(401).json({ error: "log_in_again" });
});

// --- for people only -------------------------------------------------------------------------------

const person = expressAuth({ tokens });

app.get("/devices", person, async (request, response) => {
  const list = (client) => client.query("SELECT session_id, label, last_used_at, is_current FROM auth.my_sessions()");
  response.json((await requireAuth(request).transaction(pool, list)).rows);
});

app.delete("/devices/:id", person, async (request, response) => {
  const end = (client) => row(client, "SELECT auth.end_my_session($1) AS ended", request.params.id);
  const { ended } = await requireAuth(request).transaction(pool, end);
  response.status(ended ? 204 : 404).end();
});

app.post("/logout-everywhere", person, async (request, response) => {
  await pool.query("SELECT auth.bump_session_version($1)", [requireAuth(request).userId]);
  response.status(204).end();
});

app.post("/api-keys", person, async (request, response) => {
  const { name } = strings(request.body, "name");
  const create = "SELECT id, key FROM auth.create_api_key($1, $2)";
  response.status(201).json(await row(pool, create, requireAuth(request).userId, name));
});

// --- notes: for people and programs ----------------------------------------------------------------

const either = expressAuth({ tokens, apiKeys });

app.get("/whoami", either, (request, response) => {
  response.json({ user_id: requireAuth(request).userId });
});

app.get("/notes", either, async (request, response) => {
  // No WHERE: the policy shows nobody another's notes.
  const list = (client) => drizzle(client).select().from(notes).orderBy(desc(notes.id));
  response.json(await requireAuth(request).transaction(pool, list));
});

app.post("/notes", either, async (request, response) => {
  const { text } = strings(request.body, "text");
  const add = (client) => drizzle(client).insert(notes).values({ text }).returning();
  const [note] = await requireAuth(request).transaction(pool, add);
  response.status(201).json(note);
});

/** Server-sent events, until the login ends. */
app.get("/events", either, async (request, response) => {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write(": hello\n\n");
  const ticking = setInterval(() => response.write(`data: ${new Date().toISOString()}\n\n`), 1_000);
  try {
    const reason = await requireAuth(request).ended({ signal: gone.signal });
    response.end(`event: ended\ndata: ${reason}\n\n`);
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  } finally {
    clearInterval(ticking);
  }
});

// ---------------------------------------------------------------------------------------------------

class BadRequest extends Error {}

/** Members that must be there and be strings. */
function strings(body, ...names) {
  for (const name of names) if (typeof body?.[name] !== "string" || body[name] === "") throw new BadRequest(name);
  return body;
}

app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  if (error instanceof BadRequest) return response.status(400).json({ error: "missing", name: error.message });
  // A login that ended between the middleware and the transaction.
  if (error.name === "Refused") return response.status(401).set("WWW-Authenticate", 'Bearer error="invalid_token"').json({ error: "invalid_token" });
  if (error.name === "Unavailable") return response.status(503).set("Retry-After", "1").json({ error: "unavailable" });
  console.error(error);
  response.status(500).json({ error: "internal" });
});

const server = app.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on ${server.address().port}`));

process.on("SIGTERM", async () => {
  server.close();
  server.closeAllConnections();
  await listener.close();
  await pool.end();
});
