"""What comes and goes is servers and connections, and this process."""

import os
import random
import signal
import subprocess
import threading
import time

import pytest
from server import Server
from test_random import BOUND, EVENTS, Run, seed

from proxy import Proxy


@pytest.mark.parametrize(("notify", "driver"), [("inline", "asyncpg"), ("relay", "psycopg")])
def test_whatever_happens_to_server_and_connections_the_bound_holds(notify, driver):
    chosen = seed()
    server = Server(f"chaos_{notify}", shared_preload_libraries="auth_ext", **{"auth_ext.notify": notify})
    try:
        db = server.application("chaos")
        proxy = Proxy(server.socket)
        run = Run(server, db, driver, chosen, f"postgresql://postgres@127.0.0.1:{proxy.port}/{db}?sslmode=disable")

        def backends(what):
            with server.connect(db) as conn:
                return [row[0] for row in conn.execute(f"SELECT pid FROM pg_stat_activity WHERE {what}")]

        def terminate(what="application_name = 'auth_ext listener'"):
            with server.connect(db) as conn:
                for pid in backends(what):
                    conn.execute("SELECT pg_terminate_backend(%s)", [pid])

        def again_and_again():
            for _ in range(3):
                terminate()
                time.sleep(0.2)

        def end_the_relay():
            terminate("backend_type = 'auth_ext relay'")

        def hang():
            hanging = backends("application_name = 'auth_ext listener'")
            for pid in hanging:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(1.5 * BOUND)
            for pid in hanging:
                os.kill(pid, signal.SIGCONT)

        def pause():
            # Of this whole process, by one that wakes it again.
            subprocess.run(["sh", "-c", f"kill -STOP $PPID; sleep {1.5 * BOUND}; kill -CONT $PPID"], check=True)

        def deaf():
            proxy.deaf.set()
            time.sleep(1.5 * BOUND)
            proxy.hear_again()

        def restart():
            server.stop("fast")
            server.start()

        troubles = [
            terminate,
            again_and_again,
            end_the_relay,
            restart,
            server.kill_9,
            hang,
            pause,
            deaf,
        ]
        random.Random(chosen).shuffle(troubles)
        with run.readers():
            for trouble in troubles:
                # Changes go on while it happens.
                writing = threading.Thread(target=run.write, args=[EVENTS // 10])
                writing.start()
                time.sleep(0.1)
                trouble()
                writing.join()
                print(f"{trouble.__name__}: {run.is_equal()} entries are as in the tables")
        run.finish()
        proxy.close()
    finally:
        server.stop()
