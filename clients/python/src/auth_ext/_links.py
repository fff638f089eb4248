"""The listener's own connection: what it needs of psycopg 3 and of asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

CHANNEL = "auth_invalidation"
CONNECT_TIMEOUT = 10.0
NAME = "auth_ext listener"


class Link(Protocol):
    """A connection that hears. Every call may raise what the driver raises."""

    async def connect(self, conninfo: str) -> None: ...
    async def listen(self) -> None: ...
    async def rows(self, sql: str, argument: str | None = None) -> list[tuple[Any, ...]]: ...
    async def rest(self, seconds: float, woken: asyncio.Event) -> None:
        """Hears until the time is over, somebody wakes it or the connection is lost."""

    def abort(self) -> None:
        """Ends it without a word to the server, which may not be there."""


Make = Callable[[Callable[[str], None]], Link]


async def _first(seconds: float, *futures: asyncio.Future[Any]) -> None:
    """Waits for one of them."""
    try:
        await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in futures:
            future.cancel()


def settle(future: asyncio.Future[T], result: T) -> None:
    """Unless it is."""
    if not future.done():
        future.set_result(result)


class PsycopgLink:
    """psycopg 3."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        self._hear = hear
        self._conn: Any = None

    async def connect(self, conninfo: str) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
        from psycopg.rows import tuple_row

        # The limit of psycopg is for each host: one that never answers must leave time for the others.
        given = conninfo_to_dict(conninfo)
        hosts = str(given.get("host") or os.environ.get("PGHOST", "")).split(",")
        seconds = int(float(given.get("connect_timeout") or CONNECT_TIMEOUT / len(hosts)))
        self._conn = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, row_factory=tuple_row, connect_timeout=seconds, application_name=NAME
        )
        # Notifications that come while a query runs.
        self._conn.add_notify_handler(lambda notify: self._hear(notify.payload))

    async def listen(self) -> None:
        await self._conn.execute(f"LISTEN {CHANNEL}")

    async def rows(self, sql: str, argument: str | None = None) -> list[tuple[Any, ...]]:
        cursor = await self._conn.execute(sql.replace("$1", "%s"), None if argument is None else [argument])
        return list(await cursor.fetchall())

    async def rest(self, seconds: float, woken: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        pgconn = self._conn.pgconn
        readable: asyncio.Future[None] = loop.create_future()
        number = pgconn.socket
        loop.add_reader(number, settle, readable, None)
        try:
            await _first(seconds, readable, asyncio.ensure_future(woken.wait()))
        finally:
            loop.remove_reader(number)
        # Raises when the server has gone.
        pgconn.consume_input()
        while (notify := pgconn.notifies()) is not None:
            self._hear(notify.extra.decode("utf-8", "replace"))

    def abort(self) -> None:
        if self._conn is None:
            return
        with contextlib.suppress(Exception), socket.socket(fileno=os.dup(self._conn.fileno())) as same:
            # Wakes whoever waits for an answer.
            same.shutdown(socket.SHUT_RDWR)


class AsyncpgLink:
    """asyncpg."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        self._hear = hear
        self._conn: Any = None
        self._lost = asyncio.Event()

    async def connect(self, conninfo: str) -> None:
        import asyncpg

        self._conn = await asyncpg.connect(
            conninfo, timeout=CONNECT_TIMEOUT, server_settings={"application_name": NAME}, statement_cache_size=0
        )
        self._conn.add_termination_listener(lambda _: self._lost.set())

    async def listen(self) -> None:
        await self._conn.add_listener(CHANNEL, lambda _conn, _pid, _channel, payload: self._hear(payload))

    async def rows(self, sql: str, argument: str | None = None) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._conn.fetch(sql, *([] if argument is None else [argument]))]

    async def rest(self, seconds: float, woken: asyncio.Event) -> None:
        await _first(seconds, asyncio.ensure_future(woken.wait()), asyncio.ensure_future(self._lost.wait()))
        if self._lost.is_set():
            raise ConnectionError("the connection was lost")

    def abort(self) -> None:
        if self._conn is not None:
            self._conn.terminate()


def link_of(driver: str | None) -> Make:
    """The class for a driver; without a name, for the one that is installed."""
    if driver is None:
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "asyncpg"
    if driver == "psycopg":
        return PsycopgLink
    if driver == "asyncpg":
        return AsyncpgLink
    raise ValueError("driver is 'psycopg' or 'asyncpg'")
