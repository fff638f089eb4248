"""The caches, for threads and for asyncio. The rules are in _store and _hearing; here is who asks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from ._asking import AsyncConnections, Connections, Row, ask_alone, ask_alone_async
from ._errors import Refused, Unavailable, refusal
from ._identity import ApiKey, Identity, Question, api_key_answer, api_key_question, token_answer, token_question
from ._links import settle
from ._listener import _Listening
from ._store import Answer, Entry, Stats, Store

T = TypeVar("T")
SPREAD = 0.5


class _Flight:
    """A question that is on its way, for those who want to know the same."""

    __slots__ = ("began", "done")

    def __init__(self, began: int) -> None:
        self.began = began
        # What was answered, if others may take it.
        self.done: concurrent.futures.Future[Answer[Any] | None] = concurrent.futures.Future()


class _Base(Generic[T]):
    def __init__(self, listener: _Listening, size: int, max_age: float, negative_ttl: float) -> None:
        self._listener = listener
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

    def _peek(self, question: Question[T] | None) -> T | None:
        entry = None if question is None or question.key is None else self._store.get(question.key)
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


def _refused(error: BaseException) -> Answer[Any] | None:
    return Answer(None, error.reason) if isinstance(error, Refused) else None


class _Sync(_Base[T]):
    def __init__(
        self,
        listener: _Listening,
        connections: Connections,
        *,
        size: int = 100_000,
        max_age: float = 60.0,
        negative_ttl: float = 0.0,
    ) -> None:
        super().__init__(listener, size, max_age, negative_ttl)
        self._connections = connections

    def _verify(self, question: Question[T] | None, read: Callable[[Row], Answer[T]], otherwise: str) -> tuple[T, Answer[T] | Entry[T], int]:
        if question is None:
            raise Refused(otherwise)
        entry, flight, ours, began = self._look(question.key)
        if entry is not None:
            return self._given(entry), entry, began
        if flight is not None and not ours:
            shared = flight.done.result()
            if shared is not None:
                return self._given(shared), shared, flight.began
            # An event came, or who asked has failed.
            flight = None
            with self._hearing.lock:
                began = self._hearing.clock
        asked = self._hearing.now()
        answer: Answer[T] | None = None
        try:
            answer = read(ask_alone(self._connections, question.sql, question.arguments))
        except Refused as error:
            answer = _refused(error)
            raise
        finally:
            self._land(question.key, flight, answer, began, asked)
        return self._given(answer), answer, began

    def _ended(self, verify: Callable[[], tuple[T, Answer[T] | Entry[T], int]], timeout: float | None) -> str | None:
        hearing = self._hearing
        deadline = None if timeout is None else time.monotonic() + timeout
        known = hearing.now()
        while True:
            rest = 3600.0 if deadline is None else deadline - time.monotonic()
            if rest <= 0:
                return None
            asked = hearing.now()
            try:
                _, answer, began = verify()
            except Refused as error:
                return error.reason
            except Unavailable:
                if hearing.now() - known > hearing.max_staleness:
                    return "unavailable"
                time.sleep(min(rest, random.uniform(0, hearing.max_staleness / 10)))
                continue
            known = asked
            until = _until(answer, asked)
            if until is not None and until <= hearing.now():
                return "expired"
            told: list[str] = []
            woken = threading.Event()

            def tell(reason: str, told: list[str] = told, woken: threading.Event = woken) -> None:
                told.append(reason)
                woken.set()

            watch = hearing.watch(answer.ties, tell, True, began)
            woken.wait(min(rest, self._rest(answer, until)))
            watch.cancel()
            if until is not None and until <= hearing.now():
                return "expired"
            if told == ["flush"]:
                time.sleep(random.uniform(0, SPREAD))


def _until(answer: Answer[Any] | Entry[Any], asked: float) -> float | None:
    """When it expires. Of an entry only when it is asked for again is known."""
    if isinstance(answer, Entry) or answer.left is None:
        return None
    return asked + answer.left


class _Async(_Base[T]):
    def __init__(
        self,
        listener: _Listening,
        connections: AsyncConnections,
        *,
        size: int = 100_000,
        max_age: float = 60.0,
        negative_ttl: float = 0.0,
    ) -> None:
        super().__init__(listener, size, max_age, negative_ttl)
        self._connections = connections

    async def _verify(self, question: Question[T] | None, read: Callable[[Row], Answer[T]], otherwise: str) -> tuple[T, Answer[T] | Entry[T], int]:
        if question is None:
            raise Refused(otherwise)
        entry, flight, ours, began = self._look(question.key)
        if entry is not None:
            return self._given(entry), entry, began
        if flight is not None and not ours:
            # Whoever stops waiting does not stop the others.
            shared = await asyncio.shield(asyncio.wrap_future(flight.done))
            if shared is not None:
                return self._given(shared), shared, flight.began
            flight = None
            with self._hearing.lock:
                began = self._hearing.clock
        asked = self._hearing.now()
        answer: Answer[T] | None = None
        try:
            answer = read(await ask_alone_async(self._connections, question.sql, question.arguments))
        except Refused as error:
            answer = _refused(error)
            raise
        finally:
            self._land(question.key, flight, answer, began, asked)
        return self._given(answer), answer, began

    async def _ended(self, verify: Callable[[], Any]) -> str:
        hearing = self._hearing
        loop = asyncio.get_running_loop()
        known = hearing.now()
        while True:
            asked = hearing.now()
            try:
                _, answer, began = await verify()
            except Refused as error:
                return error.reason
            except Unavailable:
                if hearing.now() - known > hearing.max_staleness:
                    return "unavailable"
                await asyncio.sleep(random.uniform(0, hearing.max_staleness / 10))
                continue
            known = asked
            until = _until(answer, asked)
            if until is not None and until <= hearing.now():
                return "expired"
            told: asyncio.Future[str] = loop.create_future()

            def tell(reason: str, told: asyncio.Future[str] = told) -> None:
                loop.call_soon_threadsafe(settle, told, reason)

            watch = hearing.watch(answer.ties, tell, True, began)
            try:
                await asyncio.wait({told}, timeout=self._rest(answer, until))
            finally:
                watch.cancel()
            if until is not None and until <= hearing.now():
                return "expired"
            if told.done() and told.result() == "flush":
                await asyncio.sleep(random.uniform(0, SPREAD))


class TokenCache(_Sync[Identity]):
    """In front of auth.check_jwt, for threads. `connections` gives a connection for a `with`."""

    def verify(self, token: str, device: object = None) -> Identity:
        """Whom the token is of. Raises Refused, or Unavailable."""
        return self._verify(token_question(token, device), token_answer, "malformed")[0]

    def peek(self, token: str, device: object = None) -> Identity | None:
        """What the cache can answer by itself now."""
        return self._peek(token_question(token, device))

    def ended(self, token: str, device: object = None, timeout: float | None = None) -> str | None:
        """Waits until the token no longer verifies: the reason. None: not within the time."""
        question = token_question(token, device)
        return self._ended(lambda: self._verify(question, token_answer, "malformed"), timeout)


class ApiKeyCache(_Sync[ApiKey]):
    """In front of auth.verify_api_key, for threads."""

    def verify(self, key: str) -> ApiKey:
        """Whom the key is of. Raises Refused, or Unavailable."""
        return self._verify(api_key_question(key), api_key_answer, "unknown_api_key")[0]

    def peek(self, key: str) -> ApiKey | None:
        """What the cache can answer by itself now."""
        return self._peek(api_key_question(key))

    def ended(self, key: str, timeout: float | None = None) -> str | None:
        """Waits until the key no longer verifies: the reason. None: not within the time."""
        question = api_key_question(key)
        return self._ended(lambda: self._verify(question, api_key_answer, "unknown_api_key"), timeout)


class AsyncTokenCache(_Async[Identity]):
    """In front of auth.check_jwt, for asyncio. `connections` gives a connection for an `async with`."""

    async def verify(self, token: str, device: object = None) -> Identity:
        """Whom the token is of. Raises Refused, or Unavailable."""
        return (await self._verify(token_question(token, device), token_answer, "malformed"))[0]

    def peek(self, token: str, device: object = None) -> Identity | None:
        """What the cache can answer by itself now."""
        return self._peek(token_question(token, device))

    async def ended(self, token: str, device: object = None) -> str:
        """Waits until the token no longer verifies, and returns the reason."""
        question = token_question(token, device)
        return await self._ended(lambda: self._verify(question, token_answer, "malformed"))


class AsyncApiKeyCache(_Async[ApiKey]):
    """In front of auth.verify_api_key, for asyncio."""

    async def verify(self, key: str) -> ApiKey:
        """Whom the key is of. Raises Refused, or Unavailable."""
        return (await self._verify(api_key_question(key), api_key_answer, "unknown_api_key"))[0]

    def peek(self, key: str) -> ApiKey | None:
        """What the cache can answer by itself now."""
        return self._peek(api_key_question(key))

    async def ended(self, key: str) -> str:
        """Waits until the key no longer verifies, and returns the reason."""
        question = api_key_question(key)
        return await self._ended(lambda: self._verify(question, api_key_answer, "unknown_api_key"))
