import { isOfIssuer, type Event } from "./event.js";
import { IndexOf } from "./index-of.js";
import type { Ties } from "./invalidation.js";

const NAMES = ["userId", "sessionId", "tokenId", "fingerprint"] as const;

/** Things that events can be about. */
export class ByEvent<T extends { readonly ties: Ties }> {
  readonly #all = new Set<T>();
  readonly #by = {
    userId: new IndexOf<T>(),
    sessionId: new IndexOf<T>(),
    tokenId: new IndexOf<T>(),
    fingerprint: new IndexOf<T>(),
  };

  add(thing: T): void {
    this.#all.add(thing);
    for (const name of NAMES) {
      const value = thing.ties[name];
      if (value != null) this.#by[name].add(value, thing);
    }
  }

  remove(thing: T): void {
    this.#all.delete(thing);
    for (const name of NAMES) {
      const value = thing.ties[name];
      if (value != null) this.#by[name].remove(value, thing);
    }
  }

  /** A copy of all. */
  all(): T[] {
    return [...this.#all];
  }

  /** A copy of those that an event may be about. */
  of(event: Event): T[] {
    switch (event.kind) {
      case "user":
        return this.#by.userId.get(event.userId);
      case "session":
        return this.#by.sessionId.get(event.sessionId);
      case "token":
        return this.#by.tokenId.get(event.tokenId);
      case "api_key":
        return this.#by.fingerprint.get(event.fingerprint);
      case "issuer":
        // No index: issuers change seldom.
        return this.all().filter(({ ties }) => ties.issuer != null && isOfIssuer(event.issuer, ties.issuer));
      case "flush":
        return this.all();
    }
  }
}
