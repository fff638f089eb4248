"""What a cache answers with, and the questions it asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from ._asking import Row
from ._errors import NOTHING_SAID, Unavailable
from ._events import Tie
from ._store import Answer

T = TypeVar("T")
MAX_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token is of. `session_version` is the one that it carries."""

    user_id: str | None
    session_version: int | None
    session_id: str | None
    token_id: str | None
    issuer: str | None
    kid: str | None
    issued_at: datetime | None
    expires_at: datetime | None
    claims_json: str

    @property
    def claims(self) -> dict[str, Any]:
        """The token's claims; each time a dict of its own."""
        claims: dict[str, Any] = json.loads(self.claims_json)
        return claims


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Whom an API key is of. `session_version` is the key's own."""

    id: str
    user_id: str
    session_version: int
    fingerprint: str
    expires_at: datetime | None


class Question(NamedTuple, Generic[T]):
    """What to ask, and how the cache finds the answer again."""

    key: Hashable | None
    """None: it is not looked for."""
    sql: str
    arguments: tuple[str | None, ...]
    read: Callable[[Row], Answer[T]]
    refused: str | None = None
    """The reason, where no database can be asked."""


CHECK_JWT = """
SELECT c.valid, c.reason, c.user_id, c.session_version, c.current_session_version, c.token_id, c.issuer, c.kid, c.claims::text, c.claims ->> 'sid',
       c.issued_at, c.expires_at, extract(epoch FROM c.expires_at - clock_timestamp())::float8
FROM auth.check_jwt($1, $2::text::jsonb) AS c"""

VERIFY_API_KEY = """
SELECT k.id, k.user_id, k.session_version, k.fingerprint, k.expires_at, extract(epoch FROM k.expires_at - clock_timestamp())::float8
FROM auth.verify_api_key($1) AS k"""


def _bytes(secret: str) -> bytes:
    # What is no text is some key of its own; the database refuses it.
    return secret.encode("utf-8", "surrogatepass")


def _can_be_asked(secret: str) -> bool:
    try:
        secret.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in secret


def token_question(token: str, device: object = None) -> Question[Identity]:
    """Of a token, from a device."""
    if not _can_be_asked(token):
        return Question(None, CHECK_JWT, (), token_answer, "malformed")
    raw = _bytes(token)
    text = None if device is None else json.dumps(device, sort_keys=True, separators=(",", ":"))
    key: Hashable | None = hashlib.sha256(raw).digest()
    if text is not None:
        key = (key, hashlib.sha256(text.encode()).digest())
    if not raw or len(raw) > MAX_TOKEN:
        key = None
    return Question(key, CHECK_JWT, (token, text), token_answer)


def fingerprint(key: str) -> str:
    """As auth.api_key_fingerprint."""
    return hashlib.sha256(_bytes(key)).hexdigest()


def api_key_question(key: str) -> Question[ApiKey]:
    """Of an API key."""
    if not _can_be_asked(key):
        return Question(None, VERIFY_API_KEY, (), api_key_answer, "unknown_api_key")
    return Question(fingerprint(key) if 0 < len(key) <= MAX_TOKEN else None, VERIFY_API_KEY, (key,), api_key_answer)


def token_answer(row: Row) -> Answer[Identity]:
    """Of a row of CHECK_JWT."""
    valid, reason, user, carried, version, jti, issuer, kid, claims, sid, issued_at, expires_at, left = row
    if not valid:
        if reason == NOTHING_SAID:
            raise Unavailable(reason)
        return Answer(None, reason)
    identity = Identity(user, carried, sid, jti, issuer, kid, issued_at, expires_at, claims)
    named = {"user": user, "token": jti, "session": sid, "issuer": issuer}
    return Answer(identity, None, _ties(named), version, left)


def api_key_answer(row: Row) -> Answer[ApiKey]:
    """Of a row of VERIFY_API_KEY."""
    id, user, version, print_, expires_at, left = row
    return Answer(ApiKey(id, user, version, print_, expires_at), None, _ties({"user": user, "api_key": print_}), -1, left)


def _ties(named: dict[str, str | None]) -> tuple[Tie, ...]:
    return tuple((kind, id) for kind, id in named.items() if id is not None)
