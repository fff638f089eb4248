"""The sample applications: two processes of each, on one database, and real HTTP clients."""

import shutil
import time

import pytest
from samples import DJANGO, EXAMPLES, FASTAPI, Browser, Live, Machine, bearer, run, succeeds
from server import RUN, Server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def database():
    """A server where every new database has the extension."""
    made = Server("samples")
    with made.connect("template1") as conn:
        conn.execute((EXAMPLES / "setup.sql").read_text())
        conn.execute("ALTER ROLE notes_owner CREATEDB")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def make(database):
    def make(sample, name=None):
        name = name or sample.name
        with database.connect() as conn:
            conn.execute(f"CREATE DATABASE {name} OWNER notes_owner")
        succeeds(sample, database, name, *sample.migrate)
        return name

    return make


@pytest.fixture(scope="module", params=[FASTAPI, DJANGO], ids=lambda sample: sample.name)
def sample(request):
    return request.param


@pytest.fixture(scope="module")
def machines(sample, database, make):
    db = make(sample)
    made = [Machine(sample, database, db) for _ in range(2)]
    try:
        for machine in made:
            machine.ready()
        for name in ("ann", "bob"):
            made[0].http.post("/register", json={"email": name, "password": "secret " + name}).raise_for_status()
        yield made
    finally:
        for machine in made:
            machine.close()


def test_who_registers_logs_in_and_refreshes(machines):
    one, two = machines
    assert one.http.post("/register", json={"email": "ann", "password": "x"}).status_code == 409
    for name in ("ann", "nobody"):
        assert one.http.post("/login", json={"email": name, "password": "x"}).status_code == 401
    laptop = Browser(one, "ann", "laptop")
    again = two.http.post("/refresh", json={"refresh_token": laptop.session["refresh_token"]}).raise_for_status().json()
    assert two.http.get("/me", headers=bearer(again["access_token"])).json() == {"user_id": "1"}
    refused = one.http.post("/refresh", json={"refresh_token": "nothing"})
    assert refused.status_code == 401 and refused.json() == {"detail": "unknown_session"}


def test_a_device_ends_on_the_other_machine(machines):
    one, two = machines
    phone, tablet, bob = Browser(one, "ann", "phone"), Browser(two, "ann", "tablet"), Browser(one, "bob", "desk")
    listed = phone.call(one, "GET", "/devices").raise_for_status().json()
    assert [d["label"] for d in listed if d["is_current"]] == ["phone"]
    assert "tablet" in [d["label"] for d in listed] and "desk" not in [d["label"] for d in listed]
    assert phone.call(two, "DELETE", f"/devices/{bob.session['session_id']}").status_code == 404

    assert phone.call(two, "GET", "/me").status_code == 200
    assert tablet.call(one, "DELETE", f"/devices/{phone.session['session_id']}").status_code == 204
    deadline = time.monotonic() + 1
    while phone.call(two, "GET", "/me").status_code != 401:
        assert time.monotonic() < deadline
    assert tablet.call(two, "GET", "/me").status_code == 200


def test_notes_are_their_owners_by_token_and_by_key(machines):
    one, two = machines
    ann, bob = Browser(one, "ann", "desk"), Browser(one, "bob", "desk")
    for browser, body in ((ann, "of ann"), (bob, "of bob")):
        browser.call(one, "POST", "/notes", json={"body": body}).raise_for_status()
    made = ann.call(one, "POST", "/api-keys")
    key = {"X-API-Key": made.json()["key"]}
    assert made.status_code == 201
    for headers in (ann.headers, key):
        assert [note["body"] for note in two.http.get("/notes", headers=headers).raise_for_status().json()] == ["of ann"]
    assert one.http.post("/api-keys", headers=key).status_code == 403


def test_what_is_open_closes_within_a_second_of_log_out_everywhere_on_the_other_machine(sample, machines):
    one, two = machines
    desk, phone, bob = Browser(one, "ann", "desk"), Browser(two, "ann", "phone"), Browser(two, "bob", "desk")
    key = {"X-API-Key": desk.call(one, "POST", "/api-keys").json()["key"]}
    open_, bobs = (Live(sample, two, browser.session["access_token"]) for browser in (phone, bob))
    time.sleep(0.3)
    assert open_.is_alive()
    assert desk.call(one, "POST", "/logout-everywhere").status_code == 204
    out = time.monotonic()
    open_.join(15)
    assert open_.reason == "session_version_mismatch"
    assert open_.ended - out < 1, f"{open_.ended - out:.2f} s"
    assert phone.call(two, "GET", "/me").status_code == 401

    # Ann's key, and bob, are as they were.
    assert two.http.get("/notes", headers=key).status_code == 200
    assert bobs.is_alive() and bob.call(two, "GET", "/me").json() == {"user_id": "2"}
    bob.call(one, "POST", "/logout-everywhere")
    bobs.join(15)
    assert bobs.reason == "session_version_mismatch"


def test_a_login_of_whose_end_no_cache_has_heard_is_refused_by_the_transaction(sample, database, machines):
    ann = Browser(machines[1], "ann", "desk")
    assert ann.call(machines[1], "GET", "/notes").status_code == 200
    with database.connect(sample.name) as conn:
        conn.execute("SET auth_ext.notify = off")
        conn.execute("SELECT auth.bump_session_version('1')")
    refused = ann.call(machines[1], "GET", "/notes")
    assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


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
def test_what_is_refused_says_so_as_rfc_6750_has_it(machines, headers, status, challenge):
    response = machines[0].http.get("/me", headers=headers)
    assert response.status_code == status
    assert response.headers.get("WWW-Authenticate") == challenge
    assert "nothing" not in response.text and "a.b.c" not in response.text


def test_a_database_that_is_away_logs_nobody_out(database, machines):
    ann = Browser(machines[0], "ann", "desk")
    database.stop()
    try:
        answer = ann.call(machines[0], "GET", "/notes")
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
    finally:
        database.start()


@pytest.mark.parametrize("sample", [FASTAPI], indirect=True, ids=["fastapi"])
def test_a_websocket_without_a_login_is_not_accepted(machines):
    for protocols in ([], ["bearer"], ["bearer", "a.b.c"], ["bearer", "a", "b"]):
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{machines[0].port}/live", subprotocols=protocols or None)


def test_alembic_leaves_alone_what_is_the_extensions(database, make):
    db = make(FASTAPI, "alembic")
    alembic = (FASTAPI, database, db, "-m", "alembic")
    assert "No new upgrade operations detected" in succeeds(*alembic, "check")
    succeeds(*alembic, "downgrade", "base")
    succeeds(*alembic, "upgrade", "head")

    # Without the filter it would not.
    copy = RUN / "without"
    shutil.copytree(FASTAPI.home, copy, dirs_exist_ok=True)
    env = copy / "migrations/env.py"
    env.write_text(env.read_text().replace(", include_name=include_name", ""))
    checked = run(*alembic, "check", home=copy)
    assert checked.returncode != 0
    for name in ("Table('issuers'", "session_version", "key_fingerprint"):
        assert name in checked.stdout + checked.stderr


def test_django_tests_the_sample_and_has_no_change_to_migrate(database, make):
    assert "\nOK" in succeeds(DJANGO, database, "django_not_yet", "manage.py", "test")
    db = make(DJANGO, "django_migrations")
    succeeds(DJANGO, database, db, "manage.py", "makemigrations", "--check")
    succeeds(DJANGO, database, db, "manage.py", "migrate", "notes", "zero")
    succeeds(DJANGO, database, db, "manage.py", "migrate")
