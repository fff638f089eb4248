// A listener and a pool that the test plays itself.

import { Invalidation } from "../dist/invalidation.js";

export class Fake {
  now = 0;
  /** What was asked and not answered. */
  asked = [];

  constructor({ maxStaleness = 10_000 } = {}) {
    this.invalidation = new Invalidation(maxStaleness, { clock: () => this.now });
    this.catchUp();
  }

  catchUp(events = []) {
    this.invalidation.caughtUp(this.now, events);
  }

  hear(event) {
    this.invalidation.notified(JSON.stringify({ v: 1, ...event }));
  }

  query(text, values) {
    return new Promise((resolve, reject) => {
      this.asked.push({ values, row: (row) => resolve({ rows: [row] }), fail: reject });
    });
  }
}

export const row = (more) => ({
  valid: true,
  reason: null,
  user_id: "42",
  session_version: "7",
  current_session_version: "7",
  token_id: "j",
  issuer: "https://i.example",
  kid: "k",
  issued_at: 1,
  expires_at: 2,
  holds: 1_800_000,
  claims: '{"sub": "42", "sid": "s"}',
  ...more,
});

/** An error as `pg` reports what the server answered. */
export const serverError = (code, detail) => Object.assign(new Error("of the server"), { severity: "ERROR", code, detail });

/** Lets everything happen that waits for nothing. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));
