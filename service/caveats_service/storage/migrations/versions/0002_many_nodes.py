"""Many nodes: who is told of changes, replies that are remembered, verifiers, and keys of the service's own.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Part of the transaction that moves a counter: nobody is told of what did not happen.
ANNOUNCE = """
CREATE FUNCTION caveats_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <> OLD.epoch OR NEW.revocation_sequence <> OLD.revocation_sequence THEN
        PERFORM pg_notify('caveats', 'revocation ' || NEW.revocation_sequence);
    END IF;
    IF NEW.key_sequence <> OLD.key_sequence THEN
        PERFORM pg_notify('caveats', 'key ' || NEW.key_sequence);
    END IF;
    RETURN NULL;
END
$$
"""
ON_META = """
CREATE TRIGGER caveats_announce AFTER UPDATE ON meta FOR EACH ROW EXECUTE FUNCTION caveats_announce()
"""


def upgrade() -> None:
    """Add a counter and three tables; on PostgreSQL also the trigger that tells of the counters."""
    op.add_column("meta", sa.Column("key_sequence", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "verifiers",
        sa.Column("verifier_id", sa.Text, primary_key=True),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.CheckConstraint("length(public_key) = 32", name="verifiers_public_key"),
    )
    op.create_index("verifiers_by_audience", "verifiers", ["audience", "verifier_id"])
    op.create_table(
        "service_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("sealed_reply", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("length(digest) = 32", name="idempotency_digest"),
    )
    op.create_index("idempotency_by_expiry", "idempotency", ["expires_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(ANNOUNCE)
        op.execute(ON_META)


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
