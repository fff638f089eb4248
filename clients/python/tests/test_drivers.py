"""What docs/poolers-and-drivers.md shows of psycopg."""

import pytest
from psycopg import errors
from psycopg_pool import ConnectionPool
from server import issue


def graphs_of(pool, token):
    with pool.connection() as conn:
        conn.execute("SELECT auth.authenticate(%s)", [token])
        return conn.execute("SELECT id, title FROM graphs").fetchall()


def test_a_drivers_own_transaction_is_the_tokens_users_and_a_refusal_has_its_reason(server, db):
    with server.connect(db) as admin, ConnectionPool(server.conninfo(db), min_size=1, max_size=1) as pool:
        admin.execute("CREATE VIEW graphs AS SELECT id, 'of ' || id AS title FROM users WHERE id = auth.user_id_bigint()")
        assert graphs_of(pool, issue(admin, 3)) == [(3, "of 3")]
        with pool.connection() as conn:
            assert conn.execute("SELECT count(*) FROM graphs").fetchone() == (0,)
        with pytest.raises(errors.InvalidAuthorizationSpecification) as refused:
            graphs_of(pool, "a.b.c")
        assert refused.value.sqlstate == "28000" and refused.value.diag.message_detail == "malformed"
