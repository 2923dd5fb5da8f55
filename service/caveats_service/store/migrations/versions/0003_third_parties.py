"""The service as a third party: groups of users, who belongs to them.

Revision ID: 0003
Revises: 0002
"""

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


def downgrade() -> None:
    """Not offered; go back with a backup."""
    raise NotImplementedError("restore a backup made before the upgrade")
