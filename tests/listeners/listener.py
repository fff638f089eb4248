"""A cache that hears of changes (see "Listening" in README.md), for threads. Needs psycopg 3.2 or later.

    listener = Listener("dbname=app", max_staleness=10)
    user = listener.get("user", "42", lambda id: {"session_version": 7, "is_active": True})

Loads read the server that the listener listens to, in a transaction of their own. A process that forks makes its
listener afterwards.
"""

import contextlib
import json
import logging
import random
import socket
import threading
import time
from multiprocessing.connection import wait

import psycopg

log = logging.getLogger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
MAX_HEARD = 100_000
NAMED_BY = {"user": "id", "api_key": "fingerprint", "token": "jti", "session": "sid", "issuer": "issuer"}


class Listener:
    def __init__(self, conninfo, max_staleness=10.0):
        self._conninfo = conninfo
        self._max_staleness = max_staleness
        self._lock = threading.Lock()
        self._entries = {}
        self._clock = 0  # counts events
        self._flushed = 0  # when all was evicted
        self._heard = {}  # when one was evicted, and the least session_version that it can have
        self._fresh_until = 0.0
        self._cursor = None
        self._asked = []
        self._pause = FIRST_PAUSE
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        threading.Thread(target=self._run, name="auth_invalidation", daemon=True).start()

    @property
    def fresh(self):
        """May the cache be used? A lease: it ends by itself when nothing renews it, whatever the reason."""
        return time.monotonic() < self._fresh_until

    def peek(self, kind, id):
        """The entry, if it is cached and may be used."""
        with self._lock:
            return self._entries.get((kind, id)) if self.fresh else None

    def get(self, kind, id, load):
        """The entry, or what load(id) reads. None is not kept: the INSERT that ends it sends no event."""
        began = self._clock
        entry = self.peek(kind, id)
        if entry is None:
            entry = load(id)
            self._fill((kind, id), entry, began)
        return entry

    def _fill(self, key, entry, began):
        with self._lock:
            heard, floor = self._heard.get(key, (0, 0))
            # An event while it was read may say more than was read.
            if entry is None or not self.fresh or max(heard, self._flushed) > began:
                return
            # Read from a server that lags behind.
            if key[0] == "user" and entry["session_version"] < floor:
                return
            self._entries[key] = entry

    def sync(self, timeout=None):
        """Waits until all that is committed by now is known here. False: it took too long."""
        done = threading.Event()
        with self._lock:
            self._asked.append(done)
        with contextlib.suppress(BlockingIOError):  # full: it wakes as it is
            self._wake.send(b".")
        return done.wait(timeout)

    def _apply(self, event):
        with self._lock:
            self._clock += 1
            try:
                key = (event["kind"], str(event[NAMED_BY[event["kind"]]]))
                floor = int(event.get("session_version", 0))
            except Exception:  # a flush, or nothing that we understand
                self._entries.clear()
                self._flushed = self._clock
                self._fresh_until = 0.0
                return
            self._entries.pop(key, None)
            _, known = self._heard.get(key, (0, 0))
            # Any role can send any id.
            if len(self._heard) >= MAX_HEARD:
                self._heard.clear()
                self._flushed = self._clock
            self._heard[key] = self._clock, max(floor, known)

    def _hear(self, payload):
        try:
            event = json.loads(payload)
        except Exception:
            event = None
        self._apply(event)

    def _catch_up(self, conn):
        asked, sent = len(self._asked), time.monotonic()
        if self._cursor is None:
            cursor = conn.execute("SELECT auth.invalidation_cursor()").fetchone()[0]
            # Only now: what was read before the cursor was taken must not be cached after it.
            self._apply({"kind": "flush"})
            self._cursor = cursor
        else:
            query = "SELECT event, next_cursor FROM auth.invalidations_since(%s)"
            rows = conn.execute(query, [self._cursor]).fetchall()
            for event, _ in rows:
                self._apply(event)
            if rows:
                self._cursor = rows[0][1]
        with self._lock:
            self._fresh_until = sent + self._max_staleness
            done, self._asked = self._asked[:asked], self._asked[asked:]
        for waiting in done:
            waiting.set()

    def _live(self, conn):
        """Hears until it is time to catch up again: a heartbeat that also keeps the next one short."""
        until = time.monotonic() + self._max_staleness / 3
        while True:
            for notification in conn.notifies(timeout=0):
                self._hear(notification.payload)
            left = until - time.monotonic()
            if not self.fresh or self._asked or left <= 0:
                return
            if self._woken in wait([conn, self._woken], left):
                self._woken.recv(4096)

    def _session(self):
        # The timeouts end what a network has swallowed; the lease does not wait for them.
        with psycopg.connect(
            self._conninfo,
            autocommit=True,
            connect_timeout=10,
            tcp_user_timeout=int(self._max_staleness * 1000),
        ) as conn:
            # Committed, before the first look: nothing falls between the two.
            conn.execute("LISTEN auth_invalidation")
            while True:
                self._catch_up(conn)
                self._pause = FIRST_PAUSE
                self._live(conn)

    def _run(self):
        while True:
            try:
                self._session()
            except psycopg.errors.InvalidParameterValue as error:
                log.warning("auth_invalidation: %s", error)
                self._cursor = None  # not one of this server's
            except Exception as error:
                log.warning("auth_invalidation: %s", error)
            # At once, and only then the pause.
            self._fresh_until = 0.0
            time.sleep(random.uniform(0, self._pause))
            self._pause = min(2 * self._pause, LAST_PAUSE)
