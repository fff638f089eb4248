import { parseExact } from "./json.js";

/** What the database says has changed. Only a hint, since any role can send on a channel: it may cause that something is
 *  asked again, and nothing else. */
export type Event =
  | { readonly kind: "user"; readonly userId: string; readonly floor: bigint; readonly reason: string }
  | { readonly kind: "api_key"; readonly fingerprint: string; readonly reason: string }
  | { readonly kind: "token"; readonly tokenId: string }
  | { readonly kind: "session"; readonly sessionId: string; readonly reason: string }
  | { readonly kind: "issuer"; readonly issuer: string }
  | { readonly kind: "flush" };

export const FLUSH: Event = Object.freeze({ kind: "flush" });

const GREATEST = 2n ** 63n - 1n;

/** An event from its payload. What is not understood is a flush: it may be about anything. */
export function parseEvent(payload: string): Event {
  try {
    return read(parseExact(payload) as Record<string, unknown>);
  } catch {
    return FLUSH;
  }
}

function read(payload: Record<string, unknown>): Event {
  if (payload.v !== 1) return FLUSH;
  const reason = typeof payload.reason === "string" ? payload.reason : "";
  switch (payload.kind) {
    case "user":
      return { kind: "user", userId: name(payload.id), floor: version(payload.session_version), reason };
    case "api_key":
      return { kind: "api_key", fingerprint: name(payload.fingerprint), reason };
    case "token":
      return { kind: "token", tokenId: name(payload.jti) };
    case "session":
      return { kind: "session", sessionId: name(payload.sid), reason };
    case "issuer":
      return { kind: "issuer", issuer: name(payload.issuer) };
    default:
      return FLUSH;
  }
}

class NotUnderstood extends Error {}

function name(value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw new NotUnderstood();
}

function version(value: unknown): bigint {
  if (value === undefined) return 0n;
  const exact = Number.isSafeInteger(value) ? BigInt(value as number) : value;
  if (typeof exact === "bigint" && exact >= 0n && exact <= GREATEST) return exact;
  throw new NotUnderstood();
}

/** Is an event about `named` about tokens of `issuer`? It names the row of auth.issuers; the row of a template
 *  (`https://login.example/{tid}/v2.0`) may be that of any issuer. */
export const isOfIssuer = (named: string, issuer: string) => named === issuer || named.includes("{");
