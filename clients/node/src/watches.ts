import { setTimeout as sleep } from "node:timers/promises";
import type { Kept } from "./answers.js";
import { ByEvent } from "./by-event.js";
import { Refused, Unavailable } from "./errors.js";
import type { Event } from "./event.js";
import type { Invalidation, Ties } from "./invalidation.js";

/** Whose something is. */
export type Owned = Pick<Ties, "userId">;

interface Watch {
  readonly ties: Ties;
  /** Ends the present wait. */
  readonly wake: (why: "event" | "flush") => void;
}

/** After a flush not everybody asks at once. */
const SPREAD = 500;
/** Between questions that nobody answers. */
const RETRY = 1_000;
/** At most this often while a token is past its `exp` and still holds: for a moment that the clocks differ by, or for its
 *  issuer's leeway. */
const PAST_EXP = { soonest: 10, latest: 1_000 };
const LONGEST_TIMER = 2 ** 31 - 1;

/** Credentials that something stays open on the strength of: websockets, streams. An event is a hint to ask again; only the
 *  database's answer, or that there is none, ends something. */
export class Watches {
  readonly #invalidation: Invalidation;
  readonly #watches = new ByEvent<Watch>();
  readonly #open = new Set<AbortController>();

  constructor(invalidation: Invalidation) {
    this.#invalidation = invalidation;
  }

  hear(event: Event): void {
    for (const { wake } of this.#watches.of(event)) wake(event.kind === "flush" ? "flush" : "event");
  }

  /** The promised bound is over, and nothing is known. */
  lapsed(): void {
    for (const { wake } of this.#watches.all()) wake("event");
  }

  close(): void {
    for (const open of this.#open) open.abort(new Error("the cache is closed"));
  }

  /** Resolves with the reason when it no longer verifies, or not for the user of `identity`; without one, of the first answer.
   *  Rejects when `signal` says so, and for faults of the set-up. */
  async ended(
    verify: () => Promise<Kept<unknown>>,
    identity: Owned | undefined,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    const open = new AbortController();
    const abort = () => open.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    this.#open.add(open);
    try {
      return await this.#ended(verify, identity, open.signal);
    } finally {
      this.#open.delete(open);
      signal?.removeEventListener("abort", abort);
    }
  }

  async #ended(
    verify: () => Promise<Kept<unknown>>,
    identity: Owned | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    let verifiedAt = this.#invalidation.clock();
    for (;;) {
      signal.throwIfAborted();
      const mark = this.#invalidation.mark();
      const asked = this.#invalidation.clock();
      try {
        const kept = await verify();
        verifiedAt = asked;
        identity ??= kept.ties;
        // An account that is now linked to somebody else, or a key of another owner.
        if (kept.ties.userId !== identity.userId) return "unlinked";
        // An event that came since has found nobody waiting.
        if (this.#invalidation.heardSince(mark, kept.ties)) continue;
        signal.throwIfAborted();
        const why = await this.#wait(kept, signal);
        if (why === "flush") await pause(Math.random() * SPREAD, signal);
      } catch (error) {
        if (error instanceof Refused) return error.reason;
        if (!(error instanceof Unavailable)) throw error;
        const known = Math.max(this.#invalidation.bound, verifiedAt + this.#invalidation.maxStaleness);
        const left = known - this.#invalidation.clock();
        if (left <= 0) return "unavailable";
        await pause(Math.min(left, RETRY * (0.5 + Math.random())), signal);
      }
    }
  }

  /** For an event, or until it is time to ask again. */
  #wait({ ties, until }: Kept<unknown>, signal: AbortSignal): Promise<"event" | "flush"> {
    const left = until - this.#invalidation.clock();
    const delay = left > 0 ? left + 1 : Math.min(Math.max(PAST_EXP.soonest, -left), PAST_EXP.latest);
    // No event will come.
    const longest = this.#invalidation.fresh ? LONGEST_TIMER : this.#invalidation.maxStaleness;
    return new Promise((resolve) => {
      const wake = (why: "event" | "flush") => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        this.#watches.remove(watch);
        resolve(why);
      };
      const abort = () => wake("event");
      const watch = { ties, wake };
      const timer = setTimeout(abort, Math.min(delay, longest));
      timer.unref();
      signal.addEventListener("abort", abort);
      this.#watches.add(watch);
    });
  }
}

/** The signal is looked at afterwards, before anything else is done. */
const pause = (milliseconds: number, signal: AbortSignal) =>
  sleep(milliseconds, undefined, { signal, ref: false }).catch(() => {});
