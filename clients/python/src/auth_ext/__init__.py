"""Verified tokens and API keys of auth_ext in a cache that hears when they end."""

from ._cache import ApiKeyCache, AsyncApiKeyCache, AsyncTokenCache, TokenCache
from ._errors import AuthError, Refused, Unavailable
from ._hearing import Watch
from ._identity import ApiKey, Identity
from ._listener import AsyncListener, Listener
from ._store import Stats
from ._transactions import async_transaction, authenticate, authenticate_async, transaction

__all__ = [
    "ApiKey",
    "ApiKeyCache",
    "AsyncApiKeyCache",
    "AsyncListener",
    "AsyncTokenCache",
    "AuthError",
    "Identity",
    "Listener",
    "Refused",
    "Stats",
    "TokenCache",
    "Unavailable",
    "Watch",
    "async_transaction",
    "authenticate",
    "authenticate_async",
    "transaction",
]
__version__ = "0.2.0"
