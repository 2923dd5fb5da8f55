"""The history that the database's positions belong to, how late tokens were issued, and where new key ids begin.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. The history is named by the first process that writes."""
    op.add_column("meta", sa.Column("history", sa.Text))
    op.add_column("meta", sa.Column("issued", sa.Text, nullable=False, server_default="{}"))
    op.add_column("meta", sa.Column("key_floor", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
