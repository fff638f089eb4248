"""Transactions in which the database knows who asks, for row-level security."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from ._asking import AsyncConnections, Connections, ask, ask_async
from ._errors import translating


def _statement(token: str | None, api_key: str | None) -> tuple[str, tuple[str]]:
    if (token is None) == (api_key is None):
        raise ValueError("either a token or an api_key")
    if token is not None:
        return "SELECT auth.authenticate($1)::text", (token,)
    assert api_key is not None
    return "SELECT auth.authenticate_api_key($1)::text", (api_key,)


def authenticate(conn: Any, *, token: str | None = None, api_key: str | None = None) -> None:
    """Makes the token's user that of the transaction that `conn` is in: a connection of psycopg, SQLAlchemy or Django, or a
    Session of SQLAlchemy. The database checks the token itself; no cache is asked."""
    with translating():
        ask(conn, *_statement(token, api_key))


async def authenticate_async(conn: Any, *, token: str | None = None, api_key: str | None = None) -> None:
    """The same for asyncio: also a connection of asyncpg, in a transaction."""
    with translating():
        await ask_async(conn, *_statement(token, api_key))


@contextmanager
def transaction(connections: Connections, *, token: str | None = None, api_key: str | None = None) -> Iterator[Any]:
    """A connection in a transaction that is the token's user's."""
    with ExitStack() as stack:
        with translating():
            conn = stack.enter_context(connections())
            # SQLAlchemy's has begun: `engine.begin`.
            if hasattr(conn, "transaction"):
                stack.enter_context(conn.transaction())
            authenticate(conn, token=token, api_key=api_key)
        yield conn


@asynccontextmanager
async def async_transaction(
    connections: AsyncConnections, *, token: str | None = None, api_key: str | None = None
) -> AsyncIterator[Any]:
    """A connection in a transaction that is the token's user's."""
    async with AsyncExitStack() as stack:
        with translating():
            conn = await stack.enter_async_context(connections())
            if hasattr(conn, "transaction"):
                await stack.enter_async_context(conn.transaction())
            await authenticate_async(conn, token=token, api_key=api_key)
        yield conn
