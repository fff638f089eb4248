"""What a cache has: entries, and what they depend on. The rules are those of clients/README.md."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from ._events import Event, Tie
from ._hearing import Hearing

T = TypeVar("T")


@dataclass(slots=True)
class Answer(Generic[T]):
    """What the database said."""

    value: T | None
    reason: str | None
    ties: tuple[Tie, ...] = ()
    version: int | None = -1
    left: float | None = None
    """Seconds until it expires, by the server's clock."""


class Entry(NamedTuple, Generic[T]):
    """An answer that is kept."""

    value: T | None
    reason: str | None
    ties: tuple[Tie, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the cache was made; `entries` is how many there are now."""

    hits: int
    misses: int
    entries: int
    evicted: int
    not_kept: int


class Store(Generic[T]):
    """Entries by key. All of it under the lock of the hearing."""

    def __init__(self, hearing: Hearing, size: int, max_age: float, negative_ttl: float = 0.0) -> None:
        if size < 1 or max_age <= 0 or negative_ttl < 0:
            raise ValueError("size and max_age must be above 0, negative_ttl not below")
        self.hearing = hearing
        self.size = size
        self.max_age = max_age
        self.negative_ttl = negative_ttl
        self.hits = self.misses = self.evicted = self.not_kept = 0
        self.reset()
        with hearing.lock:
            hearing.sinks.append(self)

    def reset(self) -> None:
        """Empty, in the child of a fork."""
        self._entries: OrderedDict[Hashable, Entry[T]] = OrderedDict()
        # Most ties have one entry: then it stands there itself, which saves the set.
        self._by_tie: dict[Tie, Any] = {}
        self.flights: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Entry[T] | None:
        """The entry, if it may be used now."""
        hearing = self.hearing
        with hearing.lock:
            if not hearing.fresh:
                return None
            entry = self._entries.get(key)
            if entry is None:
                return None
            if hearing.now() >= entry.until:
                self._remove(key)
                return None
            self._entries.move_to_end(key)
            return entry

    def keep(self, key: Hashable, answer: Answer[T], began: int, asked: float) -> bool:
        """Keeps an answer that was asked for at `asked`, when the clock of events was `began`, if that may be."""
        hearing = self.hearing
        with hearing.lock:
            age = self.max_age
            if answer.value is None:
                age = min(age, self.negative_ttl)
            until = asked + (age if answer.left is None else min(answer.left, age))
            # A refusal may depend on what it does not name: any event since then speaks against it.
            unchanged = answer.value is not None or hearing.clock == began
            if not unchanged or hearing.now() >= until or not hearing.holds(answer.ties, answer.version, began):
                self.not_kept += answer.value is not None
                return False
            self._remove(key)
            if len(self._entries) >= self.size:
                self._remove(next(iter(self._entries)))
            self._entries[key] = Entry(answer.value, answer.reason, answer.ties, until)
            for tie in self._indexed(answer.ties) if answer.value is not None else (_REFUSALS,):
                self._index(tie, key)
            return True

    def evict(self, event: Event) -> None:
        """Removes what an event is about."""
        before = len(self._entries)
        if event.tie is None:
            self._entries.clear()
            self._by_tie.clear()
        else:
            self._evict_tie(_REFUSALS)
            if event.tie[0] == "issuer":
                for key in [key for key, entry in self._entries.items() if _is_of_issuer(entry, event)]:
                    self._remove(key)
            else:
                self._evict_tie(event.tie)
        self.evicted += before - len(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(list(self._entries))

    def stats(self) -> Stats:
        """The counts."""
        with self.hearing.lock:
            return Stats(self.hits, self.misses, len(self._entries), self.evicted, self.not_kept)

    @staticmethod
    def _indexed(ties: tuple[Tie, ...]) -> Iterator[Tie]:
        # Issuers change rarely and have many tokens: those are found by looking at all.
        return (tie for tie in ties if tie[0] != "issuer")

    def _index(self, tie: Tie, key: Hashable) -> None:
        there = self._by_tie.get(tie)
        if there is None:
            self._by_tie[tie] = key
        elif isinstance(there, set):
            there.add(key)
        else:
            self._by_tie[tie] = {there, key}

    def _evict_tie(self, tie: Tie) -> None:
        there = self._by_tie.get(tie)
        if there is None:
            return
        for key in list(there) if isinstance(there, set) else [there]:
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for tie in self._indexed(entry.ties) if entry.value is not None else (_REFUSALS,):
            there = self._by_tie.get(tie)
            if isinstance(there, set):
                there.discard(key)
                if not there:
                    del self._by_tie[tie]
            elif there == key:
                del self._by_tie[tie]


_REFUSALS: Tie = ("refused", "")
"""Refusals end with every event."""


def _is_of_issuer(entry: Entry[Any], event: Event) -> bool:
    if event.is_template:
        return any(kind == "issuer" for kind, _ in entry.ties)
    return event.tie in entry.ties
