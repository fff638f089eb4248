"""Kills the leader under load, again and again, and freezes it, and says what became of sessions, cursors and caches.

failover.py [KILLS [FREEZES]]

Ends with 1, and with what was wrong, if a session that had ended was accepted, or anything was lost.
"""

import contextlib
import logging
import statistics
import sys
import threading
import time

import psycopg
from cluster import STALENESS, Cluster, wait
from facts import Facts
from load import FLUSH, FROZEN, Load, named

BEFORE, AFTER = 4, 4
WHAT = {
    "verification, through PgBouncer": ["verification"],
    "verification, through the cache": ["cache of the leader"],
    "verification, on any standby": None,
    "ending a session": ["writes"],
}


class Story:
    """What happens, and what has to hold after each of it."""

    def __init__(self):
        self.cluster = Cluster()
        wait("three nodes", self.cluster.is_whole)
        self.facts = Facts()
        self.load = Load(self.facts, self.cluster)
        self.away = {what: [] for what in WHAT}
        self.woken, self.cursors = [], {"flushed": 0, "complete": 0}

    def tell(self, text):
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def connect(self, node, user="app"):
        return psycopg.connect(node.conninfo(user), autocommit=True)

    # --- one failover ---

    def fail(self, number, freezes):
        if self.facts.faults:
            self.give_up()
        wait("three nodes", self.cluster.is_whole)
        time.sleep(BEFORE)
        old = self.cluster.leader()
        cursors = self.take_cursors()
        since = time.monotonic()
        if freezes:
            bumping = self.freeze(old)
        else:
            old.kill()
        new = wait("a new leader", lambda: self.cluster.leader(without=old))
        wait("a session that ends again", lambda: self.facts.seen["writes"][-1] > since + 1)
        wait("verification", lambda: self.facts.seen["verification"][-1] > since + 1)
        until = time.monotonic()
        others = [f"node {name}" for name in self.cluster.nodes if name != old.name]
        gaps = {what: self.facts.away(answers or others, since, until) for what, answers in WHAT.items()}
        for what, gap in gaps.items():
            self.away[what].append(gap)
        gone = ", ".join(f"{gap:.1f} s {what}" for what, gap in gaps.items())
        self.tell(f"{number}: {old.name} {'frozen' if freezes else 'killed'}, {new.name} leads; away: {gone}")
        self.check_ended(new)
        self.check_cursors(new, cursors)
        time.sleep(AFTER)
        if freezes:
            self.thaw(old, bumping)
        else:
            old.start()
        wait("three nodes", self.cluster.is_whole)
        self.check_ended(self.cluster.synchronous())

    def freeze(self, old):
        """Nobody tells it that it no longer leads; somebody is about to end a session there."""
        self.load.nodes[old.name].stale = self.load.caches[old.name].stale = True
        conn = self.connect(old)
        old.freeze()
        bumping = threading.Thread(target=self.bump, args=[conn], daemon=True)
        bumping.start()
        return bumping

    def bump(self, conn):
        with contextlib.suppress(psycopg.Error), conn:
            conn.execute("SELECT auth.bump_session_version('99')")
            self.facts.fault("a leader that was frozen confirmed a COMMIT")

    def thaw(self, old, bumping):
        """It wakes up as a leader, and must confirm nothing to anybody."""
        self.tell(f"{old.name} thawed")
        since = time.monotonic()
        old.thaw()
        wait("the old leader's end", lambda: self.has_stepped_down(old))
        now = time.monotonic()
        bumping.join(30)
        answers = [when for when in self.facts.seen.get(FROZEN, []) if when > since]
        self.woken.append((max(answers, default=since) - since, now - since))
        self.load.nodes[old.name].stale = self.load.caches[old.name].stale = False

    def has_stepped_down(self, node):
        try:
            with self.connect(node) as conn:
                return conn.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        except psycopg.OperationalError:
            return False

    # --- what has to hold ---

    def check_ended(self, node):
        """Whatever had ended before the question, each by itself."""
        with self.facts.lock:
            ended = list(self.facts.ended)
        with self.connect(node) as conn:
            query = "SELECT count(*), count(*) FILTER (WHERE (auth.check_jwt(token)).valid) FROM unnest(%s::text[]) token"
            asked, accepted = conn.execute(query, [ended]).fetchone()
        if accepted or asked != len(ended):
            self.facts.fault(f"{accepted} of {asked} ended sessions are accepted by {node.name}")

    def take_cursors(self):
        taken = {}
        for name, node in self.cluster.nodes.items():
            with self.connect(node) as conn:
                cursor = conn.execute("SELECT auth.invalidation_cursor()").fetchone()[0]
            taken[name] = cursor, time.monotonic()
        return taken

    def check_cursors(self, leader, cursors):
        """All that has ended since it was taken, or a flush."""
        with self.connect(leader) as conn:
            for name, (cursor, taken) in cursors.items():
                asked = time.monotonic()
                rows = conn.execute("SELECT event FROM auth.invalidations_since(%s)", [cursor]).fetchall()
                events = [event for (event,) in rows]
                if FLUSH in events:
                    self.cursors["flushed"] += 1
                    continue
                self.cursors["complete"] += 1
                self.check_events(name, events, taken, asked)

    def check_events(self, name, events, taken, asked):
        told = set(map(named, events))
        with self.facts.lock:
            due = [change for change in self.facts.changes if change.began > taken and change.returned < asked]
        lost = [change.event for change in due if change.event not in told]
        if lost:
            self.facts.fault(f"a cursor of {name} lost {len(lost)} events: {lost[:3]}")

    def check_suspects(self):
        """What a standby accepted though it had ended: one that the COMMIT waited for may never, another not for long."""
        for name, asked, change in self.facts.suspects:
            late = asked - change.returned
            if late <= 0:
                continue
            self.facts.is_late("a standby that nobody waits for", late)
            if self.facts.was_synchronous(name, change):
                self.facts.fault(f"{change.event} accepted by the synchronous standby {name} {late:.3f} s after its COMMIT returned")
            elif late > STALENESS + 1:
                self.facts.fault(f"{change.event} accepted by {name} {late:.3f} s after its COMMIT returned")

    def check_tables(self):
        """On every node."""
        facts = self.facts
        for node in self.cluster.nodes.values():
            self.check_ended(node)
            with self.connect(node) as conn:
                for user, version in conn.execute("SELECT id, session_version FROM users").fetchall():
                    least = facts.versions.get(user, 0)
                    if not least <= version <= least + facts.doubtful.get(user, 0) and user < 98:
                        facts.fault(f"{node.name}: user {user} is at {version}, confirmed were {least}, in doubt {facts.doubtful.get(user, 0)}")
                query = "SELECT count(*) FILTER (WHERE (auth.check_jwt(token)).valid) FROM unnest(%s::text[]) token"
                valid = conn.execute(query, [list(facts.live)]).fetchone()[0]
                if valid != len(facts.live):
                    facts.fault(f"{node.name}: {len(facts.live) - valid} of {len(facts.live)} sessions that live are refused")

    def check_relay(self):
        """The workers are where the leader is, and nothing is left to be told."""
        query = "SELECT relay_running AND relay_pending_events = 0 AND launcher_pid IS NOT NULL FROM auth.health()"
        with self.connect(self.cluster.leader()) as conn:
            conn.execute("SELECT auth.bump_session_version('98')")
            wait("the relay", lambda: conn.execute(query).fetchone()[0])

    def check_caches(self):
        tokens = [*self.facts.live, *self.facts.recent[-200:]]
        caches = {None: self.load.application, **self.load.caches}
        counts = []
        for name, cache in caches.items():
            with self.connect(self.cluster.nodes[name] if name else self.cluster.leader()) as conn:
                counts.append(cache.equals(conn, tokens))
            if counts[-1] < len(self.facts.live) / 2:
                self.facts.fault(f"{cache.name}: only {counts[-1]} entries of {len(self.facts.live)} sessions")
        return counts

    # --- all of it ---

    def run(self, kills, freezes):
        self.began = time.monotonic()
        self.load.start()
        wait("answers to everybody", lambda: self.load.answered <= self.facts.seen.keys())
        # A freeze among the kills, not all of them last.
        total = kills + freezes
        frozen = {(n + 1) * total // (freezes + 1) for n in range(freezes)}
        for number in range(1, total + 1):
            self.fail(number, number in frozen)
        time.sleep(BEFORE)
        self.load.stop()
        wait("three nodes", self.cluster.is_whole)
        self.check_tables()
        self.check_relay()
        cached = self.check_caches()
        self.check_suspects()
        self.report(cached)

    def give_up(self):
        raise SystemExit("\n".join(["", "WRONG:", *self.facts.faults[:20]]))

    def report(self, cached):
        facts, failovers = self.facts, len(self.away["ending a session"])
        print(f"\n{f'away, in seconds ({failovers} failovers)':<47}   min  median     max")
        for what, gaps in self.away.items():
            print(f"  {what:<45}{min(gaps):6.1f}{statistics.median(gaps):8.1f}{max(gaps):8.1f}")
        verified = sum(len(times) for what, times in facts.seen.items() if what != "writes")
        print(f"\n{verified} verifications; {facts.logins} logins, {len(facts.changes)} changes that ended {len(facts.ended)} sessions, {facts.unanswered} without an answer")
        print(f"cursors of before: {self.cursors['flushed']} flushed, {self.cursors['complete']} complete; the follower was flushed {self.load.follower.flushes} times")
        print(f"entries of the caches, all as the tables: {', '.join(map(str, cached))}")
        for where, (count, worst) in facts.late.items():
            print(f"accepted after its end by {where}: {count}, at the latest {worst:.2f} s")
        if self.woken:
            answered, demoted = map(max, zip(*self.woken))
            print(f"{FROZEN} answered for {answered:.2f} s after it woke up, and was a standby after {demoted:.1f} s, at the latest")
        if len(facts.changes) < 100 * failovers or verified < 1000 * failovers:
            facts.fault("too little happened")
        if facts.faults:
            self.give_up()


if __name__ == "__main__":
    # Connections are lost here all the time.
    logging.disable(logging.WARNING)
    kills, freezes = (*map(int, sys.argv[1:]), *[10, 2][len(sys.argv) - 1 :])
    Story().run(kills, freezes)
