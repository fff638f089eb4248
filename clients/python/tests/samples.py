"""The sample applications: processes of them, and those who use them."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx
from server import RUN
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

EXAMPLES = Path(__file__).parents[1] / "examples"


class Sample(NamedTuple):
    name: str
    migrate: list[str]
    app: str

    @property
    def home(self):
        return EXAMPLES / self.name


FASTAPI = Sample("fastapi", ["-m", "alembic", "upgrade", "head"], "app:app")
DJANGO = Sample("django", ["manage.py", "migrate"], "notes.asgi:application")


def environment(server, user, db):
    return os.environ | {"PGHOST": str(server.home), "PGPORT": str(server.port), "PGUSER": user, "PGDATABASE": db, "SECRET_KEY": "of a test"}


def run(sample, server, db, *command, home=None):
    """As the owner of the tables."""
    env = environment(server, "notes_owner", db)
    return subprocess.run([sys.executable, *command], cwd=home or sample.home, env=env, capture_output=True, text=True, timeout=120)


def succeeds(*arguments, **more):
    done = run(*arguments, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Machine:
    """A process of the application."""

    def __init__(self, sample, server, db):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = RUN / f"{sample.name}.log"
        command = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--port", str(self.port), sample.app]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=sample.home, env=environment(server, "notes_service", db), stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def ready(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                self.http.get("/me")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)

    def close(self):
        self.http.close()
        self.process.terminate()
        self.process.wait(15)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


class Browser:
    """Of somebody who has logged in."""

    def __init__(self, machine, name, device):
        given = {"email": name, "password": "secret " + name, "device": device}
        self.session = machine.http.post("/login", json=given).raise_for_status().json()

    @property
    def headers(self):
        return bearer(self.session["access_token"])

    def call(self, machine, method, path, **more):
        return machine.http.request(method, path, headers=self.headers, **more)


class Live(threading.Thread):
    """Something that stays open; `reason` is what it was told at the end."""

    def __init__(self, sample, machine, token):
        super().__init__(daemon=True)
        self._machine, self._token = machine, token
        self._listen = self._websocket if sample is FASTAPI else self._events
        self._opened = threading.Event()
        self.reason = self.ended = None
        self.start()
        assert self._opened.wait(15)

    def run(self):
        self._listen()
        self.ended = time.monotonic()

    def _websocket(self):
        with connect(f"ws://127.0.0.1:{self._machine.port}/live", subprotocols=["bearer", self._token]) as socket:
            socket.send("hello")
            assert socket.recv() == "hello"
            self._opened.set()
            try:
                socket.recv()
            except ConnectionClosed as closed:
                self.reason = closed.rcvd.reason

    def _events(self):
        with self._machine.http.stream("GET", "/live", headers=bearer(self._token)) as response:
            for line in response.iter_lines():
                self._opened.set()
                if line.startswith("data: "):
                    self.reason = line.removeprefix("data: ")
