import { createHash } from "node:crypto";
import type { Answer, Kept } from "./answers.js";
import { Cache, type EndedOptions, type IdentityOption } from "./cache.js";
import { Refused } from "./errors.js";

/** An accepted API key. Frozen: requests share it. Times are milliseconds since 1970. */
export interface ApiKey {
  readonly kind: "api_key";
  readonly id: string;
  readonly userId: string;
  /** The key's own. */
  readonly sessionVersion: bigint | null;
  readonly fingerprint: string;
  /** Null: never. */
  readonly expiresAt: number | null;
}

const VERIFY = `
  SELECT id, user_id, session_version::text, fingerprint,
    (extract(epoch FROM expires_at) * 1000)::float8 AS expires_at,
    (extract(epoch FROM expires_at - pg_catalog.clock_timestamp()) * 1000)::float8 AS holds
  FROM auth.verify_api_key($1)`;

/** In front of `auth.verify_api_key`: asks the database only for what it does not know. */
export class ApiKeyCache extends Cache<ApiKey> {
  /** Whose key it is, when it holds. Throws `Refused` or `Unavailable`. */
  async verify(key: string): Promise<ApiKey> {
    return (await this.#verify(key)).value;
  }

  /** Whose key it is, if the cache has it and may answer. Never asks. */
  peek(key: string): ApiKey | undefined {
    return this.known(fingerprintOf(key));
  }

  /** Resolves when the key no longer verifies, or is another user's, with the reason: for what stays open. */
  ended(key: string, { identity, signal }: IdentityOption<ApiKey> & EndedOptions = {}): Promise<string> {
    return this.waitForEnd(() => this.#verify(key), identity, signal);
  }

  #verify(key: string): Promise<Kept<ApiKey>> {
    return this.lookUp(fingerprintOf(key), () => this.#ask(key));
  }

  async #ask(key: string): Promise<Answer<ApiKey>> {
    // No text of PostgreSQL's contains it.
    if (key.includes("\0")) throw new Refused("unknown_api_key");
    const row = await this.row(VERIFY, [key]);
    const value: ApiKey = Object.freeze({
      kind: "api_key",
      id: row.id as string,
      userId: row.user_id as string,
      sessionVersion: typeof row.session_version === "string" ? BigInt(row.session_version) : null,
      fingerprint: row.fingerprint as string,
      expiresAt: row.expires_at as number | null,
    });
    // Not what the answer calls it: events name a key by what it was looked up with.
    const ties = { userId: value.userId, fingerprint: fingerprintOf(key) };
    return { value, ties, holds: (row.holds as number | null) ?? Infinity };
  }
}

/** As `auth.api_key_fingerprint`. */
const fingerprintOf = (key: string) => createHash("sha256").update(key).digest("hex");
