"""Who hears: a task of asyncio, or a thread that runs one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ._errors import sqlstate
from ._events import Tie
from ._hearing import Hearing, Watch, log
from ._links import CONNECT_TIMEOUT, Link, link_of

T = TypeVar("T")

FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
# The log is read at most 10,000 events at a time.
MANY = 5_000
# What is empty at once asks at once; what anybody can send must not make that a loop.
BREATH = 0.02


class _Listening:
    """What both have."""

    def __init__(self, conninfo: str, *, max_staleness: float = 10.0, driver: str | None = None) -> None:
        if not max_staleness > 0:
            raise ValueError("max_staleness must be above 0")
        self._conninfo = conninfo
        self._make = link_of(driver)
        self._hearing = Hearing(max_staleness)
        self._cursor: str | None = None
        self._asked: list[concurrent.futures.Future[bool]] = []
        self._heard = 0
        self._pause = FIRST_PAUSE
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None

    @property
    def hearing(self) -> Hearing:
        """For caches: what is known."""
        return self._hearing

    @property
    def max_staleness(self) -> float:
        """The bound, in seconds."""
        return self._hearing.max_staleness

    @property
    def fresh(self) -> bool:
        """May a cache answer now? If not, every look-up asks the database."""
        return self._hearing.fresh

    @property
    def state(self) -> str:
        """`stale`, `fresh` or `closed`."""
        return self._hearing.state

    def ensure(self) -> None:
        """Called by caches before each look-up."""

    def on_ended(
        self,
        callback: Callable[[str], None],
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        fingerprint: str | None = None,
    ) -> Watch:
        """Calls back once, with a reason, at the first event that may have ended the user's sessions, the session or
        the API key; also when nobody knows, as after a flush. Called by the listener: it must not block."""
        names = {"user": user_id, "session": session_id, "api_key": fingerprint}
        ties: list[Tie] = [(kind, id) for kind, id in names.items() if id is not None]
        if not ties:
            raise ValueError("of whom? user_id, session_id or fingerprint")
        self.ensure()
        return self._hearing.watch(ties, callback)

    # --- in the loop ---

    def _hear(self, payload: str) -> None:
        self._hearing.hear(payload)
        self._heard += 1
        if self._woken is not None and (self._heard >= MANY or not self._hearing.fresh):
            self._woken.set()

    def _ask(self, asking: concurrent.futures.Future[bool]) -> None:
        if self._hearing.closed:
            asking.set_result(False)
            return
        self._asked.append(asking)
        if self._woken is not None:
            self._woken.set()

    async def _within(self, link: Link, question: Awaitable[T], seconds: float) -> T:
        """The answer, or the end of the connection. A task that a driver cancels may wait for a server that has gone,
        so that the socket is closed first."""
        task = asyncio.ensure_future(question)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
            if not done:
                raise TimeoutError(f"no answer within {seconds:g} s")
        except BaseException:
            link.abort()
            task.cancel()
            with contextlib.suppress(BaseException):
                await asyncio.wait({task}, timeout=1.0)
                if task.done() and not task.cancelled():
                    task.exception()
            raise
        return task.result()

    async def _listen(self, link: Link) -> bool:
        """False on a standby, where nobody can listen."""
        try:
            await self._within(link, link.listen(), self.max_staleness)
        except Exception as error:
            if sqlstate(error) != "25006":
                raise
            return False
        return True

    async def _catch_up(self, link: Link) -> None:
        asked, self._asked = self._asked, []
        self._heard = 0
        try:
            sent = self._hearing.now()
            if self._cursor is None:
                rows = await self._within(link, link.rows("SELECT auth.invalidation_cursor()"), self.max_staleness)
                # Only now: what was read before the cursor was taken must not be cached after it.
                self._hearing.forget()
                self._cursor = str(rows[0][0])
            else:
                query = "SELECT event::text, next_cursor FROM auth.invalidations_since($1)"
                rows = await self._within(link, link.rows(query, self._cursor), self.max_staleness)
                for event, _ in rows:
                    self._hearing.read(event)
                if rows:
                    self._cursor = str(rows[0][1])
            self._hearing.renew(sent)
        except BaseException:
            self._asked = asked + self._asked
            raise
        for asking in asked:
            if not asking.done():
                asking.set_result(True)

    async def _session(self, woken: asyncio.Event) -> None:
        link = self._make(self._hear)
        try:
            await asyncio.wait_for(link.connect(self._conninfo), CONNECT_TIMEOUT)
            # Committed, before the first look: nothing falls between the two.
            listens = await self._listen(link)
            while True:
                woken.clear()
                await self._catch_up(link)
                self._pause = FIRST_PAUSE
                loop = asyncio.get_running_loop()
                until = loop.time() + self.max_staleness / 3
                while self._hearing.fresh and not self._asked and self._heard < MANY:
                    left = until - loop.time()
                    if left <= 0:
                        break
                    await link.rest(left, woken)
                if not self._hearing.fresh:
                    await asyncio.sleep(BREATH)
                if not listens:
                    listens = await self._listen(link)
        finally:
            # At once, and only then what takes time.
            self._hearing.lose()
            link.abort()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        woken = self._woken = asyncio.Event()
        ticking = asyncio.ensure_future(self._tick())
        try:
            while not self._hearing.closed:
                try:
                    await self._session(woken)
                except Exception as error:
                    log.warning("auth_ext: the listener lost its connection: %s", type(error).__name__)
                    log.debug("auth_ext: the listener lost its connection", exc_info=error)
                    if sqlstate(error) == "22023":
                        self._cursor = None  # not one of this server's
                await asyncio.sleep(random.uniform(0, self._pause))
                self._pause = min(2 * self._pause, LAST_PAUSE)
        finally:
            ticking.cancel()
            self._hearing.lose()
            self._woken = None
            for asking in self._asked:
                if not asking.done():
                    asking.set_result(False)
            self._asked = []

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, self.max_staleness / 20))
            self._hearing.tell_stale()


class AsyncListener(_Listening):
    """Hears of changes, in a task of the running loop.

    async with AsyncListener("postgresql://…") as listener: …
    """

    _task: asyncio.Task[None] | None = None

    async def start(self) -> AsyncListener:
        """Begins to listen; does not wait for it. `sync` does."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="auth_ext listener")
        return self

    async def close(self) -> None:
        """Ends it. Caches ask the database from then on."""
        self._hearing.closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def __aenter__(self) -> AsyncListener:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def sync(self, timeout: float | None = None) -> bool:
        """Returns when all that was committed before is known here. False: it took too long."""
        asking: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._ask(asking)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asking), timeout)
        except TimeoutError:
            return False


class Listener(_Listening):
    """Hears of changes, in a thread of its own. After a fork the child's begins anew.

    with Listener("postgresql://…") as listener: …
    """

    def __init__(self, conninfo: str, *, max_staleness: float = 10.0, driver: str | None = None) -> None:
        super().__init__(conninfo, max_staleness=max_staleness, driver=driver)
        self._process = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        _listeners.add(self)
        self.ensure()

    def ensure(self) -> None:
        if self._process == _process_id or self._hearing.closed:
            return
        with self._starting:
            if self._process != _process_id:
                ready = threading.Event()
                self._thread = threading.Thread(target=self._work, args=[ready], name="auth_ext listener", daemon=True)
                self._thread.start()
                ready.wait()
                self._process = _process_id

    def _work(self, ready: threading.Event) -> None:
        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            running = self._running = asyncio.ensure_future(self._run())
            ready.set()
            with contextlib.suppress(asyncio.CancelledError):
                await running

        # psycopg needs a loop that watches sockets: on Windows the default one does not.
        loop: Any = asyncio.SelectorEventLoop()
        try:
            loop.run_until_complete(run())
        finally:
            ready.set()
            loop.close()

    def _reborn(self) -> None:
        self._starting = threading.Lock()
        self._hearing.reset()
        self._cursor, self._asked, self._loop, self._woken = None, [], None, None

    def close(self) -> None:
        """Ends it. Caches ask the database from then on."""
        self._hearing.closed = True
        if self._thread is not None and self._process == _process_id and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._running.cancel)
            self._thread.join(5)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync(self, timeout: float | None = None) -> bool:
        """Returns when all that was committed before is known here. False: it took too long."""
        self.ensure()
        asking: concurrent.futures.Future[bool] = concurrent.futures.Future()
        if self._hearing.closed or self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(self._ask, asking)
            return asking.result(timeout)
        except (TimeoutError, concurrent.futures.TimeoutError, RuntimeError):
            return False


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
_process_id = os.getpid()


def _after_fork() -> None:
    global _process_id
    _process_id = os.getpid()
    for listener in _listeners:
        listener._reborn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
