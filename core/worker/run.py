"""One training, carried out from where it stands: freeze, prepare, train epoch by epoch, export."""

import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.domain.errors import NotFound
from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion
from core.storage import runs, tables, versions
from core.storage.lifecycle import Claim
from core.storage.settings import Settings
from core.storage.store import Store
from core.training.checkpoints import load_checkpoint, save_checkpoint
from core.training.dataset import TrainingData, prepare_data
from core.training.environment import prepare_process
from core.training.learner import Learner, build_learner
from core.training.loop import EpochResult, fit
from core.training.progress import Progress
from core.training.validation import ImageResult
from core.worker.artefacts import PredictionFiles, checkpoint_key, predictions_folder, run_folder
from core.worker.export import export_epoch
from core.worker.forecast import Forecast, progress_json
from core.worker.frozen import freeze
from core.worker.heartbeat import Heartbeat

logger = logging.getLogger(__name__)

METRIC = "val_miou_foreground"


@dataclass(frozen=True)
class Work:
    """The attempt under way, as its steps need it."""

    store: Store
    claim: Claim
    run: Run
    version: DataVersion
    heartbeat: Heartbeat

    def report(self, phase: str, **figures: Any) -> None:
        """Hand progress over, and leave if there is reason to. Raises Cancelled or Fenced."""
        config = self.run.config
        self.heartbeat.report({"phase": phase, "epochs": config.epochs, **figures})
        self.heartbeat.check()


def train(store: Store, claim: Claim, heartbeat: Heartbeat) -> dict[str, Any]:
    """Carry out one training, from its last complete epoch on; give the columns of its verdict.

    Raises:
        AppError: it cannot go on; the sentence says why.
        Cancelled, Fenced: at the next batch.
    """
    run = runs.get(store, claim.work_id)
    version = versions.get(store, run.data_version_id)
    work = Work(store, claim, run, version, heartbeat)
    prepare_process(run.config.threads or Settings().threads)
    if run.epochs_done < run.config.epochs:
        work.report("preparing", epoch=run.epochs_done)
        freeze(store, run, version)
        _train_epochs(work, _learner(work, _prepare(work)))
    _export(work)
    _keep_log(work)
    return {"progress": {"phase": "done", "epoch": run.config.epochs, "epochs": run.config.epochs}}


def _prepare(work: Work) -> TrainingData:
    config, version = work.run.config, work.version
    return prepare_data(
        version,
        config,
        partial(versions.read_item, work.store),
        work.store.home / "cache" / f"{version.hash[:16]}-{config.size}",
        lambda done, total: work.report("preparing", epoch=work.run.epochs_done, batch=done, batches=total),
    )


def _learner(work: Work, data: TrainingData) -> Learner:
    """Build the learner, with the state after the last complete epoch where there is one."""
    learner = build_learner(work.run.config, data)
    runs.set_device(work.store, work.claim, _device_name(learner.fabric.device))
    if work.run.epochs_done == 0:
        return learner
    last = runs.epochs(work.store, work.run.id)[-1]
    logger.info("going on after epoch %d, from %s", last.epoch, last.checkpoint)
    return load_checkpoint(work.store.blobs.local(last.checkpoint), learner)


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return f"CPU, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name(device)


def _train_epochs(work: Work, learner: Learner) -> None:
    epochs = range(learner.epochs_done, work.run.config.epochs)
    forecast = _forecast(learner)

    def on_batch(progress: Progress) -> None:
        figures = progress_json(progress, work.run.config.epochs, forecast.add(progress))
        work.report(**figures)

    with ThreadPoolExecutor(2) as executor:
        files: dict[int, PredictionFiles] = {}

        def on_image(epoch: int, result: ImageResult) -> None:
            if epoch not in files:
                folder = predictions_folder(work.run.id, epoch, work.claim.attempt)
                files[epoch] = PredictionFiles(work.store.blobs, executor, folder)
            files[epoch].add(result)

        for result in fit(learner, epochs, on_batch, on_image):
            _keep_epoch(work, learner, result, files.pop(result.epoch))


def _forecast(learner: Learner) -> Forecast:
    validation_batches = -(-len(learner.data.valid) // learner.config.batch_size)
    return Forecast({"train": learner.batches, "validate": validation_batches}, learner.config.epochs)


def _keep_epoch(work: Work, learner: Learner, result: EpochResult, files: PredictionFiles) -> None:
    """Keep one epoch: its checkpoint, then its pictures, then the rows that point at both.

    A death in between leaves files that no row points at, and the epoch is trained again.
    """
    key = checkpoint_key(work.run.id, result.epoch, work.claim.attempt)
    _save(work, learner, result, key)
    epoch = Epoch(
        work.run.id,
        result.epoch,
        work.claim.attempt,
        result.metrics,
        result.durations,
        key,
        tables.now(),
    )
    runs.add_epoch(work.store, work.claim, epoch, files.records())


def _save(work: Work, learner: Learner, result: EpochResult, key: str) -> None:
    workspace = work.store.home / "cache" / "checkpoints"
    workspace.mkdir(parents=True, exist_ok=True)
    about = {"run_id": work.run.id, "name": work.run.name, "epoch": result.epoch, "metrics": result.metrics}
    with tempfile.TemporaryDirectory(dir=workspace) as folder:
        path = Path(folder) / Path(key).name
        save_checkpoint(path, learner, result.epoch, about)
        work.store.blobs.put_file(key, path)
        description = f"{key.removesuffix('.pt')}.json"
        work.store.blobs.put_file(description, path.with_suffix(".json"))


def _export(work: Work) -> None:
    """Export the best and the last epoch, where an earlier attempt did not."""
    epochs = runs.epochs(work.store, work.run.id)
    if not epochs:
        raise NotFound("The epochs of this run were deleted.")
    measured = [epoch for epoch in epochs if epoch.metrics.get(METRIC) is not None]
    best = max(measured, key=lambda e: (e.metrics[METRIC] or 0.0, -e.epoch), default=epochs[-1])
    for epoch in {e.epoch: e for e in (best, epochs[-1])}.values():
        work.report("exporting", epoch=epoch.epoch)
        export_epoch(work.store, epoch)


def _keep_log(work: Work) -> None:
    log = work.store.home / "logs" / f"{work.run.id}.log"
    if log.exists():  # there is none when the process was started by hand
        work.store.blobs.put(f"{run_folder(work.run.id)}/log.txt", log.read_bytes())
