"""A listener on a standby, where nobody can LISTEN, and what happens when it is promoted."""

import time

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
