"""Revoked branches are found by token and branch: a token may have any number of them.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put an index on the pair in the place of the one on the token."""
    op.create_index("revocations_by_branch", "revocations", ["token_id", "branch_id"])
    op.drop_index("revocations_by_token", "revocations")
