"""Labelled tokens: what each token came of, so that its list says when one of these has died.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Of a token that was labelled before, the key is found by time, and no parent is known."""
    op.add_column("labelled_tokens", sa.Column("lineage", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
