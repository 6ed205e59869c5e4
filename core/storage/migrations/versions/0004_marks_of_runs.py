"""People mark their runs: tags, a note, and those that are out of sight."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("run", sa.Column("tags", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("run", sa.Column("note", sa.Text(), server_default="", nullable=False))
    op.add_column("run", sa.Column("note_author", sa.String(length=80), server_default="", nullable=False))
    op.add_column("run", sa.Column("is_archived", sa.Boolean(), server_default=sa.false(), nullable=False))
