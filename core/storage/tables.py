"""The tables, as SQLAlchemy Core. A change here needs a revision in migrations/versions."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, aware in Python on every database."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Refuse a naive moment; store UTC."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a naive datetime reached the database"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give an aware moment."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def now() -> datetime:
    """Give this moment in UTC."""
    return datetime.now(UTC)


Id = sa.String(36)

project = sa.Table(
    "project",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(80), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
)

category = sa.Table(
    "category",
    metadata,
    sa.Column("project_id", Id, sa.ForeignKey("project.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("category_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("color", sa.String(7), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    # Its row stays, so that its id, which older revisions and data versions hold, never means another.
    sa.Column("is_removed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("project_id", "name"),
)

image = sa.Table(
    "image",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("phash", sa.String(16), nullable=False),
    sa.Column("name", sa.String(512), nullable=False),
    sa.Column("media_type", sa.String(40), nullable=False),
    sa.Column("has_full", sa.Boolean, nullable=False),
    sa.Column("has_view", sa.Boolean, nullable=False),
    sa.Column("split", sa.String(5)),
    sa.Column("group", sa.String(120)),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("rev", sa.Integer, nullable=False),
    sa.Column("category_ids", sa.JSON, nullable=False),
    sa.Column("annotation_count", sa.Integer, nullable=False),
    # Of the newest revision, as category_ids and annotation_count are, which leave suggestions out.
    sa.Column("suggestion_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("author", sa.String(80), nullable=False, server_default=""),
    sa.Column("is_deleted", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_image_project_id_state", "project_id", "state"),
    # A deleted row stays for the data versions that hold it; the same photo may come again.
    sa.Index(
        "uq_image_project_id_sha256_live",
        "project_id",
        "sha256",
        unique=True,
        sqlite_where=sa.text("NOT is_deleted"),
        postgresql_where=sa.text("NOT is_deleted"),
    ),
)

annotation_set = sa.Table(
    "annotation_set",
    metadata,
    sa.Column("image_id", Id, sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("rev", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("annotations", sa.JSON, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("author", sa.String(80), nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("saved_at", UtcDateTime(), nullable=False),
    # Holds all that progress asks: the rows themselves are large.
    sa.Index("ix_annotation_set_image_id", "image_id", "author", "saved_at", "state"),
)

data_version = sa.Table(
    "data_version",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("categories", sa.JSON, nullable=False),
    sa.Column("items", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.UniqueConstraint("project_id", "hash"),
)


def _work_columns() -> tuple[sa.Column[Any], ...]:
    """What a run and a job share: the queue, the claim, the sign of life, the verdict.

    ``host`` launched the newest attempt, ``machine`` computes it; ``devices`` is what it asks for.
    """
    return (
        sa.Column("state", sa.String(12), nullable=False, index=True),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("failed_starts", sa.Integer, nullable=False),
        sa.Column("not_before", UtcDateTime()),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("devices", sa.Integer, nullable=False, server_default="0"),
        sa.Column("host", sa.String(120)),
        sa.Column("machine", sa.String(120)),
        sa.Column("heartbeat_at", UtcDateTime()),
        sa.Column("suspected_at", UtcDateTime()),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
    )


run = sa.Table(
    "run",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("data_version_id", Id, sa.ForeignKey("data_version.id"), nullable=False),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("device", sa.String(80), nullable=False),
    sa.Column("epochs_done", sa.Integer, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("note_author", sa.String(80), nullable=False, server_default=""),  # who wrote it last
    sa.Column("is_archived", sa.Boolean, nullable=False, server_default=sa.false()),
    *_work_columns(),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, sa.ForeignKey("project.id", ondelete="CASCADE"), index=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON),
    *_work_columns(),
)

# What an attempt holds on its host, from the claim until its processes were seen gone.
reservation = sa.Table(
    "reservation",
    metadata,
    sa.Column("work_id", Id, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lane", sa.String(4), nullable=False),  # "run" or "job"
    sa.Column("host", sa.String(120), nullable=False, index=True),
    sa.Column("gpu_ids", sa.JSON, nullable=False),
    sa.Column("submission", sa.String(120)),  # its name at a cluster
    sa.Column("pid", sa.Integer),
    sa.Column("pid_started_ticks", sa.BigInteger),
    sa.Column("boot_id", sa.String(36)),
    sa.Column("ranks", sa.JSON, nullable=False),  # [pid, ticks, boot id] of sessions of their own
)

worker = sa.Table(
    "worker",
    metadata,
    sa.Column("host", sa.String(120), primary_key=True),
    sa.Column("version", sa.String(20), nullable=False),
    sa.Column("lanes", sa.JSON, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("gpus", sa.JSON, nullable=False),
    sa.Column("largest", sa.Integer, nullable=False),
    sa.Column("usage", sa.JSON, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("started_at", UtcDateTime(), nullable=False),
    sa.Column("heartbeat_at", UtcDateTime(), nullable=False),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("work_id", Id, nullable=False, index=True),
    sa.Column("at", UtcDateTime(), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)

epoch = sa.Table(
    "epoch",
    metadata,
    sa.Column("run_id", Id, sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("durations", sa.JSON, nullable=False),
    sa.Column("checkpoint", sa.String(200), nullable=False),  # "" once it was given up
    sa.Column("checkpoint_bytes", sa.BigInteger),
    sa.Column("onnx", sa.String(200)),
    sa.Column("export_refusal", sa.Text),  # why there is no ONNX file of it
    sa.Column("created_at", UtcDateTime(), nullable=False),
)

confusion = sa.Table(
    "confusion",
    metadata,
    sa.Column("run_id", Id, sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("split", sa.String(5), primary_key=True),
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("matrix", sa.LargeBinary, nullable=False),
    sa.Column("prediction", sa.String(200), nullable=False),
    sa.Column("confidence", sa.String(200), nullable=False),
)

champion = sa.Table(
    "champion",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("run_id", Id, sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("author", sa.String(80), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
)
