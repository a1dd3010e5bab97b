"""Jobs go on from checkpoints"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("strikes", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("checkpoint", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("resumed_from", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("resumed_from")
        batch_op.drop_column("checkpoint")
        batch_op.drop_column("strikes")
