"""Listener and caches on real servers, over both drivers."""

import asyncio
import os
import threading
import time

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from server import issue

from auth_ext import (
    ApiKeyCache,
    AsyncApiKeyCache,
    AsyncListener,
    AsyncTokenCache,
    Listener,
    Refused,
    TokenCache,
    Unavailable,
    async_transaction,
    transaction,
)
from proxy import Proxy

DRIVERS = ["psycopg", "asyncpg"]
LONG = 300.0


def wait(is_so, what="", seconds=15):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


class App:
    """A listener and caches of a database."""

    def __init__(self, server, db, driver="psycopg", max_staleness=LONG, conninfo=None, **options):
        self.a = server.connect(db)
        self.pool = ConnectionPool(server.conninfo(db), min_size=1, max_size=8, timeout=5, check=ConnectionPool.check_connection, open=True)
        dsn = conninfo or (server.conninfo(db) if driver == "psycopg" else server.dsn(db))
        self.listener = Listener(dsn, max_staleness=max_staleness, driver=driver)
        self.tokens = TokenCache(self.listener, self.pool.connection, **options)
        self.keys = ApiKeyCache(self.listener, self.pool.connection)

    def __enter__(self):
        assert self.listener.sync(15)
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.pool.close()
        self.a.close()

    def one(self, sql, *arguments):
        return self.a.execute(sql, arguments).fetchone()[0]

    def fill(self, token):
        identity = self.tokens.verify(token)
        # An event of just before may prevent the first.
        wait(lambda: self.tokens.verify(token) and self.tokens.peek(token), "cached")
        return identity

    def backends(self):
        return [
            row[0]
            for row in self.a.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'auth_ext listener' AND datname = current_database()"
            )
        ]


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_kind_of_event_ends_what_it_is_about_and_the_reason_is_the_servers(server, db, driver):
    with App(server, db, driver) as app:
        a = app.a
        plain, other = issue(a, 1), issue(a, 2)
        session = a.execute("SELECT session_id, access_token FROM auth.open_session('3')").fetchone()
        key = app.one("SELECT key FROM auth.create_api_key('4', 'k')")
        key_id = app.one("SELECT id::text FROM api_keys")
        cases = [
            (plain, "SELECT auth.bump_session_version('1')", "session_version_mismatch"),
            (issue(a, 5), "UPDATE users SET is_active = false WHERE id = 5", "inactive_user"),
            (issue(a, 6), "DELETE FROM users WHERE id = 6", "unknown_user"),
            (session[1], f"SELECT auth.end_session('{session[0]}')", "session_ended"),
            (revoked := issue(a, 7), f"SELECT auth.revoke_jwt('{revoked}')", "revoked"),
        ]
        app.fill(other)
        for token, change, reason in cases:
            identity = app.fill(token)
            assert identity.claims["iss"] == "https://api.example" and identity.issuer == "https://api.example"
            a.execute(change)
            wait(lambda token=token: app.tokens.peek(token) is None, change)
            with pytest.raises(Refused) as refused:
                app.tokens.verify(token)
            assert refused.value.reason == reason
            assert token not in repr(refused.value)
            assert app.tokens.peek(other), change
        app.keys.verify(key)
        wait(lambda: app.keys.verify(key) and app.keys.peek(key), "the key")
        assert app.keys.verify(key).user_id == "4"
        a.execute("SELECT auth.revoke_api_key(%s)", [key_id])
        wait(lambda: app.keys.peek(key) is None, "the key's end")
        with pytest.raises(Refused) as refused:
            app.keys.verify(key)
        assert refused.value.reason in ("inactive_api_key", "unknown_api_key")
        a.execute("UPDATE auth.issuers SET not_before = now() + interval '1 minute'")
        wait(lambda: app.tokens.peek(other) is None, "the kill switch")
        with pytest.raises(Refused, match="issued_before_cutoff"):
            app.tokens.verify(other)


def test_a_key_that_was_asked_for_was_used(server, db):
    with App(server, db) as app:
        key = app.one("SELECT key FROM auth.create_api_key('4', 'k')")
        app.keys.verify(key)
        assert app.one("SELECT last_used_at IS NOT NULL FROM api_keys")


@pytest.mark.parametrize("bad", ["", "a.b.c", "x" * 20_000, "\0", "\ud800", "ü.ü.ü"])
def test_what_is_no_token_or_key_is_refused(server, db, bad):
    with App(server, db) as app:
        with pytest.raises(Refused) as refused:
            app.tokens.verify(bad)
        assert refused.value.reason in ("malformed", "too_large")
        with pytest.raises(Refused) as refused:
            app.keys.verify(bad)
        assert refused.value.reason == "unknown_api_key"
        assert app.tokens.stats().entries == app.keys.stats().entries == 0


def test_a_token_that_shares_a_jti_with_a_cached_one_is_verified_itself(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        app.fill(token)
        with pytest.raises(Refused, match="bad_signature"):
            app.tokens.verify(token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")[:2] + "A")


def test_a_token_ends_at_its_exp_without_any_event(server, db):
    with App(server, db) as app:
        token = app.one("SELECT auth.issue_jwt('1', ttl => '2 seconds')")
        app.fill(token)
        time.sleep(2.1)
        assert app.tokens.peek(token) is None
        with pytest.raises(Refused, match="expired"):
            app.tokens.verify(token)


def test_a_device_is_part_of_what_is_asked(server, db):
    with App(server, db) as app:
        token = app.one("""SELECT auth.issue_jwt('1', device => '{"id": "a"}')""")
        app.tokens.verify(token, {"id": "a"})
        assert app.tokens.peek(token, {"id": "b"}) is None
        with pytest.raises(Refused, match="device_mismatch"):
            app.tokens.verify(token, {"id": "b"})
        assert app.tokens.verify(token, {"id": "a"})


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_answer_from_before_an_event_is_not_kept_after_it(server, db, driver):
    with App(server, db, driver) as app:
        token = issue(app.a, 1)
        # The question is answered, and its transaction ends only when we let it.
        answered, go = threading.Event(), threading.Event()

        class Held:
            def __enter__(self):
                self.context = app.pool.connection()
                return self.context.__enter__()

            def __exit__(self, *error):
                answered.set()
                go.wait(10)
                return self.context.__exit__(*error)

        slow = TokenCache(app.listener, Held)
        results = []
        first = threading.Thread(target=lambda: results.append(slow.verify(token)))
        first.start()
        assert answered.wait(5)
        # A second who asks now, before the event, may take that answer; one after it must not.
        app.a.execute("SELECT auth.bump_session_version('1')")
        assert app.listener.sync(10)
        late = []

        def ask_late():
            try:
                slow.verify(token)
            except Refused as refused:
                late.append(refused.reason)

        second = threading.Thread(target=ask_late)
        second.start()
        time.sleep(0.1)
        go.set()
        first.join(10)
        second.join(10)
        assert len(results) == 1
        assert slow.peek(token) is None and late == ["session_version_mismatch"]


def test_many_who_ask_for_one_token_at_once_ask_the_database_once(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        asked = []

        def connections():
            asked.append(1)
            time.sleep(0.3)
            return app.pool.connection()

        cache = TokenCache(app.listener, connections)
        threads = [threading.Thread(target=cache.verify, args=[token]) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(asked) == 1 and cache.stats().entries == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_lost_connection_is_stale_at_once_and_the_cursor_heals_what_was_missed(server, db, driver):
    with App(server, db, driver) as app:
        one, two = issue(app.a, 1), issue(app.a, 2)
        app.fill(one)
        app.fill(two)
        other = server.connect()
        other.execute(f"ALTER DATABASE {db} ALLOW_CONNECTIONS false")
        app.a.execute("SELECT pg_terminate_backend(%s)", app.backends())
        wait(lambda: not app.listener.fresh, "stale")
        assert app.listener.state == "stale" and app.tokens.peek(two) is None
        app.a.execute("SELECT auth.bump_session_version('1')")
        other.execute(f"ALTER DATABASE {db} ALLOW_CONNECTIONS true")
        assert app.listener.sync(15)
        # Only what has changed was evicted.
        assert app.tokens.peek(two) is not None and app.tokens.peek(one) is None


@pytest.mark.parametrize("driver", DRIVERS)
def test_where_nothing_is_sent_a_change_is_known_within_the_bound(server, db, driver):
    with App(server, db, driver, max_staleness=0.6) as app:
        app.a.execute("SET auth_ext.notify = off")
        token = issue(app.a, 1)
        app.fill(token)
        app.a.execute("SELECT auth.bump_session_version('1')")
        time.sleep(0.6)
        with pytest.raises(Refused):
            app.tokens.verify(token)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_half_open_connection_is_stale_within_the_bound_and_is_replaced(server, db, driver):
    server_tcp = Proxy(server.socket)
    conninfo = f"postgresql://postgres@127.0.0.1:{server_tcp.port}/{db}?sslmode=disable"
    with App(server, db, driver, max_staleness=1.0, conninfo=conninfo) as app:
        token = issue(app.a, 1)
        app.fill(token)
        server_tcp.deaf.set()
        app.a.execute("SELECT auth.bump_session_version('1')")
        time.sleep(1.0)
        assert not app.listener.fresh
        with pytest.raises(Refused):
            app.tokens.verify(token)
        wait(lambda: server_tcp.accepted > 1, "another attempt", 20)
        server_tcp.hear_again()
        assert app.listener.sync(30)
    server_tcp.close()


def test_what_anybody_sends_only_evicts(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        for payload in ["", "not JSON", '{"v":1,"kind":"flush"}', '{"v":1,"kind":"user","id":"1","session_version":9223372036854775807}']:
            app.fill(token)
            app.a.execute("SELECT pg_notify('auth_invalidation', %s)", [payload])
            wait(lambda: app.tokens.peek(token) is None, payload)
        app.fill(token)


def test_a_closed_listener_leaves_the_database_to_be_asked(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        app.fill(token)
        app.listener.close()
        assert app.listener.state == "closed" and app.tokens.peek(token) is None
        assert app.tokens.verify(token).user_id == "1"
        assert not app.listener.sync(1)


def test_a_host_that_never_answers_does_not_keep_the_listener_from_the_next(server, db):
    frozen = Proxy(server.socket)
    frozen.deaf.set()
    hosts = f"host=127.0.0.1,{server.home} port={frozen.port},{server.port} user=postgres dbname={db} target_session_attrs=read-write"
    # Its context waits until the listener has caught up.
    with App(server, db, conninfo=hosts) as app:
        app.fill(issue(app.a, 1))
    frozen.close()


def test_a_database_that_is_away_is_another_error(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        nowhere = TokenCache(app.listener, lambda: psycopg.connect("host=/nowhere", connect_timeout=1))
        with pytest.raises(Unavailable) as away:
            nowhere.verify(token)
        assert isinstance(away.value.__cause__, psycopg.OperationalError)
        app.a.execute("CREATE ROLE nobody_here LOGIN")
        app.a.execute("REVOKE ALL ON SCHEMA auth FROM PUBLIC")
        not_allowed = TokenCache(app.listener, lambda: psycopg.connect(server.conninfo(db).replace("user=postgres", "user=nobody_here")))
        # A fault of the set-up is nobody's 503.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            not_allowed.verify(token)


@pytest.mark.parametrize("driver", DRIVERS)
def test_on_ended_hears_of_a_session_and_of_everywhere(server, db, driver):
    with App(server, db, driver) as app:
        told, gone = {}, threading.Event()
        sid = app.one("SELECT session_id FROM auth.open_session('1')")
        app.listener.on_ended(lambda reason: told.update(session=reason), session_id=sid)
        app.listener.on_ended(lambda reason: (told.update(user=reason), gone.set()), user_id="1")
        cancelled = app.listener.on_ended(lambda reason: told.update(cancelled=reason), user_id="1")
        cancelled.cancel()
        app.listener.on_ended(lambda reason: told.update(other=reason), user_id="2")
        app.a.execute("SELECT auth.end_session(%s)", [sid])
        app.a.execute("SELECT auth.bump_session_version('1')")
        assert gone.wait(10)  # long before a heartbeat
        assert told == {"session": "logout", "user": "logout_everywhere"}


def test_ended_waits_through_what_ends_nothing(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        result = []
        waiting = threading.Thread(target=lambda: result.append(app.tokens.ended(token, timeout=20)))
        waiting.start()
        wait(lambda: app.listener.hearing._all_watches, "the watch")
        for payload in ['{"v":1,"kind":"flush"}', '{"v":1,"kind":"user","id":"1","session_version":99,"reason":"forged"}']:
            app.a.execute("SELECT pg_notify('auth_invalidation', %s)", [payload])
            time.sleep(0.7)
        app.a.execute("UPDATE auth.issuers SET leeway = '1 s'")
        time.sleep(0.2)
        assert not result
        app.a.execute("SELECT auth.bump_session_version('1')")
        waiting.join(10)
        assert result == ["session_version_mismatch"]
        soon = app.one("SELECT auth.issue_jwt('1', ttl => '1 second')")
        assert app.tokens.ended(soon, timeout=10) == "expired"
        assert app.tokens.ended(issue(app.a, 1), timeout=0.2) is None


def test_the_child_of_a_fork_listens_for_itself(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        app.fill(token)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = b"?"
            try:
                pool_free = TokenCache(app.listener, lambda: psycopg.connect(server.conninfo(db), autocommit=True))
                before = app.tokens.peek(token) is None
                synced = app.listener.sync(10)
                pool_free.verify(token)
                said = b"ok" if before and synced and pool_free.peek(token) else b"no"
            finally:
                os.write(write, said)
                os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 10) == b"ok"
        assert app.tokens.peek(token)


def test_the_transaction_helper_is_the_tokens_user_and_leaves_nothing(server, db):
    with App(server, db) as app:
        token = issue(app.a, 1)
        key = app.one("SELECT key FROM auth.create_api_key('4', 'k')")
        with transaction(app.pool.connection, token=token) as conn:
            assert conn.execute("SELECT auth.user_id()").fetchone()[0] == "1"
        with transaction(app.pool.connection, api_key=key) as conn:
            assert conn.execute("SELECT auth.user_id()").fetchone()[0] == "4"
        with app.pool.connection() as conn:
            assert conn.execute("SELECT auth.user_id()").fetchone()[0] is None
        app.fill(token)
        with pytest.raises(Unavailable), transaction(lambda: psycopg.connect("host=/nowhere"), token=token):
            pytest.fail("there is nothing")
        with pytest.raises(psycopg.errors.DivisionByZero), transaction(app.pool.connection, token=token) as conn:
            conn.execute("SELECT 1 / 0")
        app.a.execute("SELECT auth.bump_session_version('1')")
        with pytest.raises(Refused, match="session_version_mismatch"), transaction(app.pool.connection, token=token):
            pytest.fail("it was let in")
        with pytest.raises(ValueError), transaction(app.pool.connection):
            pass


@pytest.mark.parametrize("driver", DRIVERS)
def test_asyncio_does_all_of_it(server, db, driver):
    async def run():
        if driver == "asyncpg":
            import asyncpg

            pool = await asyncpg.create_pool(server.dsn(db), min_size=1, max_size=5)
            connections, dsn = pool.acquire, server.dsn(db)
        else:
            from psycopg_pool import AsyncConnectionPool

            pool = AsyncConnectionPool(server.conninfo(db), min_size=1, max_size=5, open=False)
            await pool.open()
            connections, dsn = pool.connection, server.conninfo(db)
        with server.connect(db) as a:
            token, other = issue(a, 1), issue(a, 2)
            key = a.execute("SELECT key FROM auth.create_api_key('4', 'k')").fetchone()[0]
            async with AsyncListener(dsn, driver=driver, max_staleness=LONG) as listener:
                assert await listener.sync(10)
                tokens, keys = AsyncTokenCache(listener, connections), AsyncApiKeyCache(listener, connections)
                identities = await asyncio.gather(*(tokens.verify(token) for _ in range(50)))
                assert {identity.user_id for identity in identities} == {"1"}
                assert (await keys.verify(key)).user_id == "4"
                assert await listener.sync(10)
                await tokens.verify(token)
                assert tokens.peek(token) and tokens.stats().entries == 1
                with pytest.raises(Refused, match="malformed"):
                    await tokens.verify("nothing")
                ended = asyncio.create_task(tokens.ended(token))
                await asyncio.sleep(0.2)
                await asyncio.to_thread(a.execute, "SELECT auth.bump_session_version('1')")
                assert await asyncio.wait_for(ended, 10) == "session_version_mismatch"  # long before a heartbeat
                async with async_transaction(connections, token=other) as conn:
                    if driver == "asyncpg":
                        assert await conn.fetchval("SELECT auth.user_id()") == "2"
                    else:
                        assert (await (await conn.execute("SELECT auth.user_id()")).fetchone())[0] == "2"
                with pytest.raises(Refused):
                    async with async_transaction(connections, token=token):
                        pytest.fail("it was let in")
                # One who stops waiting fails nobody else.
                third = issue(a, 3)
                first = asyncio.create_task(tokens.verify(third))
                await asyncio.sleep(0)
                second = asyncio.create_task(tokens.verify(third))
                await asyncio.sleep(0)
                first.cancel()
                assert (await asyncio.wait_for(second, 10)).user_id == "3"
        await pool.close()

    asyncio.run(run())
