"""Interactions: the credentials that people have shown, so that they can be judged again.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. An interaction that is under way has none, and those who take part in it have to ask again."""
    op.add_column("interactions", sa.Column("credentials", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
