import pg from "pg";
import type { ClientConfig } from "pg";
import { sqlState, Unavailable } from "./errors.js";
import { FLUSH, parseEvent, type Event } from "./event.js";
import { Hints, type Who } from "./hints.js";
import { Invalidation } from "./invalidation.js";

export interface ListenerOptions {
  /** Milliseconds: nothing that changed longer ago is served from a cache, whatever fails. Default 10 seconds. */
  maxStaleness?: number;
  /** Told why the connection was lost, or could not be made; default a warning of the process. The listener tries again by
   *  itself. */
  onError?: (error: Error) => void;
}

const FIRST_PAUSE = 100;
const LAST_PAUSE = 10_000;
const CONNECT = 10_000;
/** The log is read at most 10,000 events at a time; more is a flush. */
const MANY = 5_000;
const NAME = "auth_ext listener";
const STANDBY = "25006";
const NO_CURSOR = "22023";
const CATCH_UP = "SELECT event::text AS event, next_cursor FROM auth.invalidations_since($1)";

/** Hears what changes in one database, over a connection of its own, and catches up on what it did not hear. It begins at
 *  once and goes on until `close()`. */
export class Listener {
  readonly invalidation: Invalidation;
  readonly #config: ClientConfig;
  readonly #hints: Hints;
  readonly #onError: (error: Error) => void;
  readonly #running: Promise<void>;
  #client: pg.Client | undefined;
  #cursor: string | undefined;
  #pause = FIRST_PAUSE;
  #closed = false;
  /** Who waits for a catching up that begins from now on. */
  readonly #waiting: (() => void)[] = [];
  #notifications = 0;
  /** Ends the present rest. */
  #wake = () => {};

  /** `connection` is as for `new pg.Client`. */
  constructor(connection: string | ClientConfig, options: ListenerOptions = {}) {
    const { maxStaleness = 10_000, onError = warn } = options;
    this.invalidation = new Invalidation(maxStaleness);
    this.#hints = new Hints(this.invalidation);
    this.#config = typeof connection === "string" ? { connectionString: connection } : connection;
    this.#onError = onError;
    this.#running = this.#run();
  }

  /** May what is cached be used? */
  get fresh(): boolean {
    return this.invalidation.fresh;
  }

  get state(): "fresh" | "stale" | "closed" {
    if (this.#closed) return "closed";
    return this.fresh ? "fresh" : "stale";
  }

  /** Calls back once, with a reason, at the first event that may have ended what the user, session or API key of that
   *  fingerprint did; with `stale` when nothing was known for longer than `maxStaleness`. Returns what cancels that. */
  onEnded(callback: (reason: string) => void, who: Who): () => void {
    return this.#hints.add(callback, who);
  }

  /** Resolves when all that was committed before the call is known here. Throws `Unavailable` when that takes too long. */
  async sync(timeout = this.invalidation.maxStaleness): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const fail = () => reject(new Unavailable(new Error("did not catch up in time")));
      if (this.#closed) return fail();
      const timer = setTimeout(fail, timeout);
      this.#waiting.push(() => {
        clearTimeout(timer);
        if (this.#closed) fail();
        else resolve();
      });
      this.#wake();
    });
  }

  /** Caches that hear from this listener ask the database each time from now on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.invalidation.doubt();
    this.#wake();
    if (this.#client) discard(this.#client);
    await this.#running;
    for (const tell of this.#waiting.splice(0)) tell();
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#session();
      } catch (error) {
        // Not a cursor of this server's.
        if (sqlState(error) === NO_CURSOR) this.#cursor = undefined;
        // Later, so that what the callback throws does not end the listener.
        if (!this.#closed) queueMicrotask(() => this.#onError(error as Error));
      }
      // At once, and only then the pause.
      this.invalidation.doubt();
      await this.#rest(Math.random() * this.#pause, false);
      this.#pause = Math.min(2 * this.#pause, LAST_PAUSE);
    }
  }

  async #session(): Promise<void> {
    const { maxStaleness } = this.invalidation;
    // The timeouts end what a network has swallowed; the lease does not wait for them.
    const client = new pg.Client({
      ...this.#config,
      application_name: NAME,
      keepAlive: true,
      connectionTimeoutMillis: CONNECT,
      query_timeout: maxStaleness,
    });
    this.#client = client;
    let lost: Error | undefined;
    const lose = (error: Error) => {
      if (lost) return;
      lost = error;
      this.invalidation.doubt();
      this.#wake();
    };
    // An 'error' that nobody handles ends the process.
    client.on("error", lose);
    client.on("end", () => lose(new Error("the connection has ended")));
    client.on("notification", ({ payload = "" }) => this.#hear(payload));
    try {
      await client.connect();
      let listening = false;
      while (!lost && !this.#closed) {
        // Committed, before the first look: nothing falls between the two.
        listening ||= await listen(client);
        await this.#catchUp(client);
        this.#pause = FIRST_PAUSE;
        // A heartbeat that also keeps the next catching up short.
        if (!lost && this.fresh) await this.#rest(maxStaleness / 3, true);
      }
      if (lost) throw lost;
    } finally {
      lost ??= new Error("closed");
      this.#client = undefined;
      discard(client);
    }
  }

  #hear(payload: string): void {
    this.#notifications += 1;
    this.invalidation.notified(payload);
    if (!this.fresh || this.#notifications >= MANY) this.#wake();
  }

  async #catchUp(client: pg.Client): Promise<void> {
    const waiting = this.#waiting.length;
    const asked = this.invalidation.clock();
    this.#notifications = 0;
    let events: Event[];
    if (this.#cursor === undefined) {
      const { rows } = await client.query("SELECT auth.invalidation_cursor() AS cursor");
      // Only now: what was read before the cursor was taken must not be kept after it.
      events = [FLUSH];
      this.#cursor = rows[0].cursor;
    } else {
      const { rows } = await client.query(CATCH_UP, [this.#cursor]);
      events = rows.map(({ event }) => parseEvent(event));
      if (rows.length > 0) this.#cursor = rows[0].next_cursor;
    }
    if (this.#closed) return;
    this.invalidation.caughtUp(asked, events);
    for (const tell of this.#waiting.splice(0, waiting)) tell();
  }

  /** Until the time is over. The pause before connecting again is not cut short by who waits for us to catch up. */
  async #rest(milliseconds: number, attentive: boolean): Promise<void> {
    if (this.#closed || (attentive && this.#waiting.length > 0)) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        if (!attentive && !this.#closed) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }
}

function warn(error: Error): void {
  process.emitWarning(`${error.message}; it tries again`, "AuthExtListener");
}

/** False on a standby, which has no LISTEN: there the heartbeat alone tells of changes. */
async function listen(client: pg.Client): Promise<boolean> {
  try {
    await client.query("LISTEN auth_invalidation");
    return true;
  } catch (error) {
    if (sqlState(error) === STANDBY) return false;
    throw error;
  }
}

/** Ends a connection without waiting for a server that may not be there. */
function discard(client: pg.Client): void {
  const ended = client.end().catch(() => {});
  const late = setTimeout(() => {
    (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy();
  }, 1_000);
  void ended.then(() => clearTimeout(late));
}
