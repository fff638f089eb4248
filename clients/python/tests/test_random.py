"""Tables that change at random while what is between them and the caches comes and goes. The seed is printed; AUTH_EXT_SEED repeats it."""

import contextlib
import os
import random
import threading
import time

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from server import issue

from auth_ext import ApiKeyCache, Listener, Refused, TokenCache, Unavailable
from auth_ext._listener import _Listening

EVENTS = 10_000 if os.environ.get("AUTH_EXT_LONG") else 1_000
BOUND = 2.0
USERS = range(1, 61)
READERS = 3


class Run:
    """A schedule of changes, by one writer who knows what it committed, and readers who check the bound."""

    def __init__(self, server, db, driver, seed, conninfo=None):
        self.server, self.db = server, db
        self.random = random.Random(seed)
        self.pool = ConnectionPool(server.conninfo(db), min_size=1, max_size=8, timeout=3, check=ConnectionPool.check_connection, open=True)
        dsn = conninfo or (server.conninfo(db) if driver == "psycopg" else server.dsn(db))
        self.listener = Listener(dsn, max_staleness=BOUND, driver=driver)
        self.tokens = TokenCache(self.listener, self.pool.connection)
        self.keys = ApiKeyCache(self.listener, self.pool.connection)
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.live = {}  # token: (user, sid)
        self.ended = {}  # token: when its end was known to be committed
        self.key_of = {}  # key: id
        self.keys_ended = {}
        self.faults, self.hits, self.changes, self.lost = [], 0, 0, 0
        self.conn = server.connect(db)
        for user in USERS:
            self.fresh_token(user)
            if user % 3 == 0:
                id, key = self.conn.execute("SELECT id, key FROM auth.create_api_key(%s, 'k')", [str(user)]).fetchone()
                self.key_of[key] = id

    def fresh_token(self, user):
        if self.random.random() < 0.5:
            sid, token = self.conn.execute("SELECT session_id, access_token FROM auth.open_session(%s)", [str(user)]).fetchone()
        else:
            sid, token = None, issue(self.conn, user)
        with self.lock:
            self.live[token] = user, sid

    def end(self, ended, keys=()):
        now = time.monotonic()
        with self.lock:
            for token in ended:
                if self.live.pop(token, None):
                    self.ended[token] = now
            for key in keys:
                self.keys_ended[key] = now

    def change(self):
        r, run = self.random, self.conn.execute
        user = r.choice(USERS)
        mine = [token for token, (of, _) in self.live.items() if of == user]
        what = r.random()
        if what < 0.55:
            run("SELECT auth.bump_session_version(%s)", [str(user)])
            self.end(mine)
        elif what < 0.65:
            run("UPDATE users SET email = %s WHERE id = %s", [str(r.random()), user])
            self.end(mine)
        elif what < 0.72:
            run("UPDATE users SET is_active = false WHERE id = %s", [user])
            self.end(mine)
            run("UPDATE users SET is_active = true WHERE id = %s", [user])
        elif what < 0.76:
            run("DELETE FROM users WHERE id = %s", [user])
            self.end(mine)
            run("INSERT INTO users (id) VALUES (%s)", [user])
        elif what < 0.84 and mine:
            token = r.choice(mine)
            run("SELECT auth.revoke_jwt(%s)", [token])
            self.end([token])
        elif what < 0.94 and mine:
            token = r.choice(mine)
            sid = self.live[token][1]
            if sid:
                run("SELECT auth.end_session(%s)", [sid])
                self.end([token])
        elif what < 0.985:
            key = r.choice(list(self.key_of))
            run("UPDATE api_keys SET is_active = false WHERE id = %s::uuid", [self.key_of[key]])
            self.end([], [key])
            if r.random() < 0.7:
                with self.lock:
                    del self.keys_ended[key]
                run("UPDATE api_keys SET is_active = true WHERE id = %s::uuid", [self.key_of[key]])
        elif what < 0.993:
            run("UPDATE auth.issuers SET leeway = %s", [f"{r.randrange(5)} seconds"])
        else:
            some = r.sample(USERS, 15)
            with self.conn.transaction():
                run("SET LOCAL auth_ext.bulk_threshold = 10")
                run("UPDATE users SET email = %s WHERE id = ANY(%s)", [str(r.random()), some])
            self.end([token for token, (of, _) in self.live.items() if of in some])
        self.changes += 1
        for _ in range(len(mine) < 2):
            with contextlib.suppress(psycopg.errors.InvalidAuthorizationSpecification):
                self.fresh_token(user)

    def write(self, events):
        until = self.changes + events
        while self.changes < until:
            try:
                if self.conn is None:
                    self.conn = self.server.connect(self.db)
                    # Committed or not, nobody knows: as from now.
                    for user in USERS:
                        self.conn.execute("INSERT INTO users (id) VALUES (%s) ON CONFLICT (id) DO UPDATE SET is_active = true", [user])
                self.change()
            except psycopg.OperationalError:
                self.lost += 1
                self.conn = None
                # What was about to end may have ended: not counted among those that hold.
                time.sleep(0.05)

    def read(self, seed):
        r = random.Random(seed)
        while not self.over.is_set():
            with self.lock:
                token = r.choice(list(self.live)) if r.random() < 0.7 or not self.ended else r.choice(list(self.ended)[-20:])
                since = self.ended.get(token)
                key = r.choice(list(self.key_of))
                key_since = self.keys_ended.get(key)
            began = time.monotonic()
            with contextlib.suppress(Refused, Unavailable):
                self.tokens.verify(token)
                self.hits += 1
                if since is not None and began > since + BOUND:
                    self.faults.append(f"a token {began - since:.3f} s after its end")
            with contextlib.suppress(Refused, Unavailable):
                self.keys.verify(key)
                with self.lock:
                    still = self.keys_ended.get(key) == key_since
                if key_since is not None and still and began > key_since + BOUND:
                    self.faults.append(f"a key {began - key_since:.3f} s after its end")
            time.sleep(0.0005)

    @contextlib.contextmanager
    def readers(self):
        threads = [threading.Thread(target=self.read, args=[n]) for n in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def is_equal(self):
        """What is cached now is what the tables say."""
        assert self.listener.sync(40), "it never caught up"
        deadline = time.monotonic() + 20
        # The notification of a last flush or issuer may come after the log had it, and empties once more.
        while True:
            for token in [*self.live, *list(self.ended)[-200:]]:
                with contextlib.suppress(Refused, Unavailable):
                    self.tokens.verify(token)
            assert self.listener.sync(40)
            if self.tokens.stats().entries > 20 or time.monotonic() > deadline:
                break
        cached = 0
        with self.server.connect(self.db) as conn:
            for token in [*self.live, *self.ended]:
                identity = self.tokens.peek(token)
                if identity is not None:
                    cached += 1
                    row = conn.execute("SELECT valid, user_id, session_version FROM auth.check_jwt(%s)", [token]).fetchone()
                    assert row == (True, identity.user_id, identity.session_version)
            for key in self.key_of:
                if self.keys.peek(key) is not None:
                    cached += 1
                    assert conn.execute("SELECT valid FROM auth.check_api_key(%s)", [key]).fetchone()[0]
        return cached

    def finish(self):
        cached = self.is_equal()
        print(f"{self.changes} changes, {self.hits} verified, {cached} cached in the end, {self.tokens.stats()}, {self.lost} connections of the writer lost")
        self.listener.close()
        self.pool.close()
        assert not self.faults, self.faults[:5]
        assert cached > 20 and self.tokens.stats().hits > 100


def seed():
    seed = int(os.environ.get("AUTH_EXT_SEED") or random.randrange(2**32))
    print(f"AUTH_EXT_SEED={seed}")
    return seed


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_random_schedule_ends_as_the_tables_and_keeps_the_bound(server, db, driver):
    run = Run(server, db, driver, seed())
    with run.readers():
        run.write(EVENTS)
    run.finish()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_notifications_that_are_dropped_doubled_and_out_of_order_are_healed_by_the_cursor(server, db, driver, monkeypatch):
    chosen = seed()
    mangler, held, hear, dropped = random.Random(chosen), [], _Listening._hear, []

    def mangled(self, payload):
        # More than one in a thousand where there are few.
        if mangler.random() < max(0.001, 20 / EVENTS):
            dropped.append(payload)
        elif mangler.random() < 0.02:
            held.append(payload)
        else:
            for _ in range(2 if mangler.random() < 0.05 else 1):
                hear(self, payload)
            if held and mangler.random() < 0.1:
                hear(self, held.pop(0))

    monkeypatch.setattr(_Listening, "_hear", mangled)
    run = Run(server, db, driver, chosen)
    with run.readers():
        run.write(EVENTS)
    assert dropped
    run.finish()
