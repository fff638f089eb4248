// Notifications that get lost, come twice, late or out of order: the cursor heals it within the bound. A simulated
// database with a clock of its own; `AUTH_EXT_SEED` repeats a run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseEvent } from "../dist/event.js";
import { TokenCache, Unavailable } from "../dist/index.js";
import { Invalidation } from "../dist/invalidation.js";
import { random, seedOf } from "./random.mjs";
import { row } from "./fake.mjs";

const MAX_STALENESS = 300;
const USERS = 20;
const EVENTS = process.env.AUTH_EXT_LONG ? 10_000 : 1_000;

/** Time that goes from one thing that happens to the next. */
class Time {
  now = 0;
  #things = [];

  at(when, thing) {
    const index = this.#things.findLastIndex((other) => other.when <= when) + 1;
    this.#things.splice(index, 0, { when, thing });
  }

  async go() {
    for (let next = this.#things.shift(); next; next = this.#things.shift()) {
      this.now = next.when;
      next.thing();
      // Promises of this moment.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** Everything goes well but for `mutate`, which says when each notification arrives: one, several or no delays. */
async function run(seed, mutate, { heartbeat = true } = {}) {
  const chance = random(seed);
  const time = new Time();
  const invalidation = new Invalidation(MAX_STALENESS, { clock: () => time.now });
  const versions = new Map(Array.from({ length: USERS }, (_, id) => [String(id), [{ at: 0, version: 0 }]]));
  const log = [];
  const current = (id) => versions.get(id).at(-1).version;
  const stats = { hits: 0, asked: 0, oldest: 0 };

  const pool = {
    query: (_, [token]) =>
      new Promise((resolve) => {
        // What it says is read between the question and the answer.
        stats.asked += 1;
        let version;
        time.at(time.now + 1 + chance.below(4), () => {
          version = current(token);
          time.at(time.now + 1 + chance.below(8), () =>
            resolve({
              rows: [row({ user_id: token, session_version: `${version}`, current_session_version: `${version}`, token_id: null, claims: "{}" })],
            }),
          );
        });
      }),
  };
  const cache = new TokenCache({ invalidation }, pool);

  let cursor = 0;
  const catchUp = () => {
    const asked = time.now;
    time.at(asked + 2, () => {
      const events = log.slice(cursor);
      cursor = log.length;
      time.at(time.now + 2, () => invalidation.caughtUp(asked, events.map(parseEvent)));
    });
  };
  invalidation.caughtUp(0, []);
  const end = EVENTS * 5;
  if (heartbeat) for (let when = 0; when < end + MAX_STALENESS; when += MAX_STALENESS / 3) time.at(when, catchUp);

  for (let event = 0; event < EVENTS; event += 1) {
    time.at(event * 5 + chance.below(5), () => {
      const id = String(chance.below(USERS));
      const version = current(id) + 1;
      versions.get(id).push({ at: time.now, version });
      const payload = JSON.stringify({ v: 1, kind: "user", id, session_version: version, reason: "logout_everywhere" });
      log.push(payload);
      for (const delay of mutate(chance)) time.at(time.now + delay, () => invalidation.notified(payload));
    });
    time.at(event * 5 + chance.below(5), () => {
      const id = String(chance.below(USERS));
      const known = cache.peek(id);
      if (known) {
        stats.hits += 1;
        const ended = versions.get(id).find(({ version }) => version > Number(known.sessionVersion));
        if (ended) stats.oldest = Math.max(stats.oldest, time.now - ended.at);
      }
      // Its limit is of real time: on a slow machine it may be over.
      cache.verify(id).catch((error) => {
        if (!(error instanceof Unavailable)) throw error;
      });
    });
  }
  await time.go();
  for (const id of versions.keys()) {
    const known = cache.peek(id);
    if (known) assert.equal(Number(known.sessionVersion), current(id), `user ${id}, after all is heard`);
  }
  return stats;
}

const AT_ONCE = 2;
const mutations = {
  "nothing is lost": () => [AT_ONCE],
  "one in a thousand is lost": (chance) => (chance.chance(0.001) ? [] : [AT_ONCE]),
  "one in ten is lost": (chance) => (chance.chance(0.1) ? [] : [AT_ONCE]),
  "everything is lost": () => [],
  "some come twice, the second time late": (chance) => (chance.chance(0.1) ? [AT_ONCE, 50 + chance.below(500)] : [AT_ONCE]),
  "they come in any order": (chance) => [chance.below(200)],
  "everything at once": (chance) => (chance.chance(0.1) ? [] : [chance.below(200), chance.below(200)]),
};

for (const [name, mutate] of Object.entries(mutations)) {
  test(`${name}: nothing is answered that ended more than maxStaleness ago, and it ends equal to the tables`, async (t) => {
    const { hits, asked, oldest } = await run(seedOf(t), mutate);
    t.diagnostic(`${EVENTS} events, ${hits} answers from the cache, ${asked} questions, the oldest was ${oldest} ms late`);
    assert.ok(hits > EVENTS / 50, "the cache was used");
    assert.ok(oldest <= MAX_STALENESS, `${oldest} ms`);
    if (name === "nothing is lost") assert.ok(oldest <= AT_ONCE, `${oldest} ms`);
  });
}

test("this test can fail: without a heartbeat, and a lease that does not end, a lost notification stays lost", async (t) => {
  const seed = seedOf(t);
  const fresh = Object.getOwnPropertyDescriptor(Invalidation.prototype, "fresh");
  Object.defineProperty(Invalidation.prototype, "fresh", { get: () => true, configurable: true });
  t.after(() => Object.defineProperty(Invalidation.prototype, "fresh", fresh));
  await assert.rejects(run(seed, mutations["everything is lost"], { heartbeat: false }), /after all is heard/);
});
