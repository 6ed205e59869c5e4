"""Runs, their epochs and figures. States are changed in lifecycle alone."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa
from numpy.typing import NDArray

from core.domain.errors import Conflict, NotFound
from core.domain.runs import Epoch, Run, WorkState
from core.domain.training import TrainingConfig, config_from_json
from core.imaging.confusion import pack_confusion, unpack_confusion
from core.storage import lifecycle, tables
from core.storage.lifecycle import Claim
from core.storage.store import Store, new_id

ROWS_AT_ONCE = 500
WEIGHTS = "weights"  # files that users brought for trainings to start from lie below


@dataclass(frozen=True)
class ImageRecord:
    """What a checkpoint made of one image: its confusion matrix, and the blobs to look at.

    ``confusion`` is int64 (C, C), rows truth, columns prediction, at the image's own resolution;
    ``prediction`` and ``confidence`` are blob keys of grey PNGs at display size, both "" where no pictures
    of the image were kept.
    """

    image_id: str
    confusion: NDArray[np.int64]
    prediction: str
    confidence: str

    @property
    def has_pictures(self) -> bool:
        """Whether pictures were kept; their files may be gone since."""
        return bool(self.prediction)


def create(
    store: Store,
    project_id: str,
    data_version_id: str,
    config: TrainingConfig,
    name: str,
    *,
    priority: int = 0,
) -> Run:
    """Queue a run; of those that wait, the highest priority starts first.

    Raises:
        NotFound: the checkpoint that it is to start from was not kept.
    """
    run_id = new_id()
    source, _, epoch = config.start_from.partition("/")
    with store.write() as connection:
        if source:
            require_checkpoint(connection, source, int(epoch))
        connection.execute(
            sa.insert(tables.run).values(
                id=run_id,
                project_id=project_id,
                data_version_id=data_version_id,
                name=name,
                config=asdict(config),
                device="",
                epochs_done=0,
                **lifecycle.queued_values(priority, config.devices),
            )
        )
    return get(store, run_id)


def get(store: Store, run_id: str) -> Run:
    """Give one run; its id may be shortened to a unique beginning or end. Raises NotFound."""
    with store.read() as connection:
        row = connection.execute(sa.select(tables.run).where(tables.run.c.id == run_id)).first()
        if row is None and len(run_id) >= 6:
            ends = sa.or_(
                tables.run.c.id.startswith(run_id, autoescape=True),
                tables.run.c.id.endswith(run_id, autoescape=True),
            )
            rows = connection.execute(sa.select(tables.run).where(ends).limit(2)).all()
            row = rows[0] if len(rows) == 1 else None
    if row is None:
        raise NotFound(f"There is no run “{run_id}”.")
    return _run(row)


def list_of(store: Store, project_id: str | None = None) -> list[Run]:
    """List runs, newest first; of all projects when none is named."""
    query = sa.select(tables.run).order_by(tables.run.c.id.desc())
    if project_id is not None:
        query = query.where(tables.run.c.project_id == project_id)
    with store.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def add_epoch(
    store: Store, claim: Claim, epoch: Epoch, records: Sequence[ImageRecord], *, split: str = "valid"
) -> None:
    """Write one complete epoch: its row, its images' figures and the run's count, in one transaction.

    The run's crashes count from zero again: what makes progress may be interrupted without end.

    Raises:
        Fenced: another attempt owns the run; nothing was written.
    """
    with store.write() as connection:
        lifecycle.require_running(connection, tables.run, claim)
        for table in (tables.epoch, tables.confusion):
            connection.execute(
                sa.delete(table).where(table.c.run_id == claim.work_id, table.c.epoch >= epoch.epoch)
            )
        connection.execute(
            sa.insert(tables.epoch).values(
                run_id=claim.work_id,
                epoch=epoch.epoch,
                attempt=epoch.attempt,
                metrics=epoch.metrics,
                durations=epoch.durations,
                checkpoint=epoch.checkpoint,
                checkpoint_bytes=epoch.checkpoint_bytes,
                created_at=epoch.created_at,
            )
        )
        _insert_records(connection, claim.work_id, epoch.epoch, split, records)
        connection.execute(
            sa.update(tables.run)
            .where(tables.run.c.id == claim.work_id)
            .values(epochs_done=epoch.epoch, crashes=0)
        )


def set_records(
    store: Store,
    run_id: str,
    epoch: int,
    split: str,
    records: Sequence[ImageRecord],
    *,
    attempt: int | None = None,
) -> None:
    """Replace the figures of one checkpoint on one split, as ``evaluate`` found them.

    Args:
        attempt: that of the checkpoint they are of; None does not look.

    Raises:
        Conflict: another attempt has trained that epoch again meanwhile; nothing was changed.
    """
    table, of_epoch = tables.confusion, tables.epoch
    query = sa.select(of_epoch.c.attempt).where(of_epoch.c.run_id == run_id, of_epoch.c.epoch == epoch)
    with store.write() as connection:
        if attempt is not None and connection.execute(query.with_for_update()).scalar() != attempt:
            raise Conflict(f"Epoch {epoch} was trained again while it was measured. Measure it once more.")
        connection.execute(
            sa.delete(table).where(table.c.run_id == run_id, table.c.epoch == epoch, table.c.split == split)
        )
        _insert_records(connection, run_id, epoch, split, records)


def records(store: Store, run_id: str, epoch: int, split: str = "valid") -> list[ImageRecord]:
    """List what a checkpoint made of each image of a split, in image order."""
    table = tables.confusion
    query = sa.select(table).where(table.c.run_id == run_id, table.c.epoch == epoch, table.c.split == split)
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.c.image_id)).all()
    return [
        ImageRecord(row.image_id, unpack_confusion(row.matrix), row.prediction, row.confidence)
        for row in rows
    ]


def records_of_image(
    store: Store, run_id: str, image_id: str, split: str = "valid"
) -> dict[int, ImageRecord]:
    """Give what each epoch of a run made of one image, by epoch."""
    table = tables.confusion
    query = sa.select(table).where(
        table.c.run_id == run_id, table.c.image_id == image_id, table.c.split == split
    )
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.c.epoch)).all()
    return {
        row.epoch: ImageRecord(image_id, unpack_confusion(row.matrix), row.prediction, row.confidence)
        for row in rows
    }


def picture_keys(store: Store, run_id: str, epoch: int, split: str = "valid") -> dict[str, tuple[str, str]]:
    """Map the images that a checkpoint's pictures were kept of, in order, to the keys of these.

    Returns:
        The blob keys of prediction and confidence, by image id.
    """
    table = tables.confusion
    query = sa.select(table.c.image_id, table.c.prediction, table.c.confidence).where(
        table.c.run_id == run_id, table.c.epoch == epoch, table.c.split == split, table.c.prediction != ""
    )
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.c.image_id))
        return {row.image_id: (row.prediction, row.confidence) for row in rows}


def epochs(store: Store, run_id: str) -> list[Epoch]:
    """List a run's complete epochs, first to last."""
    table = tables.epoch
    with store.read() as connection:
        rows = connection.execute(
            sa.select(table).where(table.c.run_id == run_id).order_by(table.c.epoch)
        ).all()
    return [
        Epoch(
            row.run_id,
            row.epoch,
            row.attempt,
            row.metrics,
            row.durations,
            row.checkpoint,
            row.created_at,
            row.checkpoint_bytes,
        )
        for row in rows
    ]


def give_up_checkpoints(
    store: Store, run_id: str, epochs: Sequence[int], *, claim: Claim | None = None
) -> dict[int, str]:
    """Note that the checkpoints of some epochs are no more, but for those that others need.

    Give the blob keys of those given up, by epoch: delete the files after this, not before.

    Args:
        claim: the attempt that asks; where it is over nothing is changed.

    Raises:
        Fenced: another attempt owns the run.
    """
    table = tables.epoch
    asked = sa.and_(table.c.run_id == run_id, table.c.epoch.in_(epochs), table.c.checkpoint != "")
    with store.write() as connection:
        if claim is not None:
            lifecycle.require_running(connection, tables.run, claim)
        rows = connection.execute(sa.select(table).where(asked).with_for_update()).all()
        pinned = _pinned(connection, run_id)
        given_up = {row.epoch: row.checkpoint for row in rows if row.epoch not in pinned}
        connection.execute(
            sa.update(table)
            .where(table.c.run_id == run_id, table.c.epoch.in_(given_up))
            .values(checkpoint="", checkpoint_bytes=None)
        )
        return given_up


def pinned_epochs(store: Store, run_id: str) -> set[int]:
    """List the epochs whose checkpoints others need: champions, and runs that are yet to start from one."""
    with store.read() as connection:
        return _pinned(connection, run_id)


def _pinned(connection: sa.Connection, run_id: str) -> set[int]:
    champions = sa.select(tables.champion.c.epoch).where(tables.champion.c.run_id == run_id)
    starters = sa.select(tables.run.c.config).where(tables.run.c.epochs_done == 0)  # resumable, too
    pinned = set(connection.execute(champions).scalars())
    for config in connection.execute(starters).scalars():
        source, _, epoch = str(config.get("start_from", "")).partition("/")
        if source == run_id:
            pinned.add(int(epoch))
    return pinned


def require_checkpoint(connection: sa.Connection, run_id: str, epoch: int) -> None:
    """Hold a checkpoint against being given up until the transaction ends, by which it is pinned."""
    table = tables.epoch
    query = sa.select(table.c.checkpoint).where(table.c.run_id == run_id, table.c.epoch == epoch)
    if not connection.execute(query.with_for_update()).scalar():
        raise NotFound(f"The checkpoint of epoch {epoch} was not kept. Choose another one.")


def kept_bytes(store: Store) -> dict[str, int]:
    """Map each run that has a checkpoint to the bytes that its checkpoints take; 0 where nobody noted."""
    table = tables.epoch
    size = sa.func.coalesce(sa.func.sum(table.c.checkpoint_bytes), 0)
    query = sa.select(table.c.run_id, size).where(table.c.checkpoint != "").group_by(table.c.run_id)
    with store.read() as connection:
        return {run_id: int(total) for run_id, total in connection.execute(query).all()}


def set_device(store: Store, claim: Claim, device: str) -> None:
    """Note what the run computes on."""
    with store.write() as connection:
        lifecycle.require_running(connection, tables.run, claim)
        connection.execute(
            sa.update(tables.run).where(tables.run.c.id == claim.work_id).values(device=device)
        )


def weights_key(sha256: str) -> str:
    """Give the blob key of a file of weights that a user brought for trainings to start from."""
    return f"{WEIGHTS}/{sha256}"


def onnx_key(store: Store, run_id: str, epoch: int) -> str | None:
    """Give the blob key of a checkpoint's exported model, None where it is not exported."""
    table = tables.epoch
    query = sa.select(table.c.onnx).where(table.c.run_id == run_id, table.c.epoch == epoch)
    with store.read() as connection:
        return connection.execute(query).scalar()


def set_onnx_key(store: Store, run_id: str, epoch: int, key: str) -> None:
    """Note where a checkpoint's exported model is."""
    _note_export(store, run_id, epoch, onnx=key, export_refusal=None)


def export_refusal(store: Store, run_id: str, epoch: int) -> str | None:
    """Say why a checkpoint cannot be exported; None where it is, or where nobody has tried yet."""
    table = tables.epoch
    query = sa.select(table.c.export_refusal).where(table.c.run_id == run_id, table.c.epoch == epoch)
    with store.read() as connection:
        return connection.execute(query).scalar()


def set_export_refusal(store: Store, run_id: str, epoch: int, reason: str) -> None:
    """Note that a checkpoint cannot be exported, and why."""
    _note_export(store, run_id, epoch, export_refusal=reason)


def _note_export(store: Store, run_id: str, epoch: int, **values: str | None) -> None:
    table = tables.epoch
    with store.write() as connection:
        connection.execute(
            sa.update(table).where(table.c.run_id == run_id, table.c.epoch == epoch).values(**values)
        )


def _insert_records(
    connection: sa.Connection, run_id: str, epoch: int, split: str, records: Sequence[ImageRecord]
) -> None:
    rows = [
        {
            "run_id": run_id,
            "epoch": epoch,
            "split": split,
            "image_id": record.image_id,
            "matrix": pack_confusion(record.confusion),
            "prediction": record.prediction,
            "confidence": record.confidence,
        }
        for record in records
    ]
    if rows:
        connection.execute(sa.insert(tables.confusion), rows)


def _run(row: Any) -> Run:
    return Run(
        id=row.id,
        project_id=row.project_id,
        data_version_id=row.data_version_id,
        name=row.name,
        config=config_from_json(row.config),
        state=WorkState(row.state),
        attempt=row.attempt,
        crashes=row.crashes,
        cancel_requested=row.cancel_requested,
        epochs_done=row.epochs_done,
        progress=row.progress,
        priority=row.priority,
        host=row.host,
        machine=row.machine,
        device=row.device,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        heartbeat_at=row.heartbeat_at,
        tags=tuple(row.tags),
        note=row.note,
        is_archived=row.is_archived,
    )


def best_and_last(store: Store, project_id: str, metric: str) -> dict[str, tuple[Epoch | None, Epoch]]:
    """Map a project's runs that have an epoch to their best and their last one.

    The best has the highest ``metric``, the earliest of equals; None where no epoch has that figure.
    The database reads the one figure of all epochs and gives the figures of these two alone.
    """
    table = tables.epoch
    of_project = sa.select(tables.run.c.id).where(tables.run.c.project_id == project_id)
    value = table.c.metrics[metric].as_float().label("value")
    measured = (
        sa.select(table.c.run_id, table.c.epoch, value).where(table.c.run_id.in_(of_project)).subquery()
    )
    run, epoch = measured.c.run_id, measured.c.epoch
    by_value = (measured.c.value.desc().nulls_last(), epoch)
    place = sa.func.row_number().over(partition_by=run, order_by=by_value).label("place")
    last = sa.func.max(epoch).over(partition_by=run).label("last")
    ranked = sa.select(measured, place, last).subquery()
    is_wanted = sa.or_(ranked.c.place == 1, ranked.c.epoch == ranked.c.last)
    both = sa.and_(table.c.run_id == ranked.c.run_id, table.c.epoch == ranked.c.epoch)
    query = (
        sa.select(table, ranked.c.value, ranked.c.place, ranked.c.last).join(ranked, both).where(is_wanted)
    )
    best: dict[str, Epoch] = {}
    newest: dict[str, Epoch] = {}
    with store.read() as connection:
        for row in connection.execute(query):
            files = (row.checkpoint, row.created_at, row.checkpoint_bytes)
            found = Epoch(row.run_id, row.epoch, row.attempt, row.metrics, row.durations, *files)
            if row.place == 1 and row.value is not None:
                best[row.run_id] = found
            if row.epoch == row.last:
                newest[row.run_id] = found
    return {run_id: (best.get(run_id), found) for run_id, found in newest.items()}


def data_hashes(store: Store, project_id: str) -> dict[str, str]:
    """Map the data versions that a project's runs were trained on to their hashes, by id, oldest first."""
    table = tables.data_version
    is_used = sa.exists().where(tables.run.c.data_version_id == table.c.id)
    query = sa.select(table.c.id, table.c.hash).where(table.c.project_id == project_id, is_used)
    with store.read() as connection:
        return {row.id: row.hash for row in connection.execute(query.order_by(table.c.id))}


def matrices(
    store: Store, run_id: str, split: str = "valid", *, epochs: Sequence[int] | None = None
) -> dict[int, dict[str, NDArray[np.int64]]]:
    """Give the confusion matrices of a run's epochs on a split, by epoch and image, both in order.

    Args:
        epochs: of these only; without it, of all that have any.

    Returns:
        int64 (C, C) each, rows truth, columns prediction.
    """
    table = tables.confusion
    query = sa.select(table.c.epoch, table.c.image_id, table.c.matrix).where(
        table.c.run_id == run_id, table.c.split == split
    )
    if epochs is not None:
        query = query.where(table.c.epoch.in_(epochs))
    found: dict[int, dict[str, NDArray[np.int64]]] = {}
    with store.read() as connection:
        for row in connection.execute(query.order_by(table.c.epoch, table.c.image_id)):
            found.setdefault(row.epoch, {})[row.image_id] = unpack_confusion(row.matrix)
    return found


def summed_matrices(
    store: Store, run_id: str, split: str = "valid", *, epochs: Sequence[int] | None = None
) -> dict[int, tuple[NDArray[np.int64], int]]:
    """Give the sum of the confusion matrices of each of a run's epochs on a split, and how many they are.

    Row by row, so that one matrix at a time is held, however many there are. See ``matrices``.
    """
    table = tables.confusion
    query = sa.select(table.c.epoch, table.c.matrix).where(table.c.run_id == run_id, table.c.split == split)
    if epochs is not None:
        query = query.where(table.c.epoch.in_(epochs))
    found: dict[int, tuple[NDArray[np.int64], int]] = {}
    with store.read() as connection:
        for row in connection.execute(query.order_by(table.c.epoch)).yield_per(ROWS_AT_ONCE):
            matrix = unpack_confusion(row.matrix)
            total, count = found.get(row.epoch, (np.zeros_like(matrix), 0))
            total += matrix
            found[row.epoch] = (total, count + 1)
    return found


def measured_counts(store: Store, run_id: str, split: str) -> dict[int, int]:
    """Map a run's epochs to the number of images of a split that were measured with each."""
    table = tables.confusion
    query = sa.select(table.c.epoch, sa.func.count()).where(table.c.run_id == run_id, table.c.split == split)
    with store.read() as connection:
        return {epoch: int(count) for epoch, count in connection.execute(query.group_by(table.c.epoch))}


def epochs_of(store: Store, run_ids: Sequence[str]) -> dict[str, list[Epoch]]:
    """Map runs to their complete epochs, first to last, in one query; runs without any are left out."""
    table = tables.epoch
    # As text: JSON is then decoded once per run, not once per cell, which would take most of the time.
    as_text = [sa.cast(column, sa.Text) for column in (table.c.metrics, table.c.durations)]
    query = sa.select(
        table.c.run_id,
        *as_text,
        table.c.epoch,
        table.c.attempt,
        table.c.checkpoint,
        table.c.created_at,
        table.c.checkpoint_bytes,
    ).where(table.c.run_id.in_(run_ids))
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.c.run_id, table.c.epoch)).all()
    found: dict[str, list[Epoch]] = {}
    for run_id, of_run in itertools.groupby(rows, key=lambda row: row[0]):
        _, metrics, durations, *others = zip(*of_run, strict=True)
        decoded = zip(_decoded(metrics), _decoded(durations), *others, strict=True)
        found[run_id] = [
            Epoch(run_id, epoch, attempt, figures, seconds, checkpoint, created_at, checkpoint_bytes)
            for figures, seconds, epoch, attempt, checkpoint, created_at, checkpoint_bytes in decoded
        ]
    return found


def _decoded(texts: Sequence[str]) -> list[dict[str, Any]]:
    together = f"[{','.join(texts)}]"
    try:
        return orjson.loads(together)
    except orjson.JSONDecodeError:  # NaN is no JSON, but SQLite keeps it
        return json.loads(together)
