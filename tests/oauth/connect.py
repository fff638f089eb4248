"""Connects psycopg 3 with a token of one's own, by the hook of libpq 18 that psycopg does not offer yet."""

import ctypes
import json
import os
import sys

import psycopg


class BearerRequest(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("run", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


HOOK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(BearerRequest))
OAUTH_BEARER_TOKEN = 1


def bring_tokens(get_token):
    """Every connection of this process that the server asks for a token brings the one of get_token()."""

    @HOOK
    def hook(kind, _connection, request):
        if kind != OAUTH_BEARER_TOKEN:
            return 0
        # libpq reads it after we return: it is kept as long as the hook.
        hook.token = get_token().encode()
        request.contents.token = hook.token
        return 1

    bring_tokens.hook = hook
    libpq().PQsetAuthDataHook(hook)


def libpq():
    """The libpq that psycopg has loaded; 18 or later, else it has no such hook."""
    with open("/proc/self/maps") as maps:
        loaded = {line.split()[-1] for line in maps if "libpq" in line}
    return ctypes.CDLL(loaded.pop())


if __name__ == "__main__":
    bring_tokens(lambda: os.environ["TOKEN"])
    with psycopg.connect(sys.argv[1], oauth_issuer=os.environ["ISSUER"], oauth_client_id="app") as connection:
        print(json.dumps(connection.execute("SELECT current_user, auth.user_id()").fetchone()))
