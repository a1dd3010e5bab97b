"""A job may have a parent, wait for its children, and keep an artifact for it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent", sa.String(length=255), nullable=True))
    op.add_column("jobs", sa.Column("waits", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("jobs", sa.Column("artifact", sa.String(length=255), nullable=True))
    op.create_index("ix_jobs_parent", "jobs", ["parent"])
    op.create_index("ix_jobs_artifact", "jobs", ["artifact"])


def downgrade() -> None:
    """Column by column: a table copied in batch mode would take the events of its jobs along."""
    op.drop_index("ix_jobs_artifact", "jobs")
    op.drop_index("ix_jobs_parent", "jobs")
    for name in ("artifact", "waits", "parent"):
        op.drop_column("jobs", name)
