"""What can go wrong, and which of a driver's errors is which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AuthError(Exception):
    """Either of the two below."""


class Refused(AuthError):
    """The token or key is refused. `reason` is the server's reason code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unavailable(AuthError):
    """Nobody could be asked; `__cause__` is the driver's error. It says nothing about the token."""


REFUSED = "28000"
"""invalid_authorization_specification: the reason is the DETAIL."""

NOTHING_SAID = "stale_standby"
"""A reason that is about the server, not about the token."""

# Connections, resources, shutting down and time limits, I/O.
_AWAY_CLASSES = ("08", "53", "57", "58")
# A write on a standby; a snapshot that is too old.
_AWAY = ("25006", "40001")
# Of drivers and pools that may not be installed. Without an SQLSTATE an InternalError is the driver's: a pooler spoke out of turn
# while it lost its server.
_AWAY_NAMES = frozenset({"OperationalError", "InterfaceError", "InternalError", "PoolTimeout", "PoolClosed", "TooManyRequests", "TimeoutError"})


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what SQLAlchemy and others wrapped."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        original = getattr(current, "orig", None)
        current = original if isinstance(original, BaseException) else current.__cause__


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE, whichever driver it is of."""
    for one in _chain(error):
        state = getattr(one, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def _detail(error: BaseException) -> str | None:
    for one in _chain(error):
        detail = getattr(one, "detail", None)
        if detail is None:
            detail = getattr(getattr(one, "diag", None), "message_detail", None)
        if isinstance(detail, str):
            return detail
    return None


def translated(error: BaseException) -> AuthError | None:
    """Refused or Unavailable, where the driver's error is one of them."""
    state = sqlstate(error)
    if state == REFUSED:
        reason = _detail(error)
        # Without a reason it is not from us: a role that may not log in, say.
        if reason is None:
            return Unavailable("the database refused the connection")
        return refusal(reason)
    if state is not None:
        away = state[:2] in _AWAY_CLASSES or state in _AWAY
    else:
        away = isinstance(error, OSError) or any(type(one).__name__ in _AWAY_NAMES for one in _chain(error))
    return Unavailable("the database could not be asked") if away else None


@contextmanager
def translating() -> Iterator[None]:
    """The driver's errors become Refused and Unavailable, where they are one of them."""
    try:
        yield
    except AuthError:
        raise
    except Exception as error:
        known = translated(error)
        if known is None:
            raise
        raise known from error


def refusal(reason: str) -> AuthError:
    """The error for a reason code."""
    if reason == NOTHING_SAID:
        return Unavailable(reason)
    return Refused(reason)
