"""A listener on a standby, where nobody can LISTEN, and what happens when one is promoted."""

import time

import psycopg
import pytest
from server import Server, issue
from test_listener import DRIVERS, App, wait

from auth_ext import Refused

BOUND = 1.5


@pytest.fixture(scope="module")
def primary():
    made = Server("primary")
    made.application("app")
    yield made
    made.stop()


@pytest.mark.parametrize("driver", DRIVERS)
def test_on_a_standby_the_heartbeat_keeps_the_bound_and_a_promoted_one_is_listened_to(primary, driver):
    standby = Server(f"standby_{driver}", standby_of=primary)
    try:
        with primary.connect("app") as a, App(standby, "app", driver, max_staleness=BOUND) as app:
            replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            one, two = issue(a, 1), issue(a, 2)
            app.fill(one)
            app.fill(two)
            a.execute("SELECT auth.bump_session_version('1')")
            here = a.execute("SELECT pg_current_wal_lsn()::text").fetchone()[0]
            wait(lambda: app.one(replayed, here), "replayed")
            time.sleep(BOUND)
            with pytest.raises(Refused, match="session_version_mismatch"):
                app.tokens.verify(one)
            app.tokens.verify(two)
            # Of another history now: what was cached is not known to hold.
            standby.promote()
            assert app.listener.sync(15)
            app.fill(two)
            wait(lambda: app.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'auth_ext listener' AND query ~ 'LISTEN|invalidations_since'") == 1, "the listener")
            # It listens: a change is heard, long before a heartbeat.
            time.sleep(BOUND / 2)
            app.listener.hearing.max_staleness = 60
            assert app.listener.sync(15)
            app.fill(two)
            app.one("SELECT auth.bump_session_version('2')")
            wait(lambda: app.tokens.peek(two) is None, "the notification", 5)
    finally:
        standby.stop()


class Pair:
    """Whichever of two servers can be written to."""

    def __init__(self, *servers):
        self.homes = ",".join(str(server.home) for server in servers)

    def conninfo(self, db):
        return f"host={self.homes} user=postgres dbname={db} target_session_attrs=read-write"

    def dsn(self, db):
        return f"postgresql://postgres@/{db}?host={self.homes}&target_session_attrs=read-write"

    def connect(self, db):
        return psycopg.connect(self.conninfo(db), autocommit=True)


@pytest.mark.parametrize("driver", DRIVERS)
def test_after_a_failover_nothing_of_before_is_answered(driver):
    primary = Server(f"fails_{driver}")
    primary.application("app")
    standby = Server(f"takes_over_{driver}", standby_of=primary)
    try:
        with App(Pair(primary, standby), "app", driver) as app:
            one = issue(app.a, 1)
            app.fill(one)
            primary.stop()
            wait(lambda: not app.listener.fresh, "stale")
            standby.promote()
            wait(lambda: app.listener.fresh, "fresh again", 30)
            # Of another history: what was cached is not known to hold.
            assert app.tokens.peek(one) is None
            app.fill(one)
            with standby.connect("app") as b:
                b.execute("SELECT auth.bump_session_version('1')")
            wait(lambda: app.tokens.peek(one) is None, "the notification")
            with pytest.raises(Refused, match="session_version_mismatch"):
                app.tokens.verify(one)
    finally:
        primary.stop()
        standby.stop()
