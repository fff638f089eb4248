"""Middleware for ASGI: FastAPI, Starlette, Django's ASGI, anything."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from ._asking import AsyncConnections
from ._errors import AuthError, Refused
from ._identity import ApiKey, Identity
from ._transactions import async_transaction

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "auth_ext"


class Verifies(Protocol):
    """A cache of asyncio: AsyncTokenCache, AsyncApiKeyCache."""

    async def verify(self, secret: str, /) -> Any: ...

    async def ended(self, secret: str, /, *, identity: Any = None) -> str: ...


@dataclass(frozen=True, slots=True)
class Auth:
    """Who sent the request, and with what."""

    identity: Identity | ApiKey
    token: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    cache: Verifies | None = field(default=None, repr=False, compare=False)

    @property
    def user_id(self) -> str | None:
        """Whose it is."""
        return self.identity.user_id

    def transaction(self, connections: AsyncConnections) -> AbstractAsyncContextManager[Any]:
        """A connection in a transaction that is this user's, for row-level security. The database verifies again."""
        return async_transaction(connections, token=self.token, api_key=self.api_key)

    async def ended(self) -> str:
        """Waits until the token or key no longer verifies, or is another user's: the reason. For websockets and streams."""
        secret = self.api_key if self.token is None else self.token
        if self.cache is None or secret is None:
            raise ValueError("it is of no middleware")
        return await self.cache.ended(secret, identity=self.identity)


def auth_of(request: Any) -> Auth | None:
    """Of a request (Starlette's, FastAPI's, Django's), a websocket, or a scope. None: anonymous."""
    auth: Auth | None = getattr(request, "scope", request).get(KEY)
    return auth


class _Ambiguous(Exception):
    pass


def _default_body(reason: str) -> dict[str, Any]:
    return {"error": "invalid_token"}


class AuthMiddleware:
    """Verifies the bearer token or API key of a request; `auth_of(request)` has the result.

    anonymous  may a request without a credential pass? True, False, or a function of the scope
    body       the JSON of a 401, made from the reason code
    token_of   another place for a token (a cookie, a websocket's subprotocol), asked when there is no header
    """

    def __init__(
        self,
        app: App,
        tokens: Verifies | Callable[[], Verifies],
        api_keys: Verifies | Callable[[], Verifies] | None = None,
        *,
        anonymous: bool | Callable[[Scope], bool] = False,
        api_key_header: str = "X-API-Key",
        body: Callable[[str], dict[str, Any]] = _default_body,
        token_of: Callable[[Scope], str | None] | None = None,
    ) -> None:
        self.app = app
        self._tokens = tokens
        self._api_keys = api_keys
        self._anonymous = anonymous
        self._header = api_key_header.lower().encode("latin-1")
        self._body = body
        self._token_of = token_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        # Nobody but this sets it.
        scope.pop(KEY, None)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            auth = await self._verified(scope)
            passes = self._anonymous(scope) if callable(self._anonymous) else self._anonymous
            if auth is None and not passes:
                await _refuse(scope, send, 401, {"error": "unauthorized"}, [(b"www-authenticate", b"Bearer")])
                return
            if auth is not None:
                scope[KEY] = auth
            await self.app(scope, receive, answer)
        except (_Ambiguous, AuthError) as error:
            # Also the application's: the token may end between here and its transaction.
            if started:
                raise
            await self._say(error, scope, send)

    async def _say(self, error: Exception, scope: Scope, send: Send) -> None:
        if isinstance(error, Refused):
            challenge = (b"www-authenticate", b'Bearer error="invalid_token"')
            await _refuse(scope, send, 401, self._body(error.reason), [challenge])
        elif isinstance(error, AuthError):
            await _refuse(scope, send, 503, {"error": "temporarily_unavailable"}, [(b"retry-after", b"1")])
        else:
            await _refuse(scope, send, 400, {"error": "invalid_request"}, [])

    async def _verified(self, scope: Scope) -> Auth | None:
        token, api_key = self._credentials(scope)
        if token is not None:
            cache = _cache(self._tokens)
            return Auth(await cache.verify(token), token=token, cache=cache)
        if api_key is not None and self._api_keys is not None:
            cache = _cache(self._api_keys)
            return Auth(await cache.verify(api_key), api_key=api_key, cache=cache)
        return None

    def _credentials(self, scope: Scope) -> tuple[str | None, str | None]:
        tokens, keys = [], []
        for name, value in scope["headers"]:
            name = name.lower()
            if name == b"authorization":
                scheme, _, rest = value.strip().partition(b" ")
                if scheme.lower() == b"bearer":
                    tokens.append(rest.strip().decode("latin-1"))
            elif name == self._header and self._api_keys is not None:
                keys.append(value.decode("latin-1"))
        if not tokens and not keys and self._token_of is not None:
            elsewhere = self._token_of(scope)
            tokens = [] if elsewhere is None else [elsewhere]
        if len(tokens) + len(keys) > 1 or any(len(token.split()) > 1 for token in tokens):
            raise _Ambiguous
        return next(iter(tokens), None), next(iter(keys), None)


def _cache(cache: Verifies | Callable[[], Verifies]) -> Verifies:
    """Frameworks make the middleware before the application starts: then it is given a function."""
    return cast(Verifies, cache) if hasattr(cache, "verify") else cache()


async def _refuse(
    scope: Scope, send: Send, status: int, body: dict[str, Any], headers: list[tuple[bytes, bytes]]
) -> None:
    content = json.dumps(body).encode()
    headers = [*headers, (b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), (b"cache-control", b"no-store")]
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            # The server answers 403.
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http.response"
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": content})
