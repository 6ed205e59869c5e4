"""Labels are looked over and suggested: notes, who saved last, how many suggestions wait."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("annotation_set", sa.Column("note", sa.Text(), server_default="", nullable=False))
    op.add_column("image", sa.Column("note", sa.Text(), server_default="", nullable=False))
    op.add_column("image", sa.Column("author", sa.String(length=80), server_default="", nullable=False))
    op.add_column("image", sa.Column("suggestion_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "category", sa.Column("is_removed", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_index(
        "ix_annotation_set_image_id", "annotation_set", ["image_id", "author", "saved_at", "state"]
    )
    op.execute(
        "UPDATE image SET author = COALESCE((SELECT saved.author FROM annotation_set AS saved "
        "WHERE saved.image_id = image.id AND saved.rev = image.rev), '')"
    )
