"""The caches, for threads and for asyncio. The rules are in _store and _hearing; here is who asks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

from ._asking import AsyncConnections, Connections, Row, ask_alone, ask_alone_async
from ._errors import Refused, Unavailable, refusal
from ._events import Tie
from ._identity import ApiKey, Identity, Question, api_key_question, token_question
from ._links import settle
from ._listener import _Listening
from ._store import Answer, Entry, Stats, Store

R = TypeVar("R")
T = TypeVar("T", bound=Identity | ApiKey)
C = TypeVar("C")
SPREAD = 0.5


class _Flight:
    """A question that is on its way, for those who want to know the same."""

    __slots__ = ("began", "done")

    def __init__(self, began: int) -> None:
        self.began = began
        # What was answered, if others may take it.
        self.done: concurrent.futures.Future[Answer[Any] | None] = concurrent.futures.Future()


class _Cache(ABC, Generic[T, C]):
    def __init__(
        self,
        listener: _Listening,
        connections: C,
        *,
        size: int = 100_000,
        max_age: float = 60.0,
        negative_ttl: float = 0.0,
    ) -> None:
        self._listener = listener
        self._connections = connections
        self._hearing = listener.hearing
        self._store: Store[T] = Store(self._hearing, size, max_age, negative_ttl)

    def stats(self) -> Stats:
        """Counts since the cache was made."""
        return self._store.stats()

    @staticmethod
    def _given(answer: Answer[T] | Entry[T]) -> T:
        if answer.value is None:
            raise refusal(answer.reason or "malformed")
        return answer.value

    def _peek(self, question: Question[T]) -> T | None:
        entry = None if question.key is None else self._store.get(question.key)
        return None if entry is None else entry.value

    def _look(self, key: Hashable | None) -> tuple[Entry[T] | None, _Flight | None, bool, int]:
        """The entry; or the flight, and whether it is ours; and the clock of events before the question."""
        self._listener.ensure()
        store, hearing = self._store, self._hearing
        with hearing.lock:
            entry = None if key is None else store.get(key)
            if entry is not None:
                store.hits += 1
                return entry, None, False, hearing.clock
            store.misses += 1
            if key is None or not hearing.fresh:
                return None, None, False, hearing.clock
            flight = store.flights.get(key)
            if flight is not None:
                return None, flight, False, hearing.clock
            flight = store.flights[key] = _Flight(hearing.clock)
            return None, flight, True, hearing.clock

    def _land(self, key: Hashable | None, flight: _Flight | None, answer: Answer[T] | None, began: int, asked: float) -> None:
        """Keeps the answer if that may be, and gives it to those who wait; None if there is none."""
        store = self._store
        with self._hearing.lock:
            shared = False
            if answer is not None and key is not None:
                shared = store.keep(key, answer, began, asked)
                if answer.value is None and self._hearing.clock == began and self._hearing.fresh:
                    shared = True
            if flight is not None and store.flights.get(key) is flight:
                del store.flights[key]
        if flight is not None:
            flight.done.set_result(answer if shared else None)

    def _rest(self, answer: Answer[T] | Entry[T], until: float | None) -> float:
        """How long nothing but an event makes it worth asking again."""
        ends = answer.until if isinstance(answer, Entry) else until
        return max(0.0, min(self._store.max_age, self._store.max_age if ends is None else ends - self._hearing.now()))

    @abstractmethod
    async def _ask(self, question: Question[T]) -> Row:
        """The database's row."""

    @abstractmethod
    async def _shared(self, flight: _Flight) -> Answer[T] | None:
        """What another's question was answered, if we may take it."""

    @abstractmethod
    async def _pause(self, seconds: float) -> None: ...

    @abstractmethod
    async def _told(self, ties: tuple[Tie, ...], began: int, seconds: float) -> str | None:
        """The reason of the first event about one of `ties` since clock `began`. None: not within the time."""

    async def _verify(self, question: Question[T]) -> tuple[T, Answer[T] | Entry[T], int]:
        """The value; what it is of; and the clock of events before it was asked for."""
        if question.refused is not None:
            raise Refused(question.refused)
        entry, flight, ours, began = self._look(question.key)
        if entry is not None:
            return self._given(entry), entry, began
        if flight is not None and not ours:
            shared = await self._shared(flight)
            if shared is not None:
                return self._given(shared), shared, flight.began
            # An event came, or who asked has failed.
            flight = None
            with self._hearing.lock:
                began = self._hearing.clock
        asked = self._hearing.now()
        answer: Answer[T] | None = None
        try:
            answer = question.read(await self._ask(question))
        except Refused as error:
            answer = Answer(None, error.reason)
            raise
        finally:
            self._land(question.key, flight, answer, began, asked)
        return self._given(answer), answer, began

    async def _ended(self, question: Question[T], identity: T | None, timeout: float = math.inf) -> str:
        """Why it no longer verifies, or not for the user of `identity`; without one, of the first answer.
        TimeoutError: it still does."""
        hearing = self._hearing
        deadline = time.monotonic() + timeout
        known = hearing.now()
        while True:
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise TimeoutError
            asked = hearing.now()
            try:
                value, answer, began = await self._verify(question)
            except Refused as error:
                return error.reason
            except Unavailable:
                if hearing.now() - known > hearing.max_staleness:
                    return "unavailable"
                await self._pause(min(rest, random.uniform(0, hearing.max_staleness / 10)))
                continue
            if identity is None:
                identity = value
            elif value.user_id != identity.user_id:
                return "unlinked"
            known = asked
            until = _until(answer, asked)
            if until is not None and until <= hearing.now():
                return "expired"
            told = await self._told(answer.ties, began, min(rest, self._rest(answer, until)))
            if until is not None and until <= hearing.now():
                return "expired"
            if told == "flush":
                # Not everybody at once.
                await self._pause(random.uniform(0, SPREAD))


def _until(answer: Answer[Any] | Entry[Any], asked: float) -> float | None:
    """When it expires. Of an entry only when it is asked for again is known."""
    if isinstance(answer, Entry) or answer.left is None:
        return None
    return asked + answer.left


class _Waiting(_Cache[T, Connections]):
    """For threads: each of these is over when it returns."""

    async def _ask(self, question: Question[T]) -> Row:
        return ask_alone(self._connections, question.sql, question.arguments)

    async def _shared(self, flight: _Flight) -> Answer[T] | None:
        return flight.done.result()

    async def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def _told(self, ties: tuple[Tie, ...], began: int, seconds: float) -> str | None:
        told: list[str] = []
        woken = threading.Event()

        def tell(reason: str) -> None:
            told.append(reason)
            woken.set()

        watch = self._hearing.watch(ties, tell, True, began)
        woken.wait(seconds)
        watch.cancel()
        return told[0] if told else None

    def _ended_within(self, question: Question[T], identity: T | None, timeout: float | None) -> str | None:
        try:
            return _done(self._ended(question, identity, math.inf if timeout is None else timeout))
        except TimeoutError:
            return None


def _done(steps: Coroutine[Any, Any, R]) -> R:
    """What a coroutine of a `_Waiting` returns: it never suspends."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    raise AssertionError("it waits for a loop")


class _Suspending(_Cache[T, AsyncConnections]):
    """For asyncio."""

    async def _ask(self, question: Question[T]) -> Row:
        return await ask_alone_async(self._connections, question.sql, question.arguments)

    async def _shared(self, flight: _Flight) -> Answer[T] | None:
        # Whoever stops waiting does not stop the others.
        return await asyncio.shield(asyncio.wrap_future(flight.done))

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _told(self, ties: tuple[Tie, ...], began: int, seconds: float) -> str | None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[str] = loop.create_future()

        def tell(reason: str) -> None:
            loop.call_soon_threadsafe(settle, told, reason)

        watch = self._hearing.watch(ties, tell, True, began)
        try:
            await asyncio.wait({told}, timeout=seconds)
        finally:
            watch.cancel()
        return told.result() if told.done() else None


class TokenCache(_Waiting[Identity]):
    """In front of auth.check_jwt, for threads. `connections` gives a connection for a `with`."""

    def verify(self, token: str, device: object = None) -> Identity:
        """Whom the token is of. Raises Refused, or Unavailable."""
        return _done(self._verify(token_question(token, device)))[0]

    def peek(self, token: str, device: object = None) -> Identity | None:
        """What the cache can answer by itself now."""
        return self._peek(token_question(token, device))

    def ended(
        self, token: str, device: object = None, timeout: float | None = None, *, identity: Identity | None = None
    ) -> str | None:
        """Waits until the token no longer verifies, or is no longer of the user of `identity`: the reason.
        None: not within the time."""
        return self._ended_within(token_question(token, device), identity, timeout)


class ApiKeyCache(_Waiting[ApiKey]):
    """In front of auth.verify_api_key, for threads."""

    def verify(self, key: str) -> ApiKey:
        """Whom the key is of. Raises Refused, or Unavailable."""
        return _done(self._verify(api_key_question(key)))[0]

    def peek(self, key: str) -> ApiKey | None:
        """What the cache can answer by itself now."""
        return self._peek(api_key_question(key))

    def ended(self, key: str, timeout: float | None = None, *, identity: ApiKey | None = None) -> str | None:
        """Waits until the key no longer verifies, or is no longer of the user of `identity`: the reason.
        None: not within the time."""
        return self._ended_within(api_key_question(key), identity, timeout)


class AsyncTokenCache(_Suspending[Identity]):
    """In front of auth.check_jwt, for asyncio. `connections` gives a connection for an `async with`."""

    async def verify(self, token: str, device: object = None) -> Identity:
        """Whom the token is of. Raises Refused, or Unavailable."""
        return (await self._verify(token_question(token, device)))[0]

    def peek(self, token: str, device: object = None) -> Identity | None:
        """What the cache can answer by itself now."""
        return self._peek(token_question(token, device))

    async def ended(self, token: str, device: object = None, *, identity: Identity | None = None) -> str:
        """Waits until the token no longer verifies, or is no longer of the user of `identity`, and returns the reason."""
        return await self._ended(token_question(token, device), identity)


class AsyncApiKeyCache(_Suspending[ApiKey]):
    """In front of auth.verify_api_key, for asyncio."""

    async def verify(self, key: str) -> ApiKey:
        """Whom the key is of. Raises Refused, or Unavailable."""
        return (await self._verify(api_key_question(key)))[0]

    def peek(self, key: str) -> ApiKey | None:
        """What the cache can answer by itself now."""
        return self._peek(api_key_question(key))

    async def ended(self, key: str, *, identity: ApiKey | None = None) -> str:
        """Waits until the key no longer verifies, or is no longer of the user of `identity`, and returns the reason."""
        return await self._ended(api_key_question(key), identity)
