"""The application, and what is verified before Django sees a request.

    createdb -O notes_owner notes && psql notes -f ../setup.sql
    export PGDATABASE=notes SECRET_KEY=…
    PGUSER=notes_owner ./manage.py migrate
    PGUSER=notes_service uvicorn notes.asgi:application
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.asgi import get_asgi_application
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from auth_ext import AsyncApiKeyCache, AsyncTokenCache, Listener
from auth_ext.asgi import AuthMiddleware

PUBLIC = {"/register", "/login", "/refresh"}

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notes.settings")
pool = AsyncConnectionPool("", min_size=1, timeout=5, open=False)
# A thread: Django has no lifespan, which an AsyncListener would need.
listener = Listener("", max_staleness=5)


@asynccontextmanager
async def connection() -> AsyncIterator[AsyncConnection]:
    await pool.open()  # nothing to do but for the first
    async with pool.connection() as conn:
        yield conn


application = AuthMiddleware(
    get_asgi_application(),
    tokens=AsyncTokenCache(listener, connection),
    api_keys=AsyncApiKeyCache(listener, connection),
    anonymous=lambda scope: scope["path"] in PUBLIC,
)
