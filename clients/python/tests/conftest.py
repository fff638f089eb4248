import itertools

import pytest

import server as servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server():
    made = servers.Server("shared")
    yield made
    made.stop()


@pytest.fixture
def db(server):
    """A database of its own, for a test that breaks no server."""
    return server.application(f"app{next(_numbers)}")
