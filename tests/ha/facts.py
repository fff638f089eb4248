"""What the load has done and seen, and what may not be."""

import bisect
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Change:
    """Something that ended, and the event that tells it. `returned`: when its COMMIT had."""

    event: tuple
    began: float
    returned: float


@dataclass
class Facts:
    """All times are of one monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    live: dict = field(default_factory=dict)  # token: user
    ended: dict = field(default_factory=dict)  # token: its Change
    recent: list = field(default_factory=list)  # of `ended`, in order
    changes: list = field(default_factory=list)
    versions: dict = field(default_factory=dict)  # user: the last that a COMMIT confirmed
    doubtful: dict = field(default_factory=dict)  # user: how many bumps have no answer
    faults: list = field(default_factory=list)
    seen: dict = field(default_factory=dict)  # what: when it answered, ascending
    late: dict = field(default_factory=dict)  # where: the latest answers that were no longer true
    suspects: list = field(default_factory=list)  # (node, when asked, Change): a standby did not know yet
    synchronous: list = field(default_factory=list)  # (asked, answered, leader, names)
    logins: int = 0
    unanswered: int = 0

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def answered(self, what):
        self.seen.setdefault(what, []).append(time.monotonic())

    def is_late(self, where, seconds):
        with self.lock:
            count, worst = self.late.get(where, (0, 0.0))
            self.late[where] = count + 1, max(worst, seconds)

    def end(self, tokens, change):
        with self.lock:
            for token in tokens:
                self.ended[token] = change
                self.recent.append(token)
            self.changes.append(change)

    def away(self, whats, since, until):
        """The longest time within which none of these answered."""
        times = [since]
        for what in whats:
            seen = self.seen.get(what, [])
            times += seen[bisect.bisect(seen, since) : bisect.bisect(seen, until)]
        times = sorted([*times, until])
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def was_synchronous(self, node, change):
        """Was this certainly a standby that the COMMIT waited for? Asked before and after, of the same leader."""
        before = [one for one in self.synchronous if one[1] < change.began]
        after = [one for one in self.synchronous if one[0] > change.returned]
        if not before or not after:
            return False
        return before[-1][2] == after[0][2] and node in before[-1][3] and node in after[0][3]
