"""Issuing clients: sites that hand tokens to their users.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "clients",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("users", sa.Text, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("audiences", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("longest_life", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.CheckConstraint("length(secret_hash) = 32", name="clients_secret_hash"),
    )
    op.create_index("clients_by_name", "clients", ["name"], unique=True)


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
