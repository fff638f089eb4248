// What the table of cases does not say: who shares a question, what errors mean, what is exact. No database.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiKeyCache, Refused, TokenCache, Unavailable } from "../dist/index.js";
import { steadyClock } from "../dist/clock.js";
import { parseEvent } from "../dist/event.js";
import { canonical, parseExact } from "../dist/json.js";
import { Invalidation } from "../dist/invalidation.js";
import { Fake, row, serverError, settle } from "./fake.mjs";

const refused = (reason) => (error) => error instanceof Refused && error.reason === reason && error.message === reason;

test("callers at the same time share one question", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const calls = [1, 2, 3].map(() => cache.verify("t"));
  await settle();
  assert.equal(fake.asked.length, 1);
  fake.asked[0].row(row());
  const [a, b, c] = await Promise.all(calls);
  assert.ok(a === b && b === c && a.userId === "42");
  assert.deepEqual(cache.stats(), { hits: 0, misses: 3, entries: 1, evicted: 0, notKept: 0 });
});

test("who comes after an event gets no answer that was asked for before it", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const before = cache.verify("t");
  fake.hear({ kind: "user", id: "42", session_version: 8 });
  const after = cache.verify("t");
  fake.asked[0].row(row());
  assert.equal((await before).sessionVersion, 7n);
  await settle();
  assert.equal(fake.asked.length, 2);
  fake.asked[1].row(row({ valid: false, reason: "session_version_mismatch" }));
  await assert.rejects(after, refused("session_version_mismatch"));
});

test("a refusal is shared only if nothing was heard meanwhile, and is not kept", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const no = row({ valid: false, reason: "unknown_user" });
  const calls = [cache.verify("t"), cache.verify("t")];
  fake.asked[0].row(no);
  for (const call of calls) await assert.rejects(call, refused("unknown_user"));
  assert.equal(fake.asked.length, 1);
  const first = cache.verify("t");
  fake.hear({ kind: "user", id: "1", session_version: 1 });
  const second = cache.verify("t");
  fake.asked[1].row(no);
  await assert.rejects(first, refused("unknown_user"));
  await settle();
  fake.asked[2].row(row());
  assert.equal((await second).userId, "42");
});

test("with negativeTtl refusals are kept until any event or that long", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake, { negativeTtl: 1_000 });
  const ask = async () => {
    const asked = fake.asked.length;
    const call = cache.verify("t");
    fake.asked[asked]?.row(row({ valid: false, reason: "revoked" }));
    await assert.rejects(call, refused("revoked"));
    return fake.asked.length > asked;
  };
  assert.equal(await ask(), true);
  assert.equal(await ask(), false);
  fake.hear({ kind: "issuer", issuer: "https://other.example" });
  assert.equal(await ask(), true);
  fake.now += 1_001;
  assert.equal(await ask(), true);
});

test("while stale everybody asks, and shares nothing", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const first = cache.verify("t");
  fake.asked[0].row(row());
  await first;
  fake.invalidation.doubt();
  const calls = [cache.verify("t"), cache.verify("t")];
  assert.equal(fake.asked.length, 3);
  fake.asked[1].row(row());
  fake.asked[2].row(row({ valid: false, reason: "revoked" }));
  await calls[0];
  await assert.rejects(calls[1], refused("revoked"));
  // The entry stays, for when all is known again.
  assert.equal(cache.peek("t"), undefined);
  fake.catchUp();
  assert.equal(cache.peek("t").userId, "42");
});

test("when the one who asked fails the others ask for themselves", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const calls = [cache.verify("t"), cache.verify("t")];
  fake.asked[0].fail(new Error("Connection terminated unexpectedly"));
  await assert.rejects(calls[0], Unavailable);
  await settle();
  fake.asked[1].row(row());
  assert.equal((await calls[1]).userId, "42");
});

test("errors say whether the token is refused, nobody could be asked, or the set-up is wrong", async () => {
  const fake = new Fake();
  const cache = new ApiKeyCache(fake, fake);
  const outcome = async (error) => {
    const call = cache.verify("k");
    fake.asked.at(-1).fail(error);
    return call.then(
      () => "accepted",
      (thrown) => (thrown instanceof Refused ? thrown.reason : thrown === error ? "as it is" : thrown.constructor.name),
    );
  };
  assert.equal(await outcome(serverError("28000", "expired_api_key")), "expired_api_key");
  assert.equal(await outcome(serverError("28000", "stale_standby")), "Unavailable");
  for (const code of ["08006", "53300", "57P01", "57014", "58030", "25006", "40001"]) {
    assert.equal(await outcome(serverError(code)), "Unavailable", code);
  }
  for (const code of ["42501", "55000", "22023", "28P01"]) assert.equal(await outcome(serverError(code)), "as it is", code);
  assert.equal(await outcome(Object.assign(new Error("write EPIPE"), { code: "EPIPE" })), "Unavailable");
  assert.equal(await outcome(new TypeError("a mistake")), "as it is");
});

test("a database that does not answer is unavailable after maxStaleness", async () => {
  const fake = new Fake({ maxStaleness: 50 });
  await assert.rejects(new TokenCache(fake, fake).verify("t"), Unavailable);
});

test("a standby that is behind says nothing about the token", async () => {
  const fake = new Fake();
  const call = new TokenCache(fake, fake).verify("t");
  fake.asked[0].row(row({ valid: false, reason: "stale_standby" }));
  await assert.rejects(call, (error) => error instanceof Unavailable && error.cause.reason === "stale_standby");
});

test("versions and claims are exact beyond 2^53", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const call = cache.verify("t");
  fake.asked[0].row(
    row({
      session_version: "9223372036854775807",
      current_session_version: "9223372036854775807",
      claims: '{"tenant": 9007199254740993, "small": 1, "text": "9007199254740993", "deep": [{"n": -9007199254740993}]}',
    }),
  );
  const { sessionVersion, claims } = await call;
  assert.equal(sessionVersion, 9223372036854775807n);
  assert.deepEqual(claims, { tenant: 9007199254740993n, small: 1, text: "9007199254740993", deep: [{ n: -9007199254740993n }] });
  // An event of one version less is another version.
  fake.invalidation.caughtUp(0, [parseEvent('{"v":1,"kind":"user","id":"42","session_version":9223372036854775807}')]);
  for (const [version, kept] of [
    ["9223372036854775806", false],
    ["9223372036854775807", true],
  ]) {
    const again = cache.verify("t");
    fake.asked.at(-1).row(row({ current_session_version: version }));
    await again;
    assert.equal(cache.peek("t") !== undefined, kept, version);
  }
});

test("what is read from JSON is exact, frozen, and has no prototype of its own", () => {
  assert.deepEqual(parseExact('{"a": 1234567890123456, "b": "1234567890123456789", "c": 1.5}'), {
    a: 1234567890123456,
    b: "1234567890123456789",
    c: 1.5,
  });
  const odd = parseExact('{"__proto__": 12345678901234567890, "s": "\\\\\\"12345678901234567890"}');
  assert.equal(Object.getOwnPropertyDescriptor(odd, "__proto__").value, 12345678901234567890n);
  assert.equal(odd.s, '\\"12345678901234567890');
  assert.throws(() => parseExact('{"a": 12345678901234567890-}'));
  const frozen = parseExact('{"roles": ["a"], "in": {"x": 1}}');
  assert.throws(() => frozen.roles.push("admin"), TypeError);
  assert.throws(() => (frozen.in.x = 2), TypeError);
  assert.equal(canonical({ b: 1, a: [{ d: 1, c: 2 }] }), canonical({ a: [{ c: 2, d: 1 }], b: 1 }));
});

test("an event is understood or is a flush", () => {
  const user = { kind: "user", userId: "42", floor: 9223372036854775807n, reason: "x" };
  assert.deepEqual(parseEvent('{"v":1,"kind":"user","id":"42","session_version":9223372036854775807,"reason":"x"}'), user);
  for (const payload of [
    '{"v":1,"kind":"user","id":"42","session_version":9223372036854775808}',
    '{"v":1,"kind":"user","id":"42","session_version":1.5}',
    '{"v":1,"kind":"user","id":"42","session_version":"\\u00009"}x',
    '{"v":1,"kind":"user","id":"","session_version":1}',
    '{"v":1,"kind":"session","sid":null}',
    '{"v":"1","kind":"flush"}',
    '"\\u0000x 1234567890123456"',
  ]) {
    assert.deepEqual(parseEvent(payload), { kind: "flush" }, payload);
  }
});

test("a token for one device is not one for another, nor one for any", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const call = cache.verify("t", { device: { a: 1, b: 2 } });
  fake.asked[0].row(row());
  await call;
  assert.deepEqual(fake.asked[0].values, ["t", '{"a":1,"b":2}']);
  assert.ok(cache.peek("t", { device: { b: 2, a: 1 } }));
  assert.equal(cache.peek("t", { device: { a: 1 } }), undefined);
  assert.equal(cache.peek("t"), undefined);
});

test("what no text of PostgreSQL's can be is refused unasked; what is too long is asked each time", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  await assert.rejects(cache.verify("a\0b"), refused("malformed"));
  await assert.rejects(new ApiKeyCache(fake, fake).verify("a\0b"), refused("unknown_api_key"));
  assert.equal(fake.asked.length, 0);
  for (const token of ["", "x".repeat(16_385)]) {
    const calls = [cache.verify(token), cache.verify(token)];
    fake.asked.splice(0).forEach(({ row: answer }) => answer(row()));
    await Promise.all(calls);
    assert.equal(cache.stats().entries, 0);
  }
});

test("a clock goes on while the machine sleeps and when somebody sets it, and never back", () => {
  let monotonic = 1_000;
  let wall = 5_000_000;
  const clock = steadyClock(
    () => monotonic,
    () => wall,
  );
  const pass = (m, w) => {
    const before = clock();
    monotonic += m;
    wall += w;
    return clock() - before;
  };
  assert.equal(pass(10, 10), 10);
  assert.equal(pass(0, 3_600_000), 3_600_000); // it slept
  assert.equal(pass(10, -7_200_000), 10); // set back
  assert.equal(pass(10, 10), 10);
});

test("what is remembered of events is bounded, and forgetting keeps no answer that is on its way", async () => {
  const invalidation = new Invalidation(10_000, { clock: () => 0, maxHeard: 3 });
  invalidation.caughtUp(0, []);
  const mark = invalidation.mark();
  for (const id of "abcd") invalidation.notified(`{"v":1,"kind":"user","id":"${id}","session_version":1}`);
  assert.equal(invalidation.permits(mark, { userId: "z" }), false);
  assert.equal(invalidation.permits(invalidation.mark(), { userId: "a" }), true);
});

test("what has ended by the log has ended for good, whatever is sent afterwards", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  fake.catchUp([parseEvent('{"v":1,"kind":"session","sid":"s"}')]);
  fake.hear({ kind: "session", sid: "s" });
  const call = cache.verify("t");
  fake.asked[0].row(row());
  await call;
  assert.equal(cache.peek("t"), undefined);
});

test("an entry that is gone is gone from every list", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const call = cache.verify("t");
  fake.asked[0].row(row());
  await call;
  for (const event of [{ kind: "user", id: "42" }, { kind: "session", sid: "s" }, { kind: "token", jti: "j" }, { kind: "flush" }]) fake.hear(event);
  assert.deepEqual(cache.stats(), { hits: 0, misses: 1, entries: 0, evicted: 1, notKept: 0 });
});

const answering = async (fake, promise, rows) => {
  // A watch asks when it is woken.
  let over = false;
  const done = promise.finally(() => (over = true));
  done.catch(() => {});
  for (let turn = 0; turn < 300 && !over; turn += 1) {
    fake.asked.splice(0).forEach((question) => rows(question));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(over, "it has ended");
  return done;
};

test("ended waits until the database refuses, whatever hints come before", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  let refusing = false;
  const answer = ({ row: give }) => give(refusing ? row({ valid: false, reason: "session_ended" }) : row());
  let asked = 0;
  const hints = [
    { kind: "user", id: "42", session_version: 7 },
    { kind: "user", id: "42", session_version: 9223372036854775807n.toString() }, // not understood
    { kind: "session", sid: "s" },
  ];
  const ended = answering(fake, cache.ended("t"), (question) => {
    asked += 1;
    answer(question);
    setTimeout(() => {
      refusing = hints.length === 1;
      if (hints.length > 0) fake.hear(hints.shift());
      fake.catchUp();
    }, 1);
  });
  assert.equal(await ended, "session_ended");
  assert.ok(asked >= 4, `asked ${asked} times`);
});

test("ended sees an event that comes while it is still asking", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const ended = cache.ended("t");
  fake.hear({ kind: "session", sid: "s" });
  fake.asked.shift().row(row()); // of before
  assert.equal(
    await answering(fake, ended, ({ row: give }) => give(row({ valid: false, reason: "session_ended" }))),
    "session_ended",
  );
});

test("ended says so when the account is now linked to another user", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  let user = "42";
  const ended = answering(fake, cache.ended("t"), ({ row: give }) => {
    give(row({ user_id: user }));
    user = "43";
    setTimeout(() => fake.hear({ kind: "user", id: "42", session_version: 7, reason: "unlinked" }), 1);
  });
  assert.equal(await ended, "unlinked");
});

test("ended compares with whom it was verified for, if that is given", async () => {
  const key = (user_id) => ({ id: "k", user_id, session_version: "1", fingerprint: "f", expires_at: null, holds: null });
  const cases = [
    [TokenCache, (user_id) => row({ user_id }), "42"],
    [TokenCache, (user_id) => row({ user_id }), null],
    [ApiKeyCache, key, "42"],
  ];
  for (const [Kind, answer, user] of cases) {
    const fake = new Fake();
    const cache = new Kind(fake, fake);
    const verified = cache.verify("t");
    // Linked to another while the answer was on its way.
    fake.hear({ kind: "user", id: "42", session_version: 7, reason: "unlinked" });
    fake.hear({ kind: "issuer", issuer: "https://i.example" });
    fake.asked.shift().row(answer(user));
    const identity = await verified;
    const giveUp = new AbortController();
    const first = cache.ended("t", { signal: giveUp.signal });
    const ended = cache.ended("t", { identity, signal: giveUp.signal });
    setTimeout(() => giveUp.abort(new Error("it still verifies")), 50);
    await settle();
    fake.asked.splice(0).forEach(({ row: give }) => give(answer("43")));
    assert.equal(await ended, "unlinked");
    await assert.rejects(first, /still verifies/);
  }
});

test("ended asks again at exp, and is unavailable when nobody can tell for too long", async (t) => {
  // In an application its connections keep the process alive.
  const alive = setInterval(() => {}, 1_000);
  t.after(() => clearInterval(alive));
  const real = new Invalidation(200);
  real.caughtUp(real.clock(), []);
  const answers = [row({ holds: 30 }), row({ valid: false, reason: "expired" })];
  const pool = { query: async () => ({ rows: [answers.shift()] }) };
  assert.equal(await new TokenCache({ invalidation: real }, pool).ended("t"), "expired");

  const deaf = new Invalidation(200);
  deaf.caughtUp(deaf.clock(), []);
  let first = true;
  const away = {
    query: async () => {
      if (!first) throw new Error("connect ECONNREFUSED");
      first = false;
      return { rows: [row()] };
    },
  };
  const began = performance.now();
  assert.equal(await new TokenCache({ invalidation: deaf }, away).ended("t"), "unavailable");
  const took = performance.now() - began;
  assert.ok(took > 150 && took < 10_000, `${took} ms`);
});

test("who waits for an end can give up, and closing a cache ends the waiting", async () => {
  const fake = new Fake();
  const cache = new TokenCache(fake, fake);
  const controller = new AbortController();
  const waits = [cache.ended("t", { signal: controller.signal }), cache.ended("t")];
  fake.asked.splice(0).forEach(({ row: give }) => give(row()));
  await settle();
  controller.abort(new Error("gone"));
  await assert.rejects(waits[0], /gone/);
  cache.close();
  await assert.rejects(waits[1], /closed/);
  assert.equal(cache.peek("t"), undefined);
});
