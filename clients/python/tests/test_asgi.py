"""The middleware, without a server."""

import asyncio

import pytest

from auth_ext import Identity, Refused, Unavailable
from auth_ext.asgi import KEY, Auth, AuthMiddleware, auth_of

ANN = Identity("1", 0, None, None, "i", "k", None, None, "{}")


class Cache:
    async def verify(self, secret):
        if secret == "good":
            return ANN
        raise Unavailable("away") if secret == "away" else Refused("expired")

    async def ended(self, secret, *, identity=None):
        return f"the end of {secret} of {identity.user_id}"


def call(headers, scope=None, raises=None, **options):
    """What is sent, and the scope that the application saw."""
    sent, seen = [], []

    async def app(scope, receive, send):
        seen.append(scope)
        if raises is not None:
            raise raises

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": headers, "path": "/", **(scope or {})}
    asyncio.run(AuthMiddleware(app, Cache(), **options)(scope, receive, send))
    return sent, seen


def header(value):
    return [(b"authorization", value)]


def test_a_good_token_is_on_the_scope_and_not_in_its_repr():
    _, (scope,) = call(header(b"Bearer good"))
    assert auth_of(scope).identity == ANN and auth_of(scope).token == "good"
    assert "good" not in repr(auth_of(scope))


def test_a_database_that_is_away_is_503_and_never_401():
    sent, seen = call(header(b"Bearer away"))
    assert not seen and sent[0]["status"] == 503 and (b"retry-after", b"1") in sent[0]["headers"]


def test_the_reason_is_in_the_body_as_the_application_wishes():
    sent, _ = call(header(b"Bearer bad"))
    assert sent[1]["body"] == b'{"error": "invalid_token"}'
    sent, _ = call(header(b"Bearer bad"), body=lambda reason: {"why": reason})
    assert sent[1]["body"] == b'{"why": "expired"}'


def test_who_may_be_anonymous_is_nobody_but_a_bad_token_is_refused_all_the_same():
    _, (scope,) = call([], scope={KEY: "forged"}, anonymous=True)
    assert auth_of(scope) is None
    sent, seen = call(header(b"Bearer bad"), anonymous=True)
    assert not seen and sent[0]["status"] == 401


def test_keys_are_read_only_where_they_are_taken():
    sent, seen = call([(b"x-api-key", b"good")])
    assert not seen and sent[0]["status"] == 401
    _, (scope,) = call([(b"x-other", b"good")], api_keys=Cache(), api_key_header="X-Other")
    assert auth_of(scope).api_key == "good"


def test_what_was_found_says_when_it_ends():
    for headers in (header(b"Bearer good"), [(b"x-api-key", b"good")]):
        _, (scope,) = call(headers, api_keys=Cache())
        assert asyncio.run(auth_of(scope).ended()) == "the end of good of 1"
    with pytest.raises(ValueError, match="of no middleware"):
        asyncio.run(Auth(ANN, token="good").ended())


def test_a_websocket_is_refused_before_it_is_accepted():
    socket = {"type": "websocket"}
    assert call(header(b"Bearer bad"), socket) == ([{"type": "websocket.close", "code": 1008}], [])
    sent, _ = call(header(b"Bearer bad"), socket | {"extensions": {"websocket.http.response": {}}})
    assert sent[0]["type"] == "websocket.http.response.start" and sent[0]["status"] == 401
    _, (scope,) = call([], socket, token_of=lambda scope: "good")
    assert auth_of(scope).user_id == "1"


def test_what_is_no_request_passes():
    _, (scope,) = call([], {"type": "lifespan"})
    assert scope["type"] == "lifespan"


def test_a_token_that_ends_between_the_middleware_and_the_transaction_is_401_too():
    sent, _ = call(header(b"Bearer good"), raises=Refused("session_ended"))
    assert sent[0]["status"] == 401 and (b"www-authenticate", b'Bearer error="invalid_token"') in sent[0]["headers"]
    sent, _ = call(header(b"Bearer good"), raises=Unavailable("away"))
    assert sent[0]["status"] == 503
