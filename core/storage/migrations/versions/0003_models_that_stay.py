"""A checkpoint notes why its network cannot be exported, so that a worker predicts with it instead."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("epoch", sa.Column("export_refusal", sa.Text(), nullable=True))
