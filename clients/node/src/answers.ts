import { ByEvent } from "./by-event.js";
import { Refused } from "./errors.js";
import type { Event } from "./event.js";
import type { Invalidation, Ties } from "./invalidation.js";

/** What the database answered. */
export interface Answer<T> {
  readonly value: T;
  readonly ties: Ties;
  /** For how many milliseconds the database would say the same, if nothing changed. */
  readonly holds: number;
}

export interface Limits {
  /** Entries at most; default 100,000. */
  size?: number;
  /** Milliseconds after which is asked again though nothing was heard; default one minute. It bounds what ends by the clock
   *  alone, without an event: a signing key that was retired with a delay. */
  maxAge?: number;
  /** Milliseconds for which refusals are kept, if no event comes; default 0: not at all. */
  negativeTtl?: number;
}

export interface Statistics {
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  /** Entries that an event, their age or the size ended. */
  readonly evicted: number;
  /** Accepted answers that were too old, or may have been, when they arrived. */
  readonly notKept: number;
}

/** An answer, and until when it may be used, by the clock of the `Invalidation`. */
export interface Kept<T> {
  readonly value: T;
  readonly ties: Ties;
  readonly until: number;
}

interface Entry<T> extends Kept<T> {
  readonly key: string;
}

/** Answers of the database, each until an event is about it. */
export class Answers<T extends object> {
  readonly #invalidation: Invalidation;
  readonly #size: number;
  readonly #maxAge: number;
  readonly #negativeTtl: number;
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry<T>>();
  readonly #byEvent = new ByEvent<Entry<T>>();
  readonly #refusals = new Map<string, { refused: Refused; until: number }>();
  /** The questions that are open: each ends, and never fails, with the refusal if that was the answer. */
  readonly #flights = new Map<string, Promise<{ mark: number; refused?: Refused }>>();
  #closed = false;
  #hits = 0;
  #misses = 0;
  #evicted = 0;
  #notKept = 0;

  constructor(invalidation: Invalidation, { size = 100_000, maxAge = 60_000, negativeTtl = 0 }: Limits = {}) {
    if (!(Number.isSafeInteger(size) && size >= 0)) throw new RangeError("size is a number of entries");
    if (!(maxAge > 0 && negativeTtl >= 0)) throw new RangeError("maxAge and negativeTtl are milliseconds");
    this.#invalidation = invalidation;
    this.#size = size;
    this.#maxAge = maxAge;
    this.#negativeTtl = negativeTtl;
  }

  stats(): Statistics {
    return {
      hits: this.#hits,
      misses: this.#misses,
      entries: this.#entries.size,
      evicted: this.#evicted,
      notKept: this.#notKept,
    };
  }

  /** What is kept, whether it may be used or not. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** What is kept, if it may be used now. */
  peek(key: string): Kept<T> | undefined {
    const entry = this.#entries.get(key);
    if (!entry || !this.#invalidation.fresh) return undefined;
    if (this.#invalidation.clock() >= entry.until) {
      this.#evict(entry);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** What is kept, or what `ask` says. */
  async get(key: string, ask: () => Promise<Answer<T>>): Promise<Kept<T>> {
    const kept = this.peek(key);
    if (kept) {
      this.#hits += 1;
      return kept;
    }
    const refusal = this.#refusals.get(key);
    if (refusal && this.#invalidation.fresh && this.#invalidation.clock() < refusal.until) {
      this.#hits += 1;
      throw refusal.refused;
    }
    this.#misses += 1;
    const flight = this.#flights.get(key);
    if (flight && this.#invalidation.fresh) {
      // It began before this call, and stands for it only if nothing was heard meanwhile.
      const { mark, refused } = await flight;
      const shared = this.peek(key);
      if (shared) return shared;
      if (refused && this.#invalidation.fresh && this.#invalidation.mark() === mark) throw refused;
    }
    const mark = this.#invalidation.mark();
    const asked = this.#ask(mark, key, ask);
    if (!this.#flights.has(key)) {
      const over = (refused?: unknown) => {
        this.#flights.delete(key);
        return refused instanceof Refused ? { mark, refused } : { mark };
      };
      this.#flights.set(
        key,
        asked.then(() => over(), over),
      );
    }
    return asked;
  }

  /** `mark` is of before the question: what is heard from then on may be newer than the answer. */
  async #ask(mark: number, key: string, ask: () => Promise<Answer<T>>): Promise<Kept<T>> {
    const began = this.#invalidation.clock();
    try {
      const { value, ties, holds } = await ask();
      const entry = { key, value, ties, until: began + Math.min(holds, this.#maxAge) };
      if (entry.until > this.#invalidation.clock() && this.#invalidation.permits(mark, ties)) this.#keep(entry);
      else this.#notKept += 1;
      return entry;
    } catch (error) {
      if (error instanceof Refused) this.#keepRefusal(mark, key, error, began);
      throw error;
    }
  }

  #keep(entry: Entry<T>): void {
    if (this.#closed || this.#size === 0) return;
    const former = this.#entries.get(entry.key);
    if (former) this.#evict(former);
    while (this.#entries.size >= this.#size) this.#evict(this.#entries.values().next().value!);
    this.#entries.set(entry.key, entry);
    this.#byEvent.add(entry);
  }

  #keepRefusal(mark: number, key: string, refused: Refused, began: number): void {
    if (this.#negativeTtl === 0 || this.#closed) return;
    if (!this.#invalidation.fresh || this.#invalidation.mark() !== mark) return;
    if (this.#refusals.size >= this.#size) this.#refusals.clear();
    this.#refusals.set(key, { refused, until: began + this.#negativeTtl });
  }

  #evict(entry: Entry<T>): void {
    this.#entries.delete(entry.key);
    this.#byEvent.remove(entry);
    this.#evicted += 1;
  }

  /** An event only ever evicts. A refusal may be about anything. */
  hear(event: Event): void {
    this.#refusals.clear();
    for (const entry of this.#byEvent.of(event)) this.#evict(entry);
  }

  close(): void {
    this.#closed = true;
    this.#refusals.clear();
    for (const entry of this.#byEvent.all()) this.#evict(entry);
  }
}
