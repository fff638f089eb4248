import type { IncomingMessage, ServerResponse } from "node:http";
import type { Pool, PoolClient } from "pg";
import type { ApiKey, ApiKeyCache } from "./api-keys.js";
import type { EndedOptions } from "./cache.js";
import { Refused, Unavailable } from "./errors.js";
import type { Identity, TokenCache, VerifyOptions } from "./tokens.js";
import { transaction, type Credential } from "./transaction.js";

export interface AuthOptions {
  /** For `Authorization: Bearer …`. */
  tokens?: TokenCache;
  /** For the header of `apiKeyHeader`. */
  apiKeys?: ApiKeyCache;
  /** Default `X-API-Key`. */
  apiKeyHeader?: string;
  /** Do requests without a credential pass? Default false. A credential that is refused never does. */
  anonymous?: boolean;
  /** What a token must be bound to, if it is bound. */
  device?: (request: IncomingMessage) => VerifyOptions["device"];
  /** The body of an answer that turns a request away; default `{ error }`. The reason is the server's code. */
  body?: (problem: Problem) => unknown;
}

/** Why a request is turned away. */
export interface Problem {
  readonly status: 400 | 401 | 503;
  readonly error: "invalid_request" | "invalid_token" | "unauthenticated" | "unavailable";
  readonly reason?: string;
}

/** Who a request is of. It shows nobody the token or key. */
export class Authenticated {
  readonly identity: Identity | ApiKey;
  readonly #credential: Credential;
  readonly #ended: (options: EndedOptions) => Promise<string>;

  constructor(identity: Identity | ApiKey, credential: Credential, ended: (options: EndedOptions) => Promise<string>) {
    this.identity = identity;
    this.#credential = credential;
    this.#ended = ended;
  }

  get userId(): string | null {
    return this.identity.userId;
  }

  /** Runs `work` as this user, for row-level security; see `transaction`. */
  transaction<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
    return transaction(pool, this.#credential, work);
  }

  /** Resolves with the reason when the token or key no longer verifies, or is another user's: for what stays open. */
  ended(options: EndedOptions = {}): Promise<string> {
    return this.#ended(options);
  }
}

const ofRequest = new WeakMap<object, Authenticated>();

/** Whose request it is, an Express or a Fastify one; undefined for an anonymous one that was let pass. */
export const authOf = (request: object): Authenticated | undefined => ofRequest.get(request);

/** The same, where nobody anonymous gets. */
export function requireAuth(request: object): Authenticated {
  const auth = ofRequest.get(request);
  if (!auth) throw new Error("nobody is authenticated: is the middleware before this route, without `anonymous`?");
  return auth;
}

/** Middleware for Express and whatever takes `(request, response, next)`. */
export function expressAuth(options: AuthOptions) {
  const authenticate = authenticator(options);
  return (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void): void => {
    authenticate(request).then(
      (outcome) => {
        if (!isProblem(outcome)) {
          if (outcome) ofRequest.set(request, outcome);
          return next();
        }
        response.statusCode = outcome.status;
        for (const [name, value] of headersOf(outcome)) response.setHeader(name, value);
        response.setHeader("Content-Type", "application/json");
        response.end(JSON.stringify(bodyOf(outcome, options)));
      },
      // A fault of the set-up.
      next,
    );
  };
}

interface FastifyReply {
  code(status: number): FastifyReply;
  header(name: string, value: string): FastifyReply;
  send(body: unknown): unknown;
}

/** A hook for Fastify: `app.addHook("onRequest", fastifyAuth(options))`. */
export function fastifyAuth(options: AuthOptions) {
  const authenticate = authenticator(options);
  return async (request: { raw: IncomingMessage }, reply: FastifyReply): Promise<unknown> => {
    const outcome = await authenticate(request.raw);
    if (!isProblem(outcome)) {
      if (outcome) ofRequest.set(request, outcome);
      return undefined;
    }
    reply.code(outcome.status);
    for (const [name, value] of headersOf(outcome)) reply.header(name, value);
    return reply.send(bodyOf(outcome, options));
  };
}

const isProblem = (outcome: Authenticated | Problem | undefined): outcome is Problem =>
  outcome !== undefined && !(outcome instanceof Authenticated);

const bodyOf = (problem: Problem, { body = ({ error }) => ({ error }) }: AuthOptions): unknown => body(problem);

function headersOf({ status, error }: Problem): [string, string][] {
  if (status === 503) return [["Retry-After", "1"]];
  if (status === 400) return [];
  // RFC 6750, 3.1: no error where nothing was sent.
  return [["WWW-Authenticate", error === "invalid_token" ? 'Bearer error="invalid_token"' : "Bearer"]];
}

const BEARER = /^bearer(?: +(.*))?$/i;
const INVALID: Problem = { status: 400, error: "invalid_request" };

function authenticator({ tokens, apiKeys, apiKeyHeader = "X-API-Key", anonymous = false, device }: AuthOptions) {
  const keyHeader = apiKeyHeader.toLowerCase();
  return async (request: IncomingMessage): Promise<Authenticated | Problem | undefined> => {
    // Not `headers`, where the second of two is dropped or joined to the first.
    const { authorization = [], [keyHeader]: keys = [] } = request.headersDistinct;
    const bearers = tokens ? authorization.map((value) => BEARER.exec(value)).filter((match) => match !== null) : [];
    const sent = [...bearers, ...(apiKeys ? keys : [])];
    if (sent.length > 1 || authorization.length > 1) return INVALID;
    if (sent.length === 0) return anonymous ? undefined : { status: 401, error: "unauthenticated" };
    try {
      if (bearers.length === 0) {
        const [apiKey] = keys as [string];
        const identity = await apiKeys!.verify(apiKey);
        return new Authenticated(identity, { apiKey }, (options) => apiKeys!.ended(apiKey, { ...options, identity }));
      }
      const token = bearers[0]?.[1] ?? "";
      if (token === "" || /\s/.test(token)) return INVALID;
      const bound = { device: device?.(request) };
      const identity = await tokens!.verify(token, bound);
      return new Authenticated(identity, { token }, (options) => tokens!.ended(token, { ...bound, ...options, identity }));
    } catch (error) {
      if (error instanceof Refused) return { status: 401, error: "invalid_token", reason: error.reason };
      if (error instanceof Unavailable) return { status: 503, error: "unavailable" };
      throw error;
    }
  };
}
