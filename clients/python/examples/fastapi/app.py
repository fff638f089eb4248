"""A service of notes: FastAPI, SQLAlchemy, Alembic, auth_ext. Any number of these processes may run beside each other.

    createdb -O notes_owner notes && psql notes -f ../setup.sql
    PGDATABASE=notes PGUSER=notes_owner alembic upgrade head
    PGDATABASE=notes PGUSER=notes_service uvicorn app:app
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.requests import HTTPConnection
from models import Note, User
from passwords import NOBODY, hashed, matches
from pydantic import BaseModel
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from auth_ext import AsyncApiKeyCache, AsyncListener, AsyncTokenCache
from auth_ext.asgi import Auth, AuthMiddleware, auth_of

PUBLIC = {"/register", "/login", "/refresh"}

engine = create_async_engine("postgresql+psycopg://", pool_size=10)
sessions = async_sessionmaker(engine, expire_on_commit=False)
listener = AsyncListener("", max_staleness=5)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with listener:
        yield
    await engine.dispose()


def subprotocol_token(scope: Any) -> str | None:
    """A browser's websocket sends no header: new WebSocket(url, ["bearer", token])."""
    match scope.get("subprotocols"):
        case ["bearer", token]:
            return str(token)
    return None


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    AuthMiddleware,
    tokens=AsyncTokenCache(listener, engine.begin),
    api_keys=AsyncApiKeyCache(listener, engine.begin),
    anonymous=lambda scope: scope["path"] in PUBLIC,
    token_of=subprotocol_token,
)


def somebody(connection: HTTPConnection) -> Auth:
    auth = auth_of(connection)
    assert auth is not None, "the middleware lets nobody pass"
    return auth


def person(auth: Annotated[Auth, Depends(somebody)]) -> Auth:
    if auth.token is None:
        raise HTTPException(403, "not with an API key")
    return auth


Somebody = Annotated[Auth, Depends(somebody)]
Person = Annotated[Auth, Depends(person)]


# --- logins ---------------------------------------------------------------------------------------------


class Credentials(BaseModel):
    email: str
    password: str
    device: str | None = None


class RefreshToken(BaseModel):
    refresh_token: str


@app.post("/register", status_code=201)
async def register(new: Credentials) -> None:
    user = User(email=new.email, password_hash=await hashed(new.password))
    try:
        async with sessions.begin() as session:
            session.add(user)
    except IntegrityError:
        raise HTTPException(409) from None


@app.post("/login")
async def login(given: Credentials) -> dict[str, Any]:
    async with sessions.begin() as session:
        user = await session.scalar(select(User).where(User.email == given.email, User.is_active))
    if not await matches(given.password, user.password_hash if user else NOBODY) or user is None:
        raise HTTPException(401)
    opened = text("SELECT session_id, access_token, refresh_token FROM auth.open_session(:user, label => :device)")
    async with sessions.begin() as session:
        result = await session.execute(opened, {"user": str(user.id), "device": given.device})
        return dict(result.mappings().one())


@app.post("/refresh")
async def refresh(given: RefreshToken) -> dict[str, Any]:
    # Committed whatever it says: a token that came twice has ended its session.
    async with sessions.begin() as session:
        question = text("SELECT valid, reason, access_token, refresh_token FROM auth.refresh_session(:token)")
        row = (await session.execute(question, {"token": given.refresh_token})).one()
    if not row.valid:
        raise HTTPException(401, row.reason)
    return {"access_token": row.access_token, "refresh_token": row.refresh_token}


# --- for people -----------------------------------------------------------------------------------------


@app.get("/devices")
async def devices(auth: Person) -> list[dict[str, Any]]:
    async with auth.transaction(sessions.begin) as session:
        rows = await session.execute(text("SELECT session_id, label, last_used_at, is_current FROM auth.my_sessions()"))
        return [dict(row) for row in rows.mappings()]


@app.delete("/devices/{session_id}", status_code=204)
async def end_device(session_id: str, auth: Person) -> None:
    async with auth.transaction(sessions.begin) as session:
        if not await session.scalar(text("SELECT auth.end_my_session(:id)"), {"id": session_id}):
            raise HTTPException(404)


@app.post("/logout-everywhere", status_code=204)
async def logout_everywhere(auth: Person) -> None:
    async with auth.transaction(sessions.begin) as session:
        await session.execute(text("SELECT auth.bump_session_version(auth.require_user())"))


@app.post("/api-keys", status_code=201)
async def create_api_key(auth: Person) -> dict[str, Any]:
    async with auth.transaction(sessions.begin) as session:
        made = await session.execute(text("SELECT id, key FROM auth.create_api_key(auth.require_user(), 'made by hand')"))
        return dict(made.mappings().one())


@app.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Says what it is told, until the login ends."""
    await socket.accept(subprotocol="bearer" if socket.scope["subprotocols"] else None)

    async def talk() -> None:
        async for message in socket.iter_text():
            await socket.send_text(message)

    talking, ended = asyncio.create_task(talk()), asyncio.create_task(somebody(socket).ended())
    await asyncio.wait({talking, ended}, return_when=asyncio.FIRST_COMPLETED)
    if talking.done():
        ended.cancel()
        await talking
    else:
        talking.cancel()
        await socket.close(1008, ended.result())


# --- for people and programs ----------------------------------------------------------------------------


class NewNote(BaseModel):
    body: str


@app.get("/me")
async def me(auth: Somebody) -> dict[str, Any]:
    return {"user_id": auth.user_id}


@app.get("/notes")
async def notes(auth: Somebody) -> list[dict[str, Any]]:
    # No WHERE: the policy has it.
    async with auth.transaction(sessions.begin) as session:
        return [{"id": note.id, "body": note.body} for note in await session.scalars(select(Note).order_by(Note.id))]


@app.post("/notes", status_code=201)
async def add_note(new: NewNote, auth: Somebody) -> dict[str, Any]:
    async with auth.transaction(sessions.begin) as session:
        note = Note(body=new.body)
        session.add(note)
        await session.flush()
        return {"id": note.id}
