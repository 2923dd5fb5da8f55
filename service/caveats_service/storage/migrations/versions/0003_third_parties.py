"""The service as a third party: groups of users, agents, interactions.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "groups",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_members",
        sa.Column(
            "group_name", sa.Text, sa.ForeignKey("groups.name", name="group_members_group"), primary_key=True
        ),
        sa.Column(
            "username", sa.Text, sa.ForeignKey("users.username", name="group_members_user"), primary_key=True
        ),
    )
    op.create_index("group_members_by_user", "group_members", ["username", "group_name"])
    op.create_table(
        "agents",
        sa.Column("agent_id", sa.Text, primary_key=True),
        sa.Column("username", sa.Text, sa.ForeignKey("users.username", name="agents_user"), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.CheckConstraint("length(public_key) = 32", name="agents_public_key"),
    )
    op.create_index("agents_by_key", "agents", ["public_key"], unique=True)
    op.create_table(
        "interactions",
        sa.Column("visit_hash", sa.LargeBinary, primary_key=True),
        sa.Column("wait_hash", sa.LargeBinary, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("identifier", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.LargeBinary),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("asker", sa.Text),
        sa.Column("approvers", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.BigInteger),
        sa.CheckConstraint("decision IN ('open', 'granted', 'denied')", name="interactions_decision"),
    )
    op.create_index("interactions_by_wait", "interactions", ["wait_hash"], unique=True)
    op.create_index("interactions_by_token", "interactions", ["token_hash"], unique=True)
    op.create_index("interactions_by_expiry", "interactions", ["expires_at"])


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
