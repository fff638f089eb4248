"""The sample service: two processes of it, and a real HTTP client."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from server import RUN

EXAMPLES = Path(__file__).parents[1] / "examples"


class Service:
    def __init__(self, database):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--port", str(port), "service:app"]
        with (RUN / "service.log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=EXAMPLES, env={**os.environ, "DATABASE": database}, stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        deadline = time.monotonic() + 40
        while True:
            try:
                self.http.get("/me")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline and self.process.poll() is None, (RUN / "service.log").read_text()
                time.sleep(0.1)

    def close(self):
        self.http.close()
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture(scope="module")
def services(server):
    with server.connect() as conn:
        conn.execute("CREATE DATABASE sample")
    with server.connect("sample") as conn:
        conn.execute((EXAMPLES / "schema.sql").read_text())
    database = server.conninfo("sample").replace("user=postgres", "user=notes_service")
    made = []
    try:
        for _ in range(2):
            made.append(Service(database))
        yield [service.http for service in made]
    finally:
        for service in made:
            service.close()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def login(http, name, device):
    return http.post("/login", json={"email": name, "password": "secret " + name, "device": device}).raise_for_status().json()


def test_a_life_of_two_users_on_two_machines(services):
    one, two = services
    for name in ("ann", "bob"):
        one.post("/register", json={"email": name, "password": "secret " + name}).raise_for_status()
    assert one.post("/register", json={"email": "ann", "password": "x"}).status_code == 409
    assert one.post("/login", json={"email": "ann", "password": "x"}).status_code == 401
    assert one.post("/login", json={"email": "nobody", "password": "x"}).status_code == 401
    phone, laptop, bob = login(one, "ann", "phone"), login(two, "ann", "laptop"), login(one, "bob", "desk")

    # Refreshing; what was used before is of no use.
    again = two.post("/refresh", json={"refresh_token": laptop["refresh_token"]}).raise_for_status().json()
    assert two.get("/me", headers=bearer(again["access_token"])).json() == {"user_id": "1"}
    assert one.post("/refresh", json={"refresh_token": "nothing"}).json() == {"detail": "unknown_session"}

    # Devices.
    listed = one.get("/devices", headers=bearer(phone["access_token"])).raise_for_status().json()
    assert sorted((d["label"], d["is_current"]) for d in listed) == [("laptop", False), ("phone", True)]
    assert two.delete(f"/devices/{bob['session_id']}", headers=bearer(phone["access_token"])).status_code == 404

    # Row-level security, by token and by key.
    for session, body in ((phone, "of ann"), (bob, "of bob")):
        one.post("/notes", json={"body": body}, headers=bearer(session["access_token"])).raise_for_status()
    key = one.post("/api-keys", headers=bearer(phone["access_token"])).raise_for_status().json()["key"]
    for headers in (bearer(phone["access_token"]), {"X-API-Key": key}):
        assert [note["body"] for note in two.get("/notes", headers=headers).raise_for_status().json()] == ["of ann"]
    assert one.post("/api-keys", headers={"X-API-Key": key}).status_code == 403

    # A device ends on the other machine; its cached token with it.
    assert two.get("/me", headers=bearer(phone["access_token"])).status_code == 200
    assert one.delete(f"/devices/{phone['session_id']}", headers=bearer(again["access_token"])).status_code == 204
    deadline = time.monotonic() + 1
    while two.get("/me", headers=bearer(phone["access_token"])).status_code != 401:
        assert time.monotonic() < deadline

    # An open stream on one machine ends within a second of "log out everywhere" on the other.
    lines, opened, ended = [], threading.Event(), []

    def listen():
        with two.stream("GET", "/events", headers=bearer(again["access_token"])) as response:
            for line in response.iter_lines():
                lines.append(line)
                opened.set()
        ended.append(time.monotonic())

    stream = threading.Thread(target=listen)
    stream.start()
    assert opened.wait(10)
    time.sleep(0.3)
    assert not ended
    assert one.post("/logout-everywhere", headers=bearer(again["access_token"])).status_code == 204
    out = time.monotonic()
    stream.join(15)
    assert ended and ended[0] - out < 1, f"{ended[0] - out:.2f} s"
    assert "event: ended" in lines and "data: session_version_mismatch" in lines
    # Ann's key, and bob, are as they were.
    assert one.get("/notes", headers={"X-API-Key": key}).status_code == 200
    assert one.get("/me", headers=bearer(bob["access_token"])).json() == {"user_id": "2"}


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ([], 401, "Bearer"),
        ([("Authorization", "Bearer a.b.c")], 401, 'Bearer error="invalid_token"'),
        ([("authorization", "bEaReR a.b.c")], 401, 'Bearer error="invalid_token"'),
        ([("Authorization", "Bearer")], 401, 'Bearer error="invalid_token"'),
        ([("Authorization", "Bearer a b")], 400, None),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], 400, None),
        ([("Authorization", "Bearer a"), ("X-API-Key", "b")], 400, None),
        ([("X-API-Key", "nothing")], 401, 'Bearer error="invalid_token"'),
        ([("Authorization", "Basic YTpi")], 401, "Bearer"),
    ],
)
def test_what_is_refused_says_so_as_rfc_6750_has_it(services, headers, status, challenge):
    response = services[0].get("/me", headers=headers)
    assert response.status_code == status
    assert response.headers.get("WWW-Authenticate") == challenge
    assert "nothing" not in response.text and "a.b.c" not in response.text
