"""Who ends sessions, and who asks whether they have ended."""

import contextlib
import random
import threading
import time

import psycopg
from auth_ext import Listener, Refused, TokenCache, Unavailable
from cluster import STALENESS
from facts import Change
from psycopg_pool import ConnectionPool

WRITERS, USERS_EACH = 4, 15
# Of nobody whose sessions end.
STANDING = 100
MAX_STALENESS = 5
CHECK = "SELECT valid, reason, current_session_version, pg_is_in_recovery() FROM auth.check_jwt(%s)"
FROZEN = "a leader that was frozen"
FLUSH = {"v": 1, "kind": "flush"}
PAUSE = 0.01


class Worker(threading.Thread):
    """Does one thing again and again, over a connection of its own that it makes anew when it is lost."""

    def __init__(self, facts, conninfo, name):
        super().__init__(name=name, daemon=True)
        self.facts, self.conninfo = facts, conninfo
        self.random = random.Random(name)
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                with psycopg.connect(self.conninfo, autocommit=True, prepare_threshold=None) as conn:
                    while not self.over.is_set():
                        self.step(conn)
                        time.sleep(PAUSE)
            except psycopg.Error as error:
                self.lost(error)
                time.sleep(0.1)
            except Exception as error:
                self.facts.fault(f"{self.name}: {error!r}")
                raise

    def lost(self, error):
        """Nobody answered."""


class Writer(Worker):
    """Logs in, bumps, ends sessions, revokes. Nobody else touches its users."""

    def __init__(self, facts, cluster, number):
        super().__init__(facts, cluster.bouncer, f"writer {number}")
        self.users = range(number * USERS_EACH + 1, (number + 1) * USERS_EACH + 1)
        self.sessions = {user: {} for user in self.users}  # user: {token: (kind, its id)}
        self.unsure = set()  # users whose last bump has no answer: it may still happen, and end what was opened since

    def step(self, conn):
        user = self.random.choice(self.users)
        mine = self.sessions[user]
        if user in self.unsure or (len(mine) >= 2 and self.random.random() < 0.4):
            self.bump(conn, user)
        elif len(mine) < 2:
            self.login(conn, user)
        else:
            self.end(conn, user)

    def login(self, conn, user):
        if self.random.random() < 0.5:
            sid, token = conn.execute("SELECT session_id, access_token FROM auth.open_session(%s)", [str(user)]).fetchone()
            what = "session", sid
        else:
            issue = "SELECT token, auth.decode_jwt(token) #>> '{payload,jti}' FROM auth.issue_jwt(%s) token"
            token, jti = conn.execute(issue, [str(user)]).fetchone()
            what = "token", jti
        self.sessions[user][token] = what
        with self.facts.lock:
            self.facts.live[token] = user
            self.facts.logins += 1

    def doubt(self, user, tokens):
        """From the question on nobody knows whether they hold; after an error nobody ever does."""
        with self.facts.lock:
            for token in tokens:
                del self.facts.live[token]
        for token in tokens:
            del self.sessions[user][token]

    def commit(self, conn, sql, argument):
        """Also as an application that waits for none of its commits: for these it does."""
        with conn.transaction():
            if self.random.random() < 0.3:
                conn.execute("SET LOCAL synchronous_commit = off")
            return conn.execute(sql, [argument]).fetchone()[0]

    def ended(self, tokens, change):
        self.facts.end(tokens, change)
        self.facts.answered("writes")

    def bump(self, conn, user):
        tokens, facts = list(self.sessions[user]), self.facts
        self.doubt(user, tokens)
        self.unsure.add(user)
        with facts.lock:
            facts.doubtful[user] = facts.doubtful.get(user, 0) + 1
        began = time.monotonic()
        version = self.commit(conn, "SELECT auth.bump_session_version(%s)", str(user))
        returned = time.monotonic()
        self.unsure.discard(user)
        with facts.lock:
            facts.doubtful[user] -= 1
            facts.versions[user] = version
        self.ended(tokens, Change(("user", str(user), version), began, returned))

    def end(self, conn, user):
        token, what = self.random.choice(list(self.sessions[user].items()))
        self.doubt(user, [token])
        began = time.monotonic()
        if what[0] == "session":
            done = self.commit(conn, "SELECT auth.end_session(%s)", what[1])
        else:
            done = self.commit(conn, "SELECT auth.revoke_jwt(%s)", token)
        self.ended([token], Change(what, began, time.monotonic()))
        if not done:
            self.facts.fault(f"a {what[0]} whose login was confirmed was not there to be ended")

    def lost(self, error):
        self.facts.unanswered += 1


class Verifier(Worker):
    """Asks about what lives and what has ended, most of it just now."""

    def step(self, conn):
        token, change = self.choose()
        if token is None:
            return
        began = time.monotonic()
        valid, reason = self.ask(conn, token)
        self.judge(token, change, began, valid, reason)

    def choose(self):
        facts = self.facts
        with facts.lock:
            if facts.recent and self.random.random() < 0.5:
                token = facts.recent[-min(len(facts.recent), 1 + int(self.random.expovariate(0.1)))]
                return token, facts.ended[token]
            if not facts.live:
                return None, None
            return self.random.choice(list(facts.live)), None

    def judge(self, token, change, began, valid, reason):
        if reason == "stale_standby":
            return
        self.facts.answered(self.name)
        if change is not None and valid:
            self.accepted(change, began)
        if change is None and not valid:
            with self.facts.lock:
                still = token in self.facts.live
            if still:
                self.refused(reason, began)


class BouncerVerifier(Verifier):
    """As an application does: through PgBouncer, at whoever leads."""

    def ask(self, conn, token):
        return conn.execute(CHECK, [token]).fetchone()[:2]

    def accepted(self, change, began):
        self.facts.fault(f"{self.name}: {change.event} accepted {began - change.returned:.3f} s after its COMMIT returned")

    def refused(self, reason, began):
        self.facts.fault(f"{self.name}: a session that lives is refused: {reason}")


class NodeVerifier(Verifier):
    """At one server, whatever it is at the moment."""

    def __init__(self, facts, cluster, node):
        super().__init__(facts, node.conninfo(), f"node {node.name}")
        self.cluster, self.node, self.recovering = cluster, node, True
        self.stale = False

    def ask(self, conn, token):
        valid, reason, _, self.recovering = conn.execute(CHECK, [token]).fetchone()
        if self.stale and not self.recovering:
            self.facts.answered(FROZEN)
        return valid, reason

    def accepted(self, change, began):
        if self.recovering:
            self.facts.suspects.append((self.node.name, began, change))
        elif self.stale:
            self.facts.is_late(FROZEN, began - change.returned)
        else:
            self.facts.fault(f"{self.name}: {change.event} accepted by the leader {began - change.returned:.3f} s after its COMMIT returned")

    def refused(self, reason, began):
        if not self.recovering and not self.stale:
            self.facts.fault(f"{self.name}: a session that lives is refused by the leader: {reason}")


class CacheVerifier(Verifier):
    """An application with the package of clients/python: a listener, and a cache that asks the same server."""

    def __init__(self, facts, name, listens, asks, allowance):
        super().__init__(facts, None, name)
        self.pool = ConnectionPool(asks, min_size=0, max_size=4, timeout=3, kwargs={"prepare_threshold": None}, open=True)
        self.listener = Listener(listens, max_staleness=MAX_STALENESS)
        self.tokens = TokenCache(self.listener, self.pool.connection)
        self.allowance = allowance
        self.stale = False

    def run(self):
        while not self.over.is_set():
            try:
                self.step(None)
            except Unavailable:
                pass
            except Exception as error:
                self.facts.fault(f"{self.name}: {error!r}")
            time.sleep(PAUSE)

    def ask(self, _, token):
        try:
            self.tokens.verify(token)
        except Refused as refused:
            return False, refused.reason
        return True, None

    def accepted(self, change, began):
        late = began - change.returned
        self.facts.is_late(self.name, late)
        if late > self.allowance and not self.stale:
            self.facts.fault(f"{self.name}: {change.event} accepted {late:.3f} s after its COMMIT returned")

    def refused(self, reason, began):
        # A standby may not know of the login yet.
        if self.allowance == MAX_STALENESS:
            self.facts.fault(f"{self.name}: a session that lives is refused: {reason}")

    def equals(self, conn, tokens):
        """Fills the cache and compares all that it has with the tables: how many entries."""
        # A flush that is still on its way empties once more.
        for _ in range(5):
            if not self.listener.sync(60):
                self.facts.fault(f"{self.name}: never caught up")
            for token in tokens:
                with contextlib.suppress(Refused, Unavailable):
                    self.tokens.verify(token)
            if self.listener.sync(60) and self.tokens.stats().entries > len(tokens) / 5:
                break
        cached = 0
        for token in tokens:
            identity = self.tokens.peek(token)
            if identity is None:
                continue
            cached += 1
            valid, _, version, _ = conn.execute(CHECK, [token]).fetchone()
            if (valid, version) != (True, identity.session_version):
                self.facts.fault(f"{self.name}: an entry of the cache is not what the tables say")
        return cached

    def close(self):
        self.listener.close()
        self.pool.close()


class Prober(Worker):
    """How long verification is away: one session that nobody ends."""

    def __init__(self, facts, cluster):
        super().__init__(facts, cluster.bouncer, "verification")
        self.token = None

    def step(self, conn):
        if self.token is None:
            self.token = conn.execute("SELECT auth.issue_jwt(%s, ttl => '1 day')", [str(STANDING)]).fetchone()[0]
        conn.execute("SELECT auth.verify_jwt(%s)", [self.token])
        self.facts.answered("verification")


class Follower(Worker):
    """Reads the log by a cursor that it never lets go, and the versions beside it."""

    def __init__(self, facts, cluster):
        super().__init__(facts, cluster.bouncer, "follower")
        self.cursor, self.flushed, self.flushes, self.taken = None, 0.0, 0, 0
        self.told, self.missing, self.highest = set(), {}, {}

    def step(self, conn):
        if self.cursor is None:
            self.flushed = time.monotonic()
            self.cursor = conn.execute("SELECT auth.invalidation_cursor()").fetchone()[0]
        began = time.monotonic()
        rows = conn.execute("SELECT event, next_cursor FROM auth.invalidations_since(%s)", [self.cursor]).fetchall()
        returned = time.monotonic()
        events = [event for event, _ in rows]
        if rows:
            self.cursor = rows[0][1]
        if FLUSH in events:
            self.flushes, self.flushed = self.flushes + 1, returned
            self.missing.clear()
        for event in map(named, (event for event in events if event != FLUSH)):
            if event in self.told:
                self.facts.fault(f"follower: {event} came twice")
            self.told.add(event)
        with self.facts.lock:
            new, self.taken = self.facts.changes[self.taken :], len(self.facts.changes)
        # A change that was on its way when a flush came is in it, or comes after it.
        self.missing |= {change.event: change for change in new if change.began > self.flushed}
        self.missing = {event: change for event, change in self.missing.items() if event not in self.told}
        for change in self.missing.values():
            if change.returned < began:
                self.facts.fault(f"follower: {change.event} was not told {began - change.returned:.3f} s after its COMMIT returned")
        self.watch_versions(conn)
        time.sleep(0.2)

    def watch_versions(self, conn):
        with self.facts.lock:
            confirmed = dict(self.facts.versions)
        for user, version in conn.execute("SELECT id, session_version FROM users").fetchall():
            least = max(confirmed.get(user, 0), self.highest.get(user, 0))
            if version < least:
                self.facts.fault(f"the version of user {user} went back from {least} to {version}")
            self.highest[user] = max(version, least)


def named(event):
    """As a Change has it."""
    kind = event["kind"]
    if kind == "user":
        return kind, event["id"], event["session_version"]
    return kind, event.get({"session": "sid", "token": "jti", "issuer": "issuer"}.get(kind))


class Watcher(Worker):
    """Whom the leader waits for."""

    def __init__(self, facts, cluster):
        super().__init__(facts, cluster.bouncer, "watcher")

    def step(self, conn):
        asked = time.monotonic()
        query = """SELECT inet_server_port(), coalesce(array_agg(application_name) FILTER (WHERE sync_state = 'sync'), '{}')
            FROM pg_stat_replication"""
        leader, names = conn.execute(query).fetchone()
        self.facts.synchronous.append((asked, time.monotonic(), leader, set(names)))
        time.sleep(0.1)


class Load:
    """All of them."""

    def __init__(self, facts, cluster):
        nodes = cluster.nodes.items()
        self.writers = [Writer(facts, cluster, number) for number in range(WRITERS)]
        self.follower = Follower(facts, cluster)
        self.nodes = {name: NodeVerifier(facts, cluster, node) for name, node in nodes}
        self.application = CacheVerifier(facts, "cache of the leader", cluster.leader_conninfo, cluster.bouncer, MAX_STALENESS)
        # What a standby may be behind, and then the cache.
        allowance = STALENESS + MAX_STALENESS
        self.caches = {name: CacheVerifier(facts, f"cache of node {name}", node.conninfo(), node.conninfo(), allowance) for name, node in nodes}
        self.workers = [
            *self.writers,
            *(BouncerVerifier(facts, cluster.bouncer, f"through PgBouncer {number}") for number in range(2)),
            *self.nodes.values(),
            self.application,
            *self.caches.values(),
            self.follower,
            Prober(facts, cluster),
            Watcher(facts, cluster),
        ]

        self.answered = {"writes"} | {worker.name for worker in self.workers if isinstance(worker, Verifier | Prober)}

    def start(self):
        for worker in self.workers:
            worker.start()

    def stop(self):
        for worker in self.workers:
            worker.over.set()
        for worker in self.workers:
            worker.join(20)
