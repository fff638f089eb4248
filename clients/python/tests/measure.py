"""What the cache costs and saves; the table of README.md. `clients/python/test --measure`"""

import gc
import subprocess
import sys
import threading
import time
import tracemalloc

import psycopg
from psycopg_pool import ConnectionPool
from server import Server, issue

from auth_ext import Identity, Listener, TokenCache
from auth_ext._hearing import Hearing
from auth_ext._identity import token_answer, token_question
from auth_ext._store import Store


def percentile(times, share):
    return sorted(times)[int(len(times) * share)] * 1e6


def a_second(work, seconds=3.0):
    """How often a second, and the times."""
    times, until = [], time.perf_counter() + seconds
    began = time.perf_counter()
    while (at := time.perf_counter()) < until:
        work()
        times.append(time.perf_counter() - at)
    return len(times) / (time.perf_counter() - began), times


def memory(count=100_000):
    """Of entries with their indexes, as answers of a database make them."""
    hearing = Hearing(1e9)
    hearing.renew(hearing.now())
    store = Store(hearing, count, 1e9)
    claims = '{"aud": "api", "exp": 1798000000, "iat": 1790000000, "iss": "https://api.example", "jti": "%s", "sid": "%s", "sub": "%s", "session_version": 3}'
    gc.collect()
    tracemalloc.start()
    for n in range(count):
        jti, sid = f"00000000-0000-4000-8000-{n:012}", f"10000000-0000-4000-8000-{n:012}"
        row = (True, None, str(n // 2), 3, 3, jti, "https://api.example", "key", claims % (jti, sid, n // 2), sid, None, None, 1e9)
        answer = token_answer(row)
        assert isinstance(answer.value, Identity)
        assert store.keep(token_question(f"{n}").key, answer, hearing.clock, hearing.now())
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / 1e6


def bump(conninfo, seconds=12, connections=6):
    """A thousand a second of other users, in another process; prints how many it was."""
    print("begins", flush=True)
    done = [0] * connections

    def work(number):
        with psycopg.connect(conninfo, autocommit=True) as conn:
            began = time.monotonic()
            while (spent := time.monotonic() - began) < seconds:
                conn.execute("SELECT auth.bump_session_version(%s)", [str(1000 + (done[number] * connections + number) % 29000)])
                done[number] += 1
                time.sleep(max(0.0, done[number] * connections / 1000 - spent))

    threads = [threading.Thread(target=work, args=[number]) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(done) / seconds)


def main():
    server = Server("measure")
    try:
        db = server.application("measure")
        conn = server.connect(db)
        conn.execute("INSERT INTO users (id) SELECT generate_series(1000, 30000)")
        held = [issue(conn, user) for user in range(1, 51)]
        with ConnectionPool(server.conninfo(db), min_size=2) as pool, Listener(server.conninfo(db)) as listener:
            assert listener.sync(10)
            cache = TokenCache(listener, pool.connection, max_age=600)
            token = held[0]
            asked, times = a_second(lambda: conn.execute("SELECT auth.verify_jwt(%s)", [token]).fetchone())
            print(f"| a round trip each: `verify_jwt` on one connection | {asked:,.0f}/s | {percentile(times, 0.99):,.0f} µs | {percentile(times, 0.999):,.0f} µs |")
            cache.verify(token)
            cached, times = a_second(lambda: cache.verify(token))
            print(f"| through the cache | {cached:,.0f}/s | {percentile(times, 0.99):,.1f} µs | {percentile(times, 0.999):,.0f} µs |")
            bumping = subprocess.Popen([sys.executable, __file__, "bump", server.conninfo(db)], stdout=subprocess.PIPE, text=True)
            bumping.stdout.readline()
            tokens, number = held, [0]

            def next_one():
                number[0] += 1
                cache.verify(tokens[number[0] % len(tokens)])

            for _ in tokens:
                next_one()
            storm, times = a_second(next_one, 10)
            heard = cache._hearing.clock
            rate = float(bumping.communicate()[0])
            print(f"| through the cache, while others are bumped {rate:,.0f} times a second | {storm:,.0f}/s | {percentile(times, 0.99):,.1f} µs | {percentile(times, 0.999):,.0f} µs |")
            print(f"{heard:,} events heard, {cache.stats()}")
            print(f"cached / round trip: {cached / asked:.0f}")
    finally:
        server.stop()
    print(f"100,000 entries: {memory():.0f} MB")


if sys.argv[1:2] == ["bump"]:
    bump(sys.argv[2])
else:
    main()
