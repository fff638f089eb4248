"""Runs as the role that owns the tables: PGUSER=notes_owner alembic upgrade head."""

from typing import Any

from alembic import context
from models import Base
from sqlalchemy import create_engine

# Of users and api_keys: the columns of attach_users and attach_api_keys, and an index.
ADDED = {"session_version", "key_fingerprint", "api_keys_key_fingerprint_key"}


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Is it ours? What is not, autogenerate would drop."""
    if type_ == "schema":
        return name != "auth"
    return name not in ADDED


with create_engine("postgresql+psycopg://").connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, include_schemas=True, include_name=include_name)
    with context.begin_transaction():
        context.run_migrations()
