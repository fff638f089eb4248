// The rules of clients/README.md, from the table that all languages share: no database, no real time.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Answers } from "../dist/answers.js";
import { parseEvent } from "../dist/event.js";
import { Hints } from "../dist/hints.js";
import { Invalidation } from "../dist/invalidation.js";

const { tokens, cases } = JSON.parse(readFileSync(new URL("../../cases.json", import.meta.url), "utf8"));

class Run {
  now = 1_000_000;
  open = new Map();
  ended = {};

  constructor({ max_staleness = 10, max_age = 60, size = 100, negative_ttl = 0 }) {
    this.invalidation = new Invalidation(max_staleness * 1000, { clock: () => this.now });
    this.hints = new Hints(this.invalidation);
    const limits = { size, maxAge: max_age * 1000, negativeTtl: negative_ttl * 1000 };
    this.tokens = new Answers(this.invalidation, limits);
    this.keys = new Answers(this.invalidation, limits);
    for (const cache of [this.tokens, this.keys]) this.invalidation.subscribe({ event: (event) => cache.hear(event) });
    this.invalidation.caughtUp(this.now, []);
  }

  cache(name) {
    return tokens[name].fingerprint === undefined ? this.tokens : this.keys;
  }

  named(test) {
    return Object.keys(tokens).filter((name) => test(this.cache(name), name)).sort();
  }

  ask(name) {
    let arrive;
    const arrives = new Promise((resolve) => (arrive = resolve));
    const done = this.cache(name).get(name, () => arrives);
    this.open.set(name, { arrive, done });
  }

  async answer(name, step) {
    const { user, version, jti, sid, issuer, fingerprint, left = 1800 } = { ...tokens[name], ...step };
    const ties = fingerprint
      ? { userId: user, fingerprint }
      : { userId: user, tokenId: jti, sessionId: sid, issuer, userVersion: version === null ? null : BigInt(version) };
    const { arrive, done } = this.open.get(name);
    arrive({ value: { name }, ties, holds: left === null ? Infinity : left * 1000 });
    assert.equal((await done).value.name, name);
  }

  async step(step) {
    const [verb, argument] = Object.entries(step)[0];
    const verbs = {
      ask: () => this.ask(argument),
      answer: () => this.answer(argument, step),
      fill: () => {
        // Already there, or asked for and answered at once.
        if (this.cache(argument).peek(argument)) return;
        this.ask(argument);
        return this.answer(argument, step);
      },
      heard: () => this.invalidation.notified(argument),
      log: () => this.invalidation.caughtUp(this.now, argument.map((event) => parseEvent(JSON.stringify(event)))),
      lose: () => this.invalidation.doubt(),
      pass: () => {
        this.now += argument * 1000;
        this.invalidation.tick();
      },
      watch: () =>
        this.hints.add((reason) => (this.ended[argument] = reason), {
          userId: step.user,
          sessionId: step.sid,
          fingerprint: step.fingerprint,
        }),
      cached: () => assert.deepEqual(this.named((cache, name) => cache.peek(name)), [...argument].sort()),
      kept: () => assert.deepEqual(this.named((cache, name) => cache.has(name)), [...argument].sort()),
      ended: async () => {
        await setImmediate();
        assert.deepEqual(this.ended, argument);
        this.ended = {};
      },
    };
    assert.ok(verbs[verb], `the table has a step that is not known: ${verb}`);
    await verbs[verb]();
  }
}

assert.ok(cases.length > 40);
for (const { name, steps, ...settings } of cases) {
  test(name, async () => {
    const run = new Run(settings);
    for (const [number, step] of steps.entries()) {
      try {
        await run.step(step);
      } catch (error) {
        error.message = `step ${number + 1}, ${JSON.stringify(step)}: ${error.message}`;
        throw error;
      }
    }
  });
}
