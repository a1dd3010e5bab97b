"""A job may need a device, and memory on it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("needs_device", sa.String(length=16), nullable=True))
    op.add_column("jobs", sa.Column("needs_memory", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Column by column: a table copied in batch mode would take the events of its jobs along."""
    for name in ("needs_memory", "needs_device"):
        op.drop_column("jobs", name)
