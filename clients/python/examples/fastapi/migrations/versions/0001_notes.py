"""Users, API keys and notes, and what auth_ext is to know of them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("email", sa.String(), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column("user_id", sa.BigInteger(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
    )
    op.execute("SELECT auth.attach_users('users', bump_on => '{password_hash}')")
    op.execute("SELECT auth.attach_api_keys('api_keys')")

    op.create_table(
        "notes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column(
            "owner",
            sa.BigInteger(),
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
            server_default=sa.text("auth.user_id_bigint()"),
            index=True,
        ),
        sa.Column("body", sa.String(), nullable=False),
    )
    op.execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY own ON notes USING (owner = auth.user_id_bigint())")

    op.execute("INSERT INTO auth.issuers (issuer, audience) VALUES ('https://notes.example', '{notes}')")
    op.execute("SELECT auth.create_signing_key(alg => 'ES256')")

    op.execute("GRANT SELECT, INSERT ON users TO notes_service")
    op.execute("GRANT SELECT, INSERT, DELETE ON notes TO notes_service")


def downgrade() -> None:
    op.execute("DELETE FROM auth.issuers WHERE issuer = 'https://notes.example'")
    op.drop_table("notes")
    op.execute("SELECT auth.detach_api_keys()")
    op.execute("SELECT auth.detach_users()")
    op.drop_table("api_keys")
    op.drop_table("users")
