"""A small service: FastAPI, SQLAlchemy over psycopg, row-level security, sessions, API keys, and a stream that ends with its token.

    DATABASE="host=… dbname=… user=notes_service" uvicorn service:app
"""

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from psycopg import AsyncConnection
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from auth_ext import AsyncApiKeyCache, AsyncListener, AsyncTokenCache
from auth_ext.asgi import Auth, AuthMiddleware, auth_of

DATABASE = os.environ["DATABASE"]
PUBLIC = {"/register", "/login", "/refresh"}


async def connect() -> Any:
    return await AsyncConnection.connect(DATABASE)


engine: AsyncEngine = create_async_engine("postgresql+psycopg://", async_creator=connect, pool_size=10)
listener = AsyncListener(DATABASE, max_staleness=5)
tokens = AsyncTokenCache(listener, engine.begin)
api_keys = AsyncApiKeyCache(listener, engine.begin)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with listener:
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(AuthMiddleware, tokens=tokens, api_keys=api_keys, anonymous=lambda scope: scope["path"] in PUBLIC)  # type: ignore[arg-type]


def auth(request: Request) -> Auth:
    found = auth_of(request)
    assert found is not None, "the middleware lets nobody pass"
    return found


async def hashed(password: str, salt: bytes) -> bytes:
    # Slow on purpose, so not in the loop.
    return await asyncio.to_thread(hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=1)


class Credentials(BaseModel):
    email: str
    password: str
    device: str | None = None


class RefreshToken(BaseModel):
    refresh_token: str


class Note(BaseModel):
    body: str


@app.post("/register", status_code=201)
async def register(new: Credentials) -> dict[str, Any]:
    salt = os.urandom(16)
    hash = await hashed(new.password, salt)
    insert = text("INSERT INTO users (email, password_salt, password_hash) VALUES (:email, :salt, :hash) ON CONFLICT DO NOTHING RETURNING id")
    async with engine.begin() as conn:
        row = (await conn.execute(insert, {"email": new.email, "salt": salt, "hash": hash})).first()
    if row is None:
        raise HTTPException(409)
    return {"id": row.id}


@app.post("/login")
async def login(given: Credentials) -> dict[str, Any]:
    async with engine.begin() as conn:
        select = text("SELECT id::text, password_salt, password_hash FROM users WHERE email = :email AND is_active")
        user = (await conn.execute(select, {"email": given.email})).first()
        # As long for somebody who is not there.
        hash = await hashed(given.password, user.password_salt if user else b"nobody")
        right = hmac.compare_digest(hash, user.password_hash if user else b"")
        if user is None or not right:
            raise HTTPException(401)
        opened = text("SELECT session_id, access_token, refresh_token FROM auth.open_session(:user, label => :label)")
        return dict((await conn.execute(opened, {"user": user.id, "label": given.device})).mappings().one())


@app.post("/refresh")
async def refresh(given: RefreshToken) -> dict[str, Any]:
    # Committed whatever it says: a token that came twice has ended its session.
    async with engine.begin() as conn:
        question = text("SELECT valid, reason, access_token, refresh_token FROM auth.refresh_session(:token)")
        row = (await conn.execute(question, {"token": given.refresh_token})).one()
    if not row.valid:
        raise HTTPException(401, row.reason)
    return {"access_token": row.access_token, "refresh_token": row.refresh_token}


@app.get("/me")
async def me(auth: Auth = Depends(auth)) -> dict[str, Any]:
    return {"user_id": auth.user_id}


@app.get("/devices")
async def devices(auth: Auth = Depends(auth)) -> list[dict[str, Any]]:
    async with auth.transaction(engine.begin) as conn:
        rows = await conn.execute(text("SELECT session_id, label, last_used_at, is_current FROM auth.my_sessions()"))
        return [dict(row) for row in rows.mappings()]


@app.delete("/devices/{session_id}", status_code=204)
async def end_device(session_id: str, auth: Auth = Depends(auth)) -> None:
    async with auth.transaction(engine.begin) as conn:
        if not (await conn.execute(text("SELECT auth.end_my_session(:id)"), {"id": session_id})).scalar_one():
            raise HTTPException(404)


@app.post("/logout-everywhere", status_code=204)
async def logout_everywhere(auth: Auth = Depends(auth)) -> None:
    async with auth.transaction(engine.begin) as conn:
        await conn.execute(text("SELECT auth.bump_session_version(auth.require_user())"))


@app.post("/api-keys", status_code=201)
async def create_api_key(auth: Auth = Depends(auth)) -> dict[str, Any]:
    if auth.token is None:
        raise HTTPException(403)
    async with auth.transaction(engine.begin) as conn:
        made = await conn.execute(text("SELECT id, key FROM auth.create_api_key(auth.require_user(), 'made by hand')"))
        return dict(made.mappings().one())


@app.post("/notes", status_code=201)
async def add_note(note: Note, auth: Auth = Depends(auth)) -> dict[str, Any]:
    async with auth.transaction(engine.begin) as conn:
        return {"id": (await conn.execute(text("INSERT INTO notes (body) VALUES (:body) RETURNING id"), note.model_dump())).scalar_one()}


@app.get("/notes")
async def notes(auth: Auth = Depends(auth)) -> list[dict[str, Any]]:
    # No WHERE: the policy has it.
    async with auth.transaction(engine.begin) as conn:
        return [dict(row) for row in (await conn.execute(text("SELECT id, owner, body FROM notes ORDER BY id"))).mappings()]


@app.get("/events")
async def events(auth: Auth = Depends(auth)) -> StreamingResponse:
    async def stream() -> AsyncIterator[str]:
        yield "event: hello\ndata: {}\n\n"
        reason = await (tokens.ended(auth.token) if auth.token is not None else api_keys.ended(auth.api_key or ""))
        yield f"event: ended\ndata: {reason}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")
