import { createHash } from "node:crypto";
import type { Answer, Kept } from "./answers.js";
import { Cache, type EndedOptions, type IdentityOption } from "./cache.js";
import { refusal, Refused } from "./errors.js";
import { canonical, parseExact } from "./json.js";

/** Who an accepted token is of. Frozen: requests share it. Times are milliseconds since 1970. */
export interface Identity {
  readonly kind: "token";
  /** Null for a token that is nobody's, where its issuer allows that. */
  readonly userId: string | null;
  /** Of the token. */
  readonly sessionVersion: bigint | null;
  /** The login (`sid`) that it belongs to. */
  readonly sessionId: string | null;
  readonly tokenId: string | null;
  readonly issuer: string;
  readonly kid: string | null;
  readonly issuedAt: number | null;
  readonly expiresAt: number;
  /** The whole payload. Integers that a `number` cannot hold exactly are `bigint`. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export interface VerifyOptions {
  /** What a token must be bound to, if it is bound; as for `auth.check_jwt`. */
  device?: Readonly<Record<string, unknown>> | undefined;
}

type Device = VerifyOptions["device"];

// `holds` is by the server's clock: ours may be wrong.
const CHECK = `
  SELECT valid, reason, user_id, session_version::text, current_session_version::text, token_id, issuer, kid, claims::text AS claims,
    (extract(epoch FROM issued_at) * 1000)::float8 AS issued_at,
    (extract(epoch FROM expires_at) * 1000)::float8 AS expires_at,
    (extract(epoch FROM expires_at - pg_catalog.clock_timestamp()) * 1000)::float8 AS holds
  FROM auth.check_jwt($1, $2::jsonb)`;

/** The server's default of auth_ext.max_token_size. */
const LONGEST = 16_384;

/** In front of `auth.check_jwt`: asks the database only for what it does not know. */
export class TokenCache extends Cache<Identity> {
  /** Whose token it is, when it holds. Throws `Refused` or `Unavailable`. */
  async verify(token: string, { device }: VerifyOptions = {}): Promise<Identity> {
    return (await this.#verify(token, device)).value;
  }

  /** Whose token it is, if the cache has it and may answer. Never asks. */
  peek(token: string, { device }: VerifyOptions = {}): Identity | undefined {
    return this.known(keyOf(token, device));
  }

  /** Resolves when the token no longer verifies, or is another user's, with the reason: for what stays open. */
  ended(
    token: string,
    { device, identity, signal }: VerifyOptions & IdentityOption<Identity> & EndedOptions = {},
  ): Promise<string> {
    return this.waitForEnd(() => this.#verify(token, device), identity, signal);
  }

  async #verify(token: string, device: Device): Promise<Kept<Identity>> {
    const ask = () => this.#ask(token, device);
    if (token !== "" && Buffer.byteLength(token) <= LONGEST) return this.lookUp(keyOf(token, device), ask);
    const { value, ties } = await ask();
    return { value, ties, until: -Infinity };
  }

  async #ask(token: string, device: Device): Promise<Answer<Identity>> {
    // No text of PostgreSQL's contains it.
    if (token.includes("\0")) throw new Refused("malformed");
    const row = await this.row(CHECK, [token, device === undefined ? null : canonical(device)]);
    if (row.valid !== true) throw refusal(String(row.reason));
    const claims = parseExact(row.claims as string) as Identity["claims"];
    const value: Identity = Object.freeze({
      kind: "token",
      userId: row.user_id as string | null,
      sessionVersion: version(row.session_version),
      sessionId: typeof claims.sid === "string" ? claims.sid : null,
      tokenId: row.token_id as string | null,
      issuer: row.issuer as string,
      kid: row.kid as string | null,
      issuedAt: row.issued_at as number | null,
      expiresAt: row.expires_at as number,
      claims,
    });
    const { userId, sessionId, tokenId, issuer } = value;
    const ties = { userId, sessionId, tokenId, issuer, userVersion: version(row.current_session_version) };
    return { value, ties, holds: row.holds as number };
  }
}

const version = (text: unknown) => (typeof text === "string" ? BigInt(text) : null);

/** The whole token, never a claim of it: what it says is not verified yet. */
function keyOf(token: string, device: Device): string {
  const key = sha256(token);
  return device === undefined ? key : key + sha256(canonical(device));
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("base64");
