"""The job that makes an ONNX file of a checkpoint, for prediction without torch."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from core.domain.errors import NotFound
from core.domain.runs import Epoch, Job
from core.storage import runs
from core.storage.store import Store
from core.worker.artefacts import onnx_key
from core.worker.heartbeat import OnProgress

logger = logging.getLogger(__name__)


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Export one checkpoint, unless it is exported already.

    Payload: ``{run_id, epoch}``. Result: ``{"onnx": blob key}``, or None where the network cannot be
    exported: the epoch then says why, and predicts by jobs of core.worker.predict.

    Raises:
        NotFound: the run has no such epoch.
    """
    epoch = find_epoch(store, job.payload["run_id"], job.payload["epoch"])
    on_progress(0.0, "Exporting the model")
    return {"onnx": export_epoch(store, epoch)}


def find_epoch(store: Store, run_id: str, number: int) -> Epoch:
    """Give one complete epoch of a run. Raises NotFound."""
    for epoch in runs.epochs(store, run_id):
        if epoch.epoch == number:
            return epoch
    raise NotFound(f"This run has no epoch {number} any more.")


def checkpoint_file(store: Store, epoch: Epoch) -> Path:
    """Give the local file of an epoch's checkpoint. Raises NotFound where it was not kept."""
    if not epoch.checkpoint:
        raise NotFound(f"The checkpoint of epoch {epoch.epoch} was not kept. Choose another one.")
    return store.blobs.local(epoch.checkpoint)


def export_epoch(store: Store, epoch: Epoch) -> str | None:
    """Make the ONNX file of an epoch's checkpoint, if there is none yet; give its key.

    Gives:
        None where the network cannot be written as ONNX, or computes something else there; the reason
        is noted with the epoch.

    Raises:
        NotFound, FormatError, StorageError: it could not be made; nothing points at it.
    """
    known = runs.onnx_key(store, epoch.run_id, epoch.epoch)
    if known is not None and store.blobs.exists(known):
        return known
    from core.training.export import ExportFailed, export_onnx

    checkpoint, key = checkpoint_file(store, epoch), onnx_key(epoch.checkpoint)
    workspace = store.home / "cache" / "exports"
    workspace.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace) as folder:
        path = Path(folder) / "model.onnx"
        try:
            export_onnx(checkpoint, path)
        except ExportFailed as error:
            logger.warning("epoch %d is not exported, so workers predict with it: %s", epoch.epoch, error)
            runs.set_export_refusal(store, epoch.run_id, epoch.epoch, str(error))
            return None
        store.blobs.put_file(key, path)
    runs.set_onnx_key(store, epoch.run_id, epoch.epoch, key)
    return key
