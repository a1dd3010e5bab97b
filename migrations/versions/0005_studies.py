"""A version carries the table of the study that found it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("study", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("versions", "study")
