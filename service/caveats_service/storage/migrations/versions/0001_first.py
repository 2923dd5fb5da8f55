"""The first schema.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything, and the one row of `meta`."""
    meta = op.create_table(
        "meta",
        sa.Column(
            "id",
            sa.Integer,
            sa.CheckConstraint("id = 1", name="meta_one_row"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("instance_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("revocation_sequence", sa.BigInteger, nullable=False),
        sa.Column("revocation_floor", sa.BigInteger, nullable=False),
        sa.Column("seal_canary", sa.LargeBinary),
    )
    op.bulk_insert(
        meta,
        [
            {
                "id": 1,
                "instance_id": uuid.uuid4().hex,
                "epoch": 1,
                "revocation_sequence": 0,
                "revocation_floor": 0,
            }
        ],
    )
    op.create_table(
        "users",
        sa.Column("username", sa.Text, primary_key=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
        sa.Column("password_changed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "master_keys",
        sa.Column("row_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key_id", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("activated_at", sa.BigInteger),
        sa.Column("verifying_since", sa.BigInteger),
        sa.Column("retire_after", sa.BigInteger),
        sa.Column("retired_at", sa.BigInteger),
        sa.CheckConstraint(
            "state IN ('published', 'active', 'verifying', 'retired')", name="master_keys_state"
        ),
    )
    for state in ("active", "published"):
        op.create_index(
            f"master_keys_one_{state}",
            "master_keys",
            ["state"],
            unique=True,
            sqlite_where=sa.text(f"state = '{state}'"),
            postgresql_where=sa.text(f"state = '{state}'"),
        )
    op.create_table(
        "labelled_tokens",
        sa.Column("token_id", sa.Text, primary_key=True),
        sa.Column(
            "username", sa.Text, sa.ForeignKey("users.username", name="labelled_tokens_user"), nullable=False
        ),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger),
    )
    op.create_index("labelled_tokens_by_user", "labelled_tokens", ["username", "token_id"])
    op.create_index("labelled_tokens_by_expiry", "labelled_tokens", ["expires_at"])
    op.create_table(
        "revocations",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("token_id", sa.Text),
        sa.Column("branch_id", sa.LargeBinary),
        sa.Column("username", sa.Text),
        sa.Column("issued_up_to", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint(
            "(kind = 'token' AND token_id IS NOT NULL AND branch_id IS NULL"
            " AND username IS NULL AND issued_up_to IS NULL)"
            " OR (kind = 'branch' AND token_id IS NOT NULL AND length(branch_id) = 16"
            " AND username IS NULL AND issued_up_to IS NULL)"
            " OR (kind = 'user' AND token_id IS NULL AND branch_id IS NULL"
            " AND username IS NOT NULL AND issued_up_to IS NOT NULL)",
            name="revocations_target",
        ),
    )
    op.create_index("revocations_by_token", "revocations", ["token_id"])
    op.create_index("revocations_by_user", "revocations", ["username"])
    op.create_index("revocations_by_expiry", "revocations", ["expires_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """There is nothing before; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
