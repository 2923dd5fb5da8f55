"""Accounts: names of deleted ones, and attempts to sign in that all nodes count together.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables. No account was ever deleted before."""
    op.create_table(
        "deleted_users",
        sa.Column("username", sa.Text, primary_key=True),
        sa.Column("deleted_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "attempts",
        sa.Column("attempt", sa.Text, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("attempts_by_key", "attempts", ["key", "expires_at"])
    op.create_index("attempts_by_expiry", "attempts", ["expires_at"])


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
