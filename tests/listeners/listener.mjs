// A cache that hears of changes (see "Listening" in README.md), for Node with `pg`.
//
//     const listener = new Listener(pg.Client, { database: "app" }, { maxStaleness: 10_000 });
//     const user = await listener.get("user", "42", async (id) => ({ session_version: 7, is_active: true }));
//
// Loads read the server that the listener listens to, in a transaction of their own.

const FIRST_PAUSE = 100;
const LAST_PAUSE = 10_000;
const MAX_HEARD = 100_000;
const NAMED_BY = { user: "id", api_key: "fingerprint", token: "jti", session: "sid", issuer: "issuer" };
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Listener {
  #Client;
  #config;
  #maxStaleness;
  #entries = new Map();
  #clock = 0; // counts events
  #flushed = 0; // when all was evicted
  #heard = new Map(); // when one was evicted, and the least session_version that it can have
  #freshUntil = 0;
  #cursor = null;
  #asked = [];
  #pause = FIRST_PAUSE;
  #wake = () => {};

  constructor(Client, config, { maxStaleness = 10_000 } = {}) {
    this.#Client = Client;
    this.#config = config;
    this.#maxStaleness = maxStaleness;
    this.#run();
  }

  // May the cache be used? A lease: it ends by itself when nothing renews it, whatever the reason.
  get fresh() {
    return performance.now() < this.#freshUntil;
  }

  // The entry, if it is cached and may be used.
  peek(kind, id) {
    return (this.fresh && this.#entries.get(`${kind}:${id}`)) || null;
  }

  // The entry, or what load(id) reads. null is not kept: the INSERT that ends it sends no event.
  async get(kind, id, load) {
    const began = this.#clock;
    let entry = this.peek(kind, id);
    if (!entry) {
      entry = await load(id);
      this.#fill(kind, id, entry, began);
    }
    return entry;
  }

  #fill(kind, id, entry, began) {
    const key = `${kind}:${id}`;
    const [heard, floor] = this.#heard.get(key) ?? [0, 0];
    // An event while it was read may say more than was read.
    if (!entry || !this.fresh || Math.max(heard, this.#flushed) > began) return;
    // Read from a server that lags behind.
    if (kind === "user" && entry.session_version < floor) return;
    this.#entries.set(key, entry);
  }

  // Resolves when all that is committed by now is known here.
  sync() {
    return new Promise((resolve) => {
      this.#asked.push(resolve);
      this.#wake();
    });
  }

  #apply(event) {
    this.#clock += 1;
    const id = event?.[NAMED_BY[event?.kind]];
    const floor = event?.session_version ?? 0;
    if (typeof id !== "string" || typeof floor !== "number") {
      // A flush, or nothing that we understand.
      this.#entries.clear();
      this.#flushed = this.#clock;
      this.#freshUntil = 0;
      return;
    }
    const key = `${event.kind}:${id}`;
    this.#entries.delete(key);
    const [, known] = this.#heard.get(key) ?? [0, 0];
    // Any role can send any id.
    if (this.#heard.size >= MAX_HEARD) {
      this.#heard.clear();
      this.#flushed = this.#clock;
    }
    this.#heard.set(key, [this.#clock, Math.max(floor, known)]);
  }

  #hear(payload) {
    let event = null;
    try {
      event = JSON.parse(payload);
    } catch {
      // Applied as what it is: nothing that we understand.
    }
    this.#apply(event);
    if (!this.fresh) this.#wake();
  }

  async #catchUp(client) {
    const asked = this.#asked.length;
    const sent = performance.now();
    if (this.#cursor === null) {
      const { rows } = await client.query("SELECT auth.invalidation_cursor() AS cursor");
      // Only now: what was read before the cursor was taken must not be cached after it.
      this.#apply({ kind: "flush" });
      this.#cursor = rows[0].cursor;
    } else {
      const query = "SELECT event, next_cursor FROM auth.invalidations_since($1)";
      const { rows } = await client.query(query, [this.#cursor]);
      for (const { event } of rows) this.#apply(event);
      if (rows.length > 0) this.#cursor = rows[0].next_cursor;
    }
    this.#freshUntil = sent + this.#maxStaleness;
    for (const resolve of this.#asked.splice(0, asked)) resolve(true);
  }

  // Waits until it is time to catch up again: a heartbeat that also keeps the next one short.
  async #rest() {
    if (!this.fresh || this.#asked.length > 0) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#maxStaleness / 3);
      this.#wake = () => resolve(clearTimeout(timer));
    });
    this.#wake = () => {};
  }

  async #session() {
    // The timeouts end what a network has swallowed; the lease does not wait for them.
    const timeouts = { connectionTimeoutMillis: 10_000, query_timeout: this.#maxStaleness };
    const client = new this.#Client({ ...this.#config, ...timeouts });
    let alive = true;
    const lost = () => {
      if (!alive) return;
      alive = false;
      this.#freshUntil = 0;
      this.#wake();
    };
    client.on("error", lost); // an 'error' that nobody handles ends the process
    client.on("end", lost);
    client.on("notification", ({ payload }) => this.#hear(payload));
    try {
      await client.connect();
      // Committed, before the first look: nothing falls between the two.
      await client.query("LISTEN auth_invalidation");
      while (alive) {
        await this.#catchUp(client);
        this.#pause = FIRST_PAUSE;
        if (alive) await this.#rest();
      }
    } finally {
      alive = false;
      client.end().catch(() => {});
    }
  }

  async #run() {
    for (;;) {
      try {
        await this.#session();
      } catch (error) {
        console.warn(`auth_invalidation: ${error.message}`);
        if (error.code === "22023") this.#cursor = null; // not one of this server's
      }
      // At once, and only then the pause.
      this.#freshUntil = 0;
      await sleep(Math.random() * this.#pause);
      this.#pause = Math.min(2 * this.#pause, LAST_PAUSE);
    }
  }
}
