"""Passwords, as they are stored."""

import asyncio
import hashlib
import hmac
import os

NOBODY = "00" * 48
"""What to compare with when there is no such user, so that it takes as long."""


async def _scrypt(password: str, salt: bytes) -> bytes:
    # Slow on purpose, so not in the loop.
    return await asyncio.to_thread(hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)


async def hashed(password: str) -> str:
    salt = os.urandom(16)
    return (salt + await _scrypt(password, salt)).hex()


async def matches(password: str, stored: str) -> bool:
    known = bytes.fromhex(stored)
    return hmac.compare_digest(await _scrypt(password, known[:16]), known[16:])
