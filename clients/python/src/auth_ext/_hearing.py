"""What is known of the server's events, and for how long: the lease, the generations, who wants to be told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from ._events import FLUSH, Event, Tie, parse

log = logging.getLogger("auth_ext")

MAX_REMEMBERED = 100_000
# Kinds that never come back.
_FINAL = ("token", "session")

if hasattr(time, "CLOCK_BOOTTIME"):

    def clock() -> float:
        """Seconds. Goes on while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover
    clock = time.monotonic


class Sink(Protocol):
    """A cache, as events see it."""

    def evict(self, event: Event) -> None: ...
    def reset(self) -> None: ...


class Watch:
    """Somebody who is told once. `cancel` it when it is no longer wanted."""

    __slots__ = ("_hearing", "born", "callback", "every", "ties")

    def __init__(self, hearing: Hearing, ties: tuple[Tie, ...], callback: Callable[[str], None], every: bool) -> None:
        self._hearing = hearing
        self.ties = ties
        self.callback = callback
        self.every = every
        self.born = hearing.now()

    def cancel(self) -> None:
        """No call any more. Any number of times."""
        self._hearing.unwatch(self)


class Hearing:
    """The state of a listener, without a connection. One lock for it and for all caches that hang on it."""

    def __init__(self, max_staleness: float, now: Callable[[], float] = clock) -> None:
        self.max_staleness = max_staleness
        self.now = now
        self.closed = False
        self.sinks: list[Sink] = []
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self.clock = 0
        self.flushed = 0
        # (kind, id): the clock of its last event, and the floor of its version; -1 for what ended for good.
        self._remembered: dict[Tie, tuple[int, int]] = {}
        self._fresh_until = self.now()
        self._watches: dict[Tie, set[Watch]] = {}
        self._all_watches: set[Watch] = set()

    def reset(self) -> None:
        """In the child of a fork: nothing is known. The old lock may be held by a thread that is not here."""
        self._begin()
        for sink in self.sinks:
            sink.reset()

    # --- the lease ---

    @property
    def fresh(self) -> bool:
        """May a cache answer?"""
        return self.now() < self._fresh_until and not self.closed

    @property
    def state(self) -> str:
        """`closed`, `fresh` or `stale`."""
        return "closed" if self.closed else "fresh" if self.fresh else "stale"

    def renew(self, asked: float) -> None:
        """All that was committed before `asked` is known."""
        with self.lock:
            self._fresh_until = asked + self.max_staleness

    def lose(self) -> None:
        """Something may be missing: at once."""
        with self.lock:
            self._fresh_until = min(self._fresh_until, self.now())

    # --- events ---

    def hear(self, payload: str) -> None:
        """A notification, from whomever."""
        event = parse(payload)
        if event.tie is None:
            self.lose()
        self._apply(event, trusted=False)

    def read(self, payload: str) -> None:
        """A row of the log."""
        self._apply(parse(payload), trusted=True)

    def forget(self) -> None:
        """All that was read before may be old."""
        self._apply(FLUSH, trusted=True)

    def _apply(self, event: Event, trusted: bool) -> None:
        with self.lock:
            self.clock += 1
            if event.tie is None or event.is_template:
                self.flushed = self.clock
            else:
                self._remember(event.tie, event.version, trusted)
            for sink in self.sinks:
                sink.evict(event)
            called = self._take_watches(event)
        self._call(called, event.reason)

    def _remember(self, tie: Tie, version: int, trusted: bool) -> None:
        _, floor = self._remembered.get(tie, (0, 0))
        if trusted:
            floor = -1 if tie[0] in _FINAL else max(floor, version)
        if tie not in self._remembered and len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
            self.flushed = self.clock
        self._remembered[tie] = self.clock, floor

    def holds(self, ties: Iterable[Tie], version: int | None, began: int) -> bool:
        """May what was asked for at `began` be kept now? `version` is the user's current one, -1 where it has none of its own."""
        with self.lock:
            if not self.fresh or self.flushed > began:
                return False
            for tie in ties:
                heard, floor = self._remembered.get(tie, (0, 0))
                if heard > began or floor < 0:
                    return False
                if tie[0] == "user" and floor > 0 and version != -1 and (version is None or version < floor):
                    return False
            return True

    # --- who is told ---

    def watch(self, ties: Iterable[Tie], callback: Callable[[str], None], every: bool = False, since: int | None = None) -> Watch:
        """Calls back once, at the first event that may have ended one of `ties`: also one since clock `since`.
        With `every` at any event about them."""
        watch = Watch(self, tuple(ties), callback, every)
        with self.lock:
            if since is not None:
                late = "flush" if self.flushed > since else None
                for tie in watch.ties:
                    if self._remembered.get(tie, (0, 0))[0] > since:
                        late = tie[0]
                if late is not None:
                    callback(late)
                    return watch
            self._all_watches.add(watch)
            for tie in watch.ties:
                self._watches.setdefault(tie, set()).add(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """It is not called any more."""
        with self.lock:
            self._all_watches.discard(watch)
            for tie in watch.ties:
                of_tie = self._watches.get(tie)
                if of_tie is not None:
                    of_tie.discard(watch)
                    if not of_tie:
                        del self._watches[tie]

    def _take_watches(self, event: Event) -> list[Watch]:
        if event.tie is None:
            called = list(self._all_watches)
        elif event.is_template:
            called = [watch for watch in self._all_watches if any(kind == "issuer" for kind, _ in watch.ties)]
        else:
            called = [
                watch for watch in self._watches.get(event.tie, ()) if watch.every or event.reason != "activated"
            ]
        for watch in called:
            self.unwatch(watch)
        return called

    def tell_stale(self) -> None:
        """Tells those who have been without news for longer than promised. To be called now and then."""
        now = self.now()
        with self.lock:
            if now - self._fresh_until <= self.max_staleness:
                return
            called = [w for w in self._all_watches if now - max(self._fresh_until, w.born) > self.max_staleness]
            for watch in called:
                self.unwatch(watch)
        self._call(called, "stale")

    @staticmethod
    def _call(called: list[Watch], reason: str) -> None:
        for watch in called:
            try:
                watch.callback(reason)
            except Exception:
                log.exception("auth_ext: a callback of on_ended failed")
