"""The service that adopts the extension, as far as its libraries make what is stored and sent.

service.py rows             its users and API keys, as its tables hold them
service.py sign             a token of the claims on standard input
service.py event            a token of these {"claims"} and {"headers"}, null taking out what the library would put there
service.py decode           the claims of the token on standard input, or the name of the exception
service.py hash             the bcrypt hash of the text {"plain"} at a cost of {"rounds"}
service.py matches          does the stored hash {"hash"} hold for the text {"plain"}?
service.py devices N SEED   random device fingerprints with their hashes

Answers in JSON.
"""

import hashlib
import json
import random
import secrets
import sys
from datetime import datetime, timezone

import bcrypt
import jwt

SECRET = "auth-ext-interop-secret-0123456789abcdef"
ISSUER = "api.robosystems.ai"
AUDIENCE = ["robosystems.ai", "roboledger.ai", "roboinvestor.ai"]


def hashed(plain, rounds, prefix=b"2b"):
    return bcrypt.hashpw(plain.encode(), bcrypt.gensalt(rounds, prefix)).decode()


def user(name, number, **columns):
    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(sep=" ")
    return {
        "id": f"user_01ARZ3NDEKTSV4RRFFQ69G5FA{number}",
        "email": f"{name}@example.com",
        "name": name.title(),
        # The service's cost is 14; nobody verifies these here.
        "password_hash": hashed(name, 4),
        "is_active": True,
        "email_verified": True,
        "created_at": now,
        "updated_at": now,
        **columns,
    }


def api_key(owner, name, rounds=12, prefix=b"2b", **columns):
    plain = "rfs" + secrets.token_hex(32)
    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(sep=" ")
    row = {
        "id": f"uak_{name}",
        "user_id": owner["id"],
        "name": name,
        "key_hash": hashed(plain, rounds, prefix),
        "prefix": plain[:8],
        "is_active": True,
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    return {"plain": plain, "sha256": hashlib.sha256(plain.encode()).hexdigest(), "row": row}


def rows():
    ada, bob, eve = user("ada", "V"), user("bob", "W"), user("eve", "X", is_active=False)
    keys = [
        api_key(ada, "plain"),
        api_key(ada, "old_prefix", 10, b"2a"),
        api_key(ada, "lasting", 6, expires_at="2999-12-31 23:59:59"),
        api_key(ada, "expired", 6, expires_at="2020-01-01 00:00:00"),
        api_key(ada, "ended", 6, is_active=False),
        api_key(eve, "of_inactive", 6),
    ]
    return {"users": {row["name"]: row for row in (ada, bob, eve)}, "keys": {key["row"]["name"]: key for key in keys}}


def decode(token):
    try:
        return jwt.decode(token, SECRET, algorithms=["HS256"], issuer=ISSUER, audience=AUDIENCE)
    except jwt.PyJWTError as error:
        return type(error).__name__


class Devices:
    """Objects of all that JSON has, as jsonb keeps it: no U+0000, no -0.0, no float that is written with an
    exponent of more than 15."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        ranges = [(0x20, 0x7E), (0x20, 0x7E), (0x01, 0x1F), (0x7F, 0xFF), (0x100, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
        pick = lambda: chr(self.random.randint(*self.random.choice(ranges)))
        return "".join(pick() for _ in range(self.random.randint(0, 12)))

    def number(self):
        whole = self.random.randint(-(10 ** self.random.randint(1, 40)), 10 ** self.random.randint(1, 40))
        fraction = self.random.uniform(-1, 1) * 10.0 ** self.random.randint(-12, 14) or 0.5
        return self.random.choice([whole, fraction, round(fraction, 2) or 0.25, 0, 1.0])

    def value(self, depth):
        kinds = [self.text, self.number, lambda: self.random.choice([True, False, None])]
        if depth < 5:
            kinds += [lambda: self.object(depth + 1), lambda: [self.value(depth + 1) for _ in range(self.random.randint(0, 4))]]
        return self.random.choice(kinds)()

    def object(self, depth=1, least=0):
        return {self.text(): self.value(depth) for _ in range(self.random.randint(least, 6))}


def devices(count, seed):
    make = Devices(seed)
    for _ in range(count):
        device = make.object(least=1)
        canonical = json.dumps(device, sort_keys=True)
        # As a client would send it: unsorted, and not escaped.
        sent = json.dumps(device, ensure_ascii=False)
        yield {"device": sent, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def main(command, *arguments):
    if command == "rows":
        return rows()
    if command == "devices":
        return list(devices(*map(int, arguments)))
    given = json.load(sys.stdin)
    if command == "sign":
        return jwt.encode(given, SECRET, algorithm="HS256")
    if command == "event":
        return jwt.encode(given["claims"], SECRET, algorithm="HS256", headers=given["headers"])
    if command == "decode":
        return decode(given)
    if command == "hash":
        return hashed(given["plain"], given["rounds"])
    if command == "matches":
        return bcrypt.checkpw(given["plain"].encode(), given["hash"].encode())
    raise SystemExit(__doc__)


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
