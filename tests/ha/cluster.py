"""Three nodes under Patroni with one etcd, and a PgBouncer that follows their leader. All in one folder, on loopback."""

import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
RUN = Path(os.environ["AUTH_EXT_RUN"]) / "ha"
BIN = Path(os.environ["AUTH_EXT_PG_BIN"])
NEIGHBOURS = Path(os.environ["AUTH_EXT_NEIGHBOURS"])
OS_USER = os.environ["AUTH_EXT_OS_USER"]

NAMES = ["one", "two", "three"]
# The shortest time to live that Patroni takes, and so the shortest failover.
TIMES = {"ttl": 20, "loop_wait": 5, "retry_timeout": 5}
STALENESS = 45
PARAMETERS = {
    "shared_preload_libraries": "auth_ext",
    "synchronous_commit": "remote_apply",
    "auth_ext.notify": "relay",
    "auth_ext.standby_heartbeat": "5s",
    "auth_ext.max_standby_staleness": f"{STALENESS}s",
    # No process that is killed here takes the operating system along.
    "fsync": "off",
    "wal_log_hints": "on",
}
PATIENCE = 300


def wait(for_what, is_so, seconds=PATIENCE):
    """What `is_so` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (answer := is_so()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{for_what}: not within {seconds} s")
        time.sleep(0.1)
    return answer


def free_ports(count):
    """Below those that the system gives to whoever connects: else one could be taken while its server is dead."""
    found = []
    for port in random.sample(range(20000, 32000), 1000):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def run(home, command, **options):
    """A program as the servers' user, at home in a folder: that is how tests/failover finds it again."""
    as_user = []
    if os.geteuid() == 0:
        as_user = ["setpriv", f"--reuid={OS_USER}", f"--regid={OS_USER}", "--init-groups", "--"]
    log = (home / "log").open("a")
    return subprocess.Popen([*as_user, *map(str, command)], cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)


def folder(name):
    home = RUN / name
    home.mkdir(parents=True)
    if os.geteuid() == 0:
        for one in (RUN, home):
            subprocess.run(["chown", OS_USER, one], check=True)
    home.chmod(0o755)
    return home


class Node:
    """A server and its Patroni."""

    def __init__(self, name, ports, etcd, bouncer):
        self.name, (self.port, self.rest) = name, ports
        self.home = folder(name)
        self.configuration = self.home / "patroni.json"
        self.configuration.write_text(json.dumps(self._configure(etcd, bouncer)))
        self.patroni = None

    def _configure(self, etcd, bouncer):
        route = f"{HERE / 'route'} {bouncer} {self.port}"
        everybody = [f"host {what} all 127.0.0.1/32 trust" for what in ("all", "replication")]
        return {
            "scope": "ha",
            "name": self.name,
            # Not "etcd3": through that, Patroni before 3.0.3 lets a leader that was frozen take the lock back.
            "etcd": {"host": f"127.0.0.1:{etcd}"},
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            "bootstrap": {
                "dcs": {
                    **TIMES,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": PARAMETERS},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.home / "data"),
                "bin_dir": str(BIN),
                "pgpass": str(self.home / "pgpass"),
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "replicator", "password": "none"}},
                "parameters": {"unix_socket_directories": str(self.home)},
                "pg_hba": ["local all all trust", *everybody],
                "callbacks": {"on_start": route, "on_role_change": route},
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }

    def start(self):
        self.patroni = run(self.home, [NEIGHBOURS / "patroni", self.configuration])

    def _processes(self):
        """Of Patroni, of the server, and of what they started."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                home = os.readlink(process / "cwd")
            except OSError:
                continue
            if home == str(self.home) or home.startswith(f"{self.home}/"):
                yield int(process.name)

    def _signal(self, number, pids):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        """At once: Patroni, which would start the server again, and the server. Its children notice."""
        postmaster = int((self.home / "data/postmaster.pid").read_text().split()[0])
        self._signal(signal.SIGKILL, [self.patroni.pid, postmaster])
        self.patroni.wait()

    def freeze(self):
        """As a machine whose hypervisor stops it: nothing on it knows."""
        self._signal(signal.SIGSTOP, self._processes())

    def thaw(self):
        self._signal(signal.SIGCONT, self._processes())

    def conninfo(self, user="app"):
        return f"host=127.0.0.1 port={self.port} user={user} dbname=app connect_timeout=3"

    def status(self):
        """What its Patroni says of the cluster."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/cluster", timeout=2) as answer:
                return {member["name"]: member for member in json.load(answer)["members"]}
        except (OSError, ValueError):
            return {}


class Cluster:
    """What an application connects to: `bouncer` for what goes to the leader, `leader` for a listener."""

    def __init__(self):
        etcd, peer, *ports = free_ports(2 + 2 * len(NAMES))
        self.bouncer_home = folder("pgbouncer")
        self.bouncer = f"host={self.bouncer_home} port=5432 user=app dbname=app connect_timeout=5"
        self.nodes = {name: Node(name, ports[2 * n : 2 * n + 2], etcd, self.bouncer_home) for n, name in enumerate(NAMES)}
        hosts = ",".join("127.0.0.1" for _ in NAMES)
        everywhere = ",".join(str(node.port) for node in self.nodes.values())
        self.leader_conninfo = f"host={hosts} port={everywhere} user=app dbname=app target_session_attrs=read-write connect_timeout=3"
        self._start_etcd(etcd, peer)
        for node in self.nodes.values():
            node.start()
        # A leader alone confirms nothing.
        wait("three nodes", self.is_whole)
        self._make_application(self.leader())
        self._start_bouncer(self.leader())

    def _start_etcd(self, port, peer):
        home = folder("etcd")
        url, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
        run(home, [
            NEIGHBOURS / "etcd", "--enable-v2", "--data-dir", home / "data", "--name", "etcd", "--initial-cluster", f"etcd={peers}",
            "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
        ])  # fmt: skip

    def _make_application(self, leader):
        admin = f"host=127.0.0.1 port={leader.port} user=postgres"
        with psycopg.connect(f"{admin} dbname=postgres", autocommit=True) as conn:
            conn.execute("CREATE DATABASE app")
        with psycopg.connect(f"{admin} dbname=app") as conn:
            conn.execute((HERE / "schema.sql").read_text())

    def _start_bouncer(self, leader):
        home = self.bouncer_home
        subprocess.run([HERE / "route", home, str(leader.port), "on_start", "master", "ha"], check=True)
        (home / "pgbouncer.ini").write_text((HERE / "pgbouncer.ini").read_text().replace("HOME", str(home)))
        run(home, [NEIGHBOURS / "pgbouncer", home / "pgbouncer.ini"])

    def members(self, without=None):
        """What the first Patroni that answers says."""
        for node in self.nodes.values():
            if node is not without and (members := node.status()):
                return members
        return {}

    def leader(self, without=None):
        for name, member in self.members(without).items():
            if member["role"] == "leader" and self.nodes[name] is not without:
                return self.nodes[name]
        return None

    def synchronous(self):
        """The standby that the leader waits for."""
        return next((self.nodes[name] for name, member in self.members().items() if member["role"] == "sync_standby"), None)

    def is_whole(self):
        members = self.members()
        followers = [member for member in members.values() if member["role"] != "leader"]
        following = [one for one in followers if one["state"] in ("running", "streaming") and one.get("lag") == 0]
        roles = [member["role"] for member in members.values()]
        timelines = {member.get("timeline") for member in members.values()}
        return len(following) == len(NAMES) - 1 and "sync_standby" in roles and "leader" in roles and len(timelines) == 1
