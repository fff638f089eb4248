import type { Pool, PoolClient } from "pg";
import { explained } from "./errors.js";

/** What somebody proves who he is with. */
export type Credential = { readonly token: string } | { readonly apiKey: string };

/** Runs `work` in a transaction of the credential's user, for row-level security: commits what it did, or rolls back when it
 *  throws. No cache is asked: the database verifies the credential, and again for each statement. Throws `Refused` or
 *  `Unavailable` before the work begins; what the work throws comes out as it is. */
export async function transaction<T>(
  pool: Pool,
  credential: Credential,
  work: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw explained(error);
  });
  let broken: Error | undefined;
  const lose = (error: Error) => {
    broken = error;
  };
  // The pool hears only of idle clients; an 'error' that nobody handles ends the process. The next query fails.
  client.on("error", lose);
  try {
    await begin(client, credential);
    const result = await work(client);
    const { command } = await client.query("COMMIT");
    // As PostgreSQL answers when a statement has failed before, whoever caught that.
    if (command !== "COMMIT") throw new Error("the transaction was rolled back: one of its statements failed");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch(lose);
    throw error;
  } finally {
    client.off("error", lose);
    client.release(broken);
  }
}

async function begin(client: PoolClient, credential: Credential): Promise<void> {
  try {
    await client.query("BEGIN");
    if ("token" in credential) await client.query("SELECT FROM auth.authenticate($1)", [credential.token]);
    else await client.query("SELECT FROM auth.authenticate_api_key($1)", [credential.apiKey]);
  } catch (error) {
    throw explained(error);
  }
}
