/** A token or API key is refused. The reason is a reason code of the server; no token, key or claim is in the message. */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(readonly reason: string) {
    super(reason);
  }
}

/** The database could not be asked, or did not answer in time: nothing is known about the token or key. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";

  constructor(cause: unknown) {
    super("the database could not be asked", { cause });
  }
}

/** Connection exceptions, lack of resources, shutdowns and cancelled queries, errors of the server's system; a server that
 *  is (still, or again) a standby, and one that asks for another try. */
const AWAY = /^(08|53|57|58|25006|40001)/;

/** What PostgreSQL itself answered. Not by class: an application may have several copies of `pg`. */
function serverError(error: unknown): { code: string; detail: unknown } | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, severity, detail } = error as { code?: unknown; severity?: unknown; detail?: unknown };
  // System errors have codes too (EPIPE), but no severity.
  return typeof code === "string" && typeof severity === "string" ? { code, detail } : undefined;
}

/** The SQLSTATE, if PostgreSQL answered with an error. */
export const sqlState = (error: unknown): string | undefined => serverError(error)?.code;

/** What a refusal means: that a standby is behind says nothing about the token. */
export const refusal = (reason: string): Refused | Unavailable =>
  reason === "stale_standby" ? new Unavailable(new Refused(reason)) : new Refused(reason);

/** What an error of the driver means. A fault of the set-up (a function that may not be called, no issuer) stays what it
 *  is. */
export function explained(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof Refused || error instanceof Unavailable) return error;
  const server = serverError(error);
  if (server?.code === "28000" && typeof server.detail === "string") return refusal(server.detail);
  if (server) return AWAY.test(server.code) ? new Unavailable(error) : error;
  // Our own mistakes. All else is of sockets and pools.
  return error instanceof TypeError || error instanceof RangeError ? error : new Unavailable(error);
}
