"""Asking over an application's own connections: psycopg 3, asyncpg, SQLAlchemy over either; sync or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from ._errors import translating

Connections = Callable[[], AbstractContextManager[Any]]
"""Gives a connection for a `with`: `pool.connection` of psycopg_pool, `engine.begin` of SQLAlchemy."""

AsyncConnections = Callable[[], AbstractAsyncContextManager[Any]]
"""Gives a connection for an `async with`: the same, and `pool.acquire` of asyncpg."""

Row = tuple[Any, ...]


def _numbered(sql: str) -> str:
    """With the placeholders of psycopg. Ours are in order, each once."""
    return sql.replace("$1", "%s").replace("$2", "%s")


def ask(conn: Any, sql: str, arguments: tuple[str | None, ...]) -> Row:
    """The one row of a question."""
    if hasattr(conn, "ensure_connection"):
        # Django's.
        conn.ensure_connection()
        return ask(conn.connection, sql, arguments)
    if hasattr(conn, "exec_driver_sql"):
        return tuple(conn.exec_driver_sql(_numbered(sql), arguments).fetchone())
    if hasattr(conn, "connection") and not hasattr(conn, "pgconn"):
        # A Session of SQLAlchemy.
        return ask(conn.connection(), sql, arguments)
    from psycopg.rows import tuple_row

    with conn.cursor(row_factory=tuple_row) as cursor:
        row: Row = cursor.execute(_numbered(sql), arguments).fetchone()
        return row


async def ask_async(conn: Any, sql: str, arguments: tuple[str | None, ...]) -> Row:
    """The one row of a question."""
    if hasattr(conn, "exec_driver_sql"):
        dialect = conn.dialect.driver
        result = await conn.exec_driver_sql(sql if dialect == "asyncpg" else _numbered(sql), arguments)
        return tuple(result.fetchone())
    if hasattr(conn, "fetchrow"):
        return tuple(await conn.fetchrow(sql, *arguments))
    if hasattr(conn, "connection") and not hasattr(conn, "pgconn"):
        # An AsyncSession of SQLAlchemy.
        return await ask_async(await conn.connection(), sql, arguments)
    from psycopg.rows import tuple_row

    async with conn.cursor(row_factory=tuple_row) as cursor:
        row: Row = await (await cursor.execute(_numbered(sql), arguments)).fetchone()
        return row


def ask_alone(connections: Connections, sql: str, arguments: tuple[str | None, ...]) -> Row:
    """In a transaction of its own. Raises Refused and Unavailable for what they are."""
    with translating(), connections() as conn:
        return ask(conn, sql, arguments)


async def ask_alone_async(connections: AsyncConnections, sql: str, arguments: tuple[str | None, ...]) -> Row:
    """In a transaction of its own. Raises Refused and Unavailable for what they are."""
    with translating():
        async with connections() as conn:
            return await ask_async(conn, sql, arguments)
