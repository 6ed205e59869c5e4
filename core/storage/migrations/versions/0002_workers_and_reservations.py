"""Workers report themselves; what an attempt holds outlives its row's state.

Columns are dropped by plain ALTER TABLE, never by a batch: a batch drops and remakes the table on SQLite,
and the foreign keys' cascade would delete every epoch of every run.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "reservation",
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lane", sa.String(length=4), nullable=False),
        sa.Column("host", sa.String(length=120), nullable=False),
        sa.Column("gpu_ids", sa.JSON(), nullable=False),
        sa.Column("submission", sa.String(length=120), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_started_ticks", sa.BigInteger(), nullable=True),
        sa.Column("boot_id", sa.String(length=36), nullable=True),
        sa.Column("ranks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("work_id", "attempt", name=op.f("pk_reservation")),
    )
    op.create_index(op.f("ix_reservation_host"), "reservation", ["host"])
    op.create_table(
        "worker",
        sa.Column("host", sa.String(length=120), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("lanes", sa.JSON(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.JSON(), nullable=False),
        sa.Column("largest", sa.Integer(), nullable=False),
        sa.Column("usage", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_worker")),
    )
    op.add_column("epoch", sa.Column("checkpoint_bytes", sa.BigInteger(), nullable=True))
    for table in ("run", "job"):
        op.add_column(table, sa.Column("devices", sa.Integer(), server_default="0", nullable=False))
        op.add_column(table, sa.Column("machine", sa.String(length=120), nullable=True))
        op.add_column(table, sa.Column("suspected_at", sa.DateTime(timezone=True), nullable=True))
        op.execute(
            "INSERT INTO reservation (work_id, attempt, lane, host, gpu_ids, pid, pid_started_ticks, boot_id,"
            f" ranks) SELECT id, attempt, '{table}', host, '[]', pid, pid_started_ticks, boot_id, '[]'"
            f" FROM {table} WHERE pid IS NOT NULL"
        )
        for column in ("boot_id", "pid_started_ticks", "pid"):
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    op.execute("UPDATE run SET devices = 1")
