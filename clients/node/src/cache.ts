import { Answers, type Answer, type Kept, type Limits, type Statistics } from "./answers.js";
import { explained, Unavailable } from "./errors.js";
import type { Invalidation } from "./invalidation.js";
import { Watches, type Owned } from "./watches.js";

/** A pool of `pg`, or what runs a statement in a transaction of its own as a pool does. It asks the server that the listener
 *  listens to. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** A listener, as far as caches are concerned. */
export interface Source {
  readonly invalidation: Invalidation;
}

export interface EndedOptions {
  /** Ends the waiting, by a rejection. */
  signal?: AbortSignal | undefined;
}

export interface IdentityOption<T> {
  /** With whom it began: it ends, as `unlinked`, when it has become another user's. Default: whose it is at first. */
  identity?: T | undefined;
}

/** What the caches of tokens and of API keys share. */
export abstract class Cache<T extends Owned> {
  readonly #source: Source;
  readonly #pool: Queryable;
  readonly #answers: Answers<T>;
  readonly #watches: Watches;
  readonly #unsubscribe: () => void;

  constructor(source: Source, pool: Queryable, limits: Limits = {}) {
    const { invalidation } = source;
    this.#source = source;
    this.#pool = pool;
    this.#answers = new Answers(invalidation, limits);
    this.#watches = new Watches(invalidation);
    this.#unsubscribe = invalidation.subscribe({
      event: (event) => {
        // In this order: who is woken asks for what is no longer kept.
        this.#answers.hear(event);
        this.#watches.hear(event);
      },
      lapsed: () => this.#watches.lapsed(),
    });
  }

  stats(): Statistics {
    return this.#answers.stats();
  }

  /** Hears no more, and keeps nothing from now on. Who waits for an end is rejected. */
  close(): void {
    this.#unsubscribe();
    this.#answers.close();
    this.#watches.close();
  }

  protected lookUp(key: string, ask: () => Promise<Answer<T>>): Promise<Kept<T>> {
    return this.#answers.get(key, ask);
  }

  protected known(key: string): T | undefined {
    return this.#answers.peek(key)?.value;
  }

  protected waitForEnd(
    verify: () => Promise<Kept<T>>,
    identity: T | undefined,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    return this.#watches.ended(verify, identity, signal);
  }

  /** The one row of a statement, or why there is none. */
  protected async row(text: string, values: unknown[]): Promise<Record<string, unknown>> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const give = () => reject(new Unavailable(new Error("no answer in time")));
      timer = setTimeout(give, this.#source.invalidation.maxStaleness);
    });
    try {
      const { rows } = await Promise.race([this.#pool.query(text, values), late]);
      return rows[0]!;
    } catch (error) {
      throw explained(error);
    } finally {
      clearTimeout(timer);
    }
  }
}
