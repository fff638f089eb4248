"""Events, as the channel and the log have them."""

from __future__ import annotations

import json
from dataclasses import dataclass

Tie = tuple[str, str]
"""What an event is about, and what an answer depends on: kind and id."""

_NAMED_BY = {"user": "id", "api_key": "fingerprint", "token": "jti", "session": "sid", "issuer": "issuer"}
_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. Without a tie it is a flush."""

    tie: Tie | None = None
    version: int = 0
    reason: str = "flush"

    @property
    def is_template(self) -> bool:
        """Is it about an issuer whose name has a place for a claim?"""
        return self.tie is not None and self.tie[0] == "issuer" and "{" in self.tie[1]


FLUSH = Event()


def parse(payload: str) -> Event:
    """The event of a payload. What is not understood is a flush."""
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        return FLUSH
    if not isinstance(event, dict) or type(event.get("v")) is not int or event["v"] != 1:
        return FLUSH
    kind = event.get("kind")
    name = _NAMED_BY.get(kind) if isinstance(kind, str) else None
    id = event.get(name) if name is not None else None
    # An issuer may be the one of tokens without `iss`, whose name is empty.
    if not isinstance(id, str) or (not id and kind != "issuer"):
        return FLUSH
    version = event.get("session_version", 0)
    if kind == "user" and (type(version) is not int or not 0 <= version <= _MAX_VERSION):
        return FLUSH
    reason = event.get("reason")
    return Event((str(kind), id), version if kind == "user" else 0, reason if isinstance(reason, str) else str(kind))
