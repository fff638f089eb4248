import { steadyClock, type Clock } from "./clock.js";
import { parseEvent, type Event } from "./event.js";

/** What an answer of the database depends on, by the names that events use. What is null ties nothing. */
export interface Ties {
  readonly userId?: string | null;
  readonly sessionId?: string | null;
  readonly tokenId?: string | null;
  readonly fingerprint?: string | null;
  readonly issuer?: string | null;
  /** The user's version when the database answered. Left out where versions mean nothing: a key's is its own. */
  readonly userVersion?: bigint | null;
}

/** Who wants to know. These may not throw. */
export interface Subscriber {
  event?(event: Event): void;
  /** Stale for so long that the promised bound is over. */
  lapsed?(): void;
}

/** Names that are remembered. */
const MAX_HEARD = 100_000;

interface Heard {
  /** The clock of the last event. */
  readonly at: number;
  /** By the log: the least version that the user can have. */
  readonly floor: bigint;
  /** By the log: a revoked token or an ended session, which never comes back. */
  readonly over: boolean;
}

/** What was heard, and whether that is all there is to hear: a lease, which ends by itself when nothing renews it. It knows
 *  nothing of connections; a `Listener` feeds it. */
export class Invalidation {
  /** In milliseconds: nothing older than this is answered from a cache. */
  readonly maxStaleness: number;
  readonly clock: Clock;
  readonly #maxHeard: number;
  #freshUntil = -Infinity;
  /** Until when the promise holds, fresh or not. */
  #bound = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  /** Counts events. */
  #count = 0;
  #flushed = 0;
  readonly #heard = new Map<string, Heard>();
  readonly #subscribers = new Set<Subscriber>();

  constructor(maxStaleness: number, { clock = steadyClock(), maxHeard = MAX_HEARD } = {}) {
    if (!(maxStaleness > 0 && maxStaleness <= 3_600_000)) {
      throw new RangeError("maxStaleness is milliseconds, above 0 and at most an hour");
    }
    this.maxStaleness = maxStaleness;
    this.clock = clock;
    this.#maxHeard = maxHeard;
  }

  /** May what is cached be used? */
  get fresh(): boolean {
    return this.clock() < this.#freshUntil;
  }

  /** Until when what was verified before stands without asking, by the clock. */
  get bound(): number {
    return this.#bound;
  }

  subscribe(subscriber: Subscriber): () => void {
    this.#subscribers.add(subscriber);
    return () => void this.#subscribers.delete(subscriber);
  }

  /** Something may have been missed: nothing cached is used until a catching up. */
  doubt(): void {
    this.#freshUntil = -Infinity;
  }

  /** A notification. Any role can send one, so it evicts, and is remembered as no more than a reason to ask. */
  notified(payload: string): void {
    const event = parseEvent(payload);
    if (event.kind === "flush") this.doubt();
    this.#apply(event, false);
  }

  /** A catching up that was asked for at `asked`, by the clock: what the log says has changed. */
  caughtUp(asked: number, events: readonly Event[]): void {
    for (const event of events) this.#apply(event, true);
    const until = asked + this.maxStaleness;
    if (until <= this.clock()) return;
    this.#freshUntil = until;
    this.#bound = until;
    this.#wait();
  }

  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.tick(), Math.max(1, this.#bound - this.clock()));
    this.#timer.unref();
  }

  /** Looks whether the bound is over. A timer calls it. */
  tick(): void {
    if (this.#bound === -Infinity) return;
    // Timers may be early.
    if (this.clock() < this.#bound) return this.#wait();
    this.#bound = -Infinity;
    for (const subscriber of this.#subscribers) subscriber.lapsed?.();
  }

  #apply(event: Event, logged: boolean): void {
    this.#count += 1;
    if (event.kind === "flush" || (event.kind === "issuer" && event.issuer.includes("{"))) this.#flushed = this.#count;
    else this.#remember(nameOf(event), event, logged);
    for (const subscriber of this.#subscribers) subscriber.event?.(event);
  }

  #remember(name: string, event: Event, logged: boolean): void {
    const known = this.#heard.get(name);
    if (!known && this.#heard.size >= this.#maxHeard) {
      this.#heard.clear();
      this.#flushed = this.#count;
    }
    let floor = known?.floor ?? 0n;
    if (logged && event.kind === "user" && event.floor > floor) floor = event.floor;
    const ends = event.kind === "token" || event.kind === "session";
    this.#heard.set(name, { at: this.#count, floor, over: known?.over === true || (logged && ends) });
  }

  /** To be taken before the database is asked, and given to `permits` with what it answered. */
  mark(): number {
    return this.#count;
  }

  /** Was there an event since `mark` that may be about it? */
  heardSince(mark: number, ties: Ties): boolean {
    if (this.#count === mark) return false;
    return this.#flushed > mark || [...namesOf(ties)].some((name) => (this.#heard.get(name)?.at ?? 0) > mark);
  }

  /** May an answer be kept that was asked for at `mark`? Not if an event about it came since: the event may be newer than
   *  the answer. Not if it is older than what the log said before, either: then it is from a server that lags behind. */
  permits(mark: number, ties: Ties): boolean {
    if (!this.fresh || this.heardSince(mark, ties)) return false;
    for (const name of namesOf(ties)) if (this.#heard.get(name)?.over) return false;
    if (ties.userVersion === undefined || ties.userId == null) return true;
    return (ties.userVersion ?? 0n) >= (this.#heard.get(`user:${ties.userId}`)?.floor ?? 0n);
  }
}

function nameOf(event: Exclude<Event, { kind: "flush" }>): string {
  switch (event.kind) {
    case "user":
      return `user:${event.userId}`;
    case "session":
      return `session:${event.sessionId}`;
    case "token":
      return `token:${event.tokenId}`;
    case "api_key":
      return `api_key:${event.fingerprint}`;
    case "issuer":
      return `issuer:${event.issuer}`;
  }
}

function* namesOf({ userId, sessionId, tokenId, fingerprint, issuer }: Ties): Generator<string> {
  if (userId != null) yield `user:${userId}`;
  if (sessionId != null) yield `session:${sessionId}`;
  if (tokenId != null) yield `token:${tokenId}`;
  if (fingerprint != null) yield `api_key:${fingerprint}`;
  if (issuer != null) yield `issuer:${issuer}`;
}
