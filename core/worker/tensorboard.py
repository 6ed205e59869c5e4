"""A run's event file for TensorBoard: `tensorboard --logdir <blob folder>/runs`.

Each attempt writes a file of its own that begins with all epochs so far and takes the place of the
earlier attempts' files, so that every epoch is shown once. tensorboardX is imported where it is used: it
looks for torch, which not every process that imports this file has.
"""

import struct
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion
from core.storage.blobs import Blobs
from core.worker.artefacts import run_folder
from core.worker.figures import figures

SHOWN_BESIDE_SETTINGS = ("miou_foreground/val", "loss/val")


class TensorBoard:
    """Keeps the event file of one attempt up to date."""

    name = "TensorBoard"

    def __init__(self, blobs: Blobs, run: Run, version: DataVersion, attempt: int) -> None:
        self._blobs, self._run = blobs, run
        self._names = {category.category_id: category.name for category in version.categories}
        self._folder = f"{run_folder(run.id)}/tensorboard"
        self._key = f"{self._folder}/events.out.tfevents.a{attempt:05d}"
        self._data = bytearray()
        self._kept = 0  # how many bytes of it the file has
        self._newest = 0
        self._is_alone = False

    def follow(self, epochs: Sequence[Epoch]) -> None:
        """Add epochs that are not in the file yet. Raises StorageError or OSError."""
        if not self._data:
            self._data += _opening(self._run)
        for epoch in epochs:
            if epoch.epoch > self._newest:
                self._data += _scalars(epoch, figures(epoch, self._names))
                self._newest = epoch.epoch
        self._keep()
        if not self._is_alone:
            self._delete_earlier()

    def end(self, verdict: str) -> None:
        """Do nothing: an event file has no end."""

    def _keep(self) -> None:
        """Bring the file up to date: a TensorBoard that follows it has it open, so in a folder it grows."""
        folder = self._blobs.folder
        path = folder / self._key if folder is not None else None
        if path is not None and self._kept and path.is_file() and path.stat().st_size == self._kept:
            with path.open("ab") as file:
                file.write(self._data[self._kept :])
        elif self._kept < len(self._data):
            self._blobs.put(self._key, bytes(self._data))
        self._kept = len(self._data)

    def _delete_earlier(self) -> None:
        for key, _modified in self._blobs.list(self._folder):
            if key < self._key:
                self._blobs.delete(key)
        self._is_alone = True


def _opening(run: Run) -> bytes:
    """Encode what comes before the epochs: the format, a restart, and the configuration.

    The restart makes a TensorBoard that has read an earlier attempt's file forget its points.
    """
    from tensorboardX import summary

    config = asdict(run.config)
    lines = "\n".join(f"    {key}: {value}" for key, value in {"name": run.name, **config}.items())
    experiment, session, _ = summary.hparams(config, dict.fromkeys(SHOWN_BESIDE_SETTINGS))
    return b"".join(
        (
            _record(file_version="brain.Event:2"),
            _record(session_log={"status": "START"}),
            *(_record(summary=part) for part in (summary.text("config", lines), experiment, session)),
        )
    )


def _scalars(epoch: Epoch, values: dict[str, float]) -> bytes:
    points = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
    return _record(epoch.created_at.timestamp(), step=epoch.epoch, summary={"value": points})


def _record(wall_time: float | None = None, **fields: Any) -> bytes:
    """Encode an event, now unless a time is given, in its frame: length, checksum, event, checksum.

    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord (TFRecords format details).
    """
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c

    messages: Any = event_pb2  # protobuf makes its classes when it is loaded
    data: bytes = messages.Event(wall_time=wall_time or time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return b"".join((length, checksums[0], data, checksums[1]))
