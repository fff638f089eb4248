"""What the tests ask a process that caches: "N get KIND ID", "N peek KIND ID", "N sync", "N fresh"; the answer is
N and JSON. Several may be asked at once. Arguments: a connection string, and the greatest staleness in seconds."""

import json
import sys
import threading

import psycopg
from listener import Listener

conninfo, max_staleness = sys.argv[1], float(sys.argv[2])
listener = Listener(conninfo, max_staleness)
printing, loading = threading.Lock(), threading.Lock()
loader = None


def load(kind, id):
    global loader
    with loading:
        if loader is None or loader.closed:
            loader = psycopg.connect(conninfo, autocommit=True)
        return loader.execute("SELECT load(%s, %s)", [kind, id]).fetchone()[0]


def get(kind, id):
    loaded = []
    row = listener.get(kind, id, lambda id: loaded.append(True) or load(kind, id))
    return {"row": row, "cached": not loaded}


def answer(number, command, *arguments):
    try:
        result = {
            "get": get,
            "peek": listener.peek,
            "sync": listener.sync,
            "fresh": lambda: listener.fresh,
        }[command](*arguments)
    except psycopg.Error as error:
        result = {"error": str(error)}
    with printing:
        print(number, json.dumps(result), flush=True)


for line in sys.stdin:
    threading.Thread(target=answer, args=line.split(), daemon=True).start()
