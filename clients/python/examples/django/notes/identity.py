"""Who asks, for the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest

from auth_ext import authenticate
from auth_ext.asgi import auth_of


@contextmanager
def as_user(request: HttpRequest) -> Iterator[None]:
    """A transaction in which the policies see who sent the request."""
    auth = auth_of(request)
    with transaction.atomic():
        authenticate(connection, token=auth.token, api_key=auth.api_key)
        yield


def rows(sql: str, *arguments: Any) -> list[dict[str, Any]]:
    """What a function of auth_ext returns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor]
