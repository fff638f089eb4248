import { ByEvent } from "./by-event.js";
import type { Event } from "./event.js";
import type { Invalidation, Ties } from "./invalidation.js";

/** Whose end is waited for. Of several, whichever comes first. */
export interface Who {
  readonly userId?: string | null | undefined;
  readonly sessionId?: string | null | undefined;
  readonly fingerprint?: string | null | undefined;
}

interface Waiting {
  readonly ties: Ties;
  readonly callback: (reason: string) => void;
}

/** Who is called back at the first event that may have ended something. */
export class Hints {
  readonly #waiting = new ByEvent<Waiting>();

  constructor(invalidation: Invalidation) {
    invalidation.subscribe({
      event: (event) => {
        const reason = reasonOf(event);
        if (reason !== undefined) this.#call(this.#waiting.of(event), reason);
      },
      lapsed: () => this.#call(this.#waiting.all(), "stale"),
    });
  }

  add(callback: (reason: string) => void, { userId, sessionId, fingerprint }: Who): () => void {
    const ties = { userId: userId ?? null, sessionId: sessionId ?? null, fingerprint: fingerprint ?? null };
    if (Object.values(ties).every((tie) => tie === null)) throw new TypeError("onEnded of whom?");
    const waiting = { ties, callback };
    this.#waiting.add(waiting);
    return () => this.#waiting.remove(waiting);
  }

  #call(ended: Waiting[], reason: string): void {
    for (const waiting of ended) {
      this.#waiting.remove(waiting);
      // Later, so that what the callback throws does not reach the listener.
      queueMicrotask(() => waiting.callback(reason));
    }
  }
}

function reasonOf(event: Event): string | undefined {
  if (event.kind === "flush") return "flush";
  const reason = event.kind === "user" || event.kind === "session" || event.kind === "api_key" ? event.reason : undefined;
  return reason === "activated" && event.kind !== "session" ? undefined : reason;
}
