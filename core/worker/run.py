"""One training, carried out from where it stands: freeze, prepare, train epoch by epoch, export.

On several devices torchrun starts this in several processes. All train; the first one, the leader of
the team, alone writes to the database.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.domain.errors import FormatError, NotFound, OutOfReach, listed
from core.domain.runs import Epoch
from core.domain.training import TrainingConfig
from core.storage import images, reservations, runs, versions
from core.storage.lifecycle import Claim
from core.storage.patience import patiently
from core.storage.processes import this_process
from core.storage.settings import Settings
from core.storage.store import Store
from core.training.checkpoints import load_checkpoint
from core.training.dataset import TrainingData
from core.training.environment import prepare_process
from core.training.learner import Learner, build_learner
from core.training.loop import fit, is_stalled
from core.training.progress import Phase, Progress
from core.training.team import Team, open_team
from core.training.validation import ImageResult
from core.worker.artefacts import PredictionFiles, pictured_images, predictions_folder
from core.worker.attempt import Attempt
from core.worker.calibrate import memory_advice, spoken_memory_errors
from core.worker.export import checkpoint_file, export_epoch, find_epoch
from core.worker.forecast import Forecast, progress_json
from core.worker.frozen import freeze
from core.worker.heartbeat import Sign
from core.worker.keeping import METRIC, Keeper, OnKept, Records, clear_up, delete_unreferenced
from core.worker.prepared import prepared
from core.worker.trackers import open_trackers

logger = logging.getLogger(__name__)

LISTED = 8  # photos that a sentence names


def train(store: Store, claim: Claim, sign: Sign) -> dict[str, Any]:
    """Carry out one training, from its last complete epoch on; give the columns of its verdict.

    Raises:
        AppError: it cannot go on; the sentence says why.
        Cancelled, Fenced: at the next batch.
        PeerLost: another process of this training is gone.
    """
    run = patiently(lambda: runs.get(store, claim.work_id), check=sign.check)
    version = patiently(lambda: versions.get(store, run.data_version_id), check=sign.check)
    attempt = Attempt(store, claim, run, version, sign)
    config = run.config
    _quieten_lightning()
    threads = config.threads or Settings().threads
    prepare_process(threads, processes=config.devices, is_deterministic=config.deterministic)
    team = open_team(config)
    ranks = team.gather(this_process())
    if not team.is_leader:
        _train(attempt, team)
        return {}
    with ExitStack() as stack:
        if team.size > 1:
            patiently(lambda: reservations.record_ranks(store, claim, ranks), check=sign.check)
        patiently(lambda: clear_up(attempt), check=sign.check)
        trackers = patiently(lambda: open_trackers(store, run, version, claim.attempt), check=sign.check)
        _train(attempt, team, stack.enter_context(trackers).epoch)
        patiently(lambda: delete_unreferenced(attempt, own=True), check=sign.check)
        patiently(lambda: _export(attempt), check=sign.check)
    done = patiently(lambda: runs.get(store, run.id), check=sign.check).epochs_done
    return {"progress": {"phase": "done", "epoch": done, "epochs": config.epochs}}


def _train(attempt: Attempt, team: Team, on_kept: OnKept | None = None) -> None:
    """Train the epochs that are missing; only the leader keeps them."""
    run = attempt.run
    if run.epochs_done >= run.config.epochs or _is_over(attempt, _scores(attempt, team, run.epochs_done)):
        return
    attempt.report("preparing", epoch=run.epochs_done)
    if team.is_leader:
        papers = (attempt.store, run, attempt.version, attempt.number, attempt.sign.check)
        patiently(lambda: freeze(*papers), check=attempt.sign.check)
    with spoken_memory_errors(memory_advice(run.config)):
        data = team.leader_first(lambda: patiently(lambda: _prepare(attempt), check=attempt.sign.check))
        _train_epochs(attempt, _learner(attempt, team, data), on_kept)


def _scores(attempt: Attempt, team: Team, epochs_done: int) -> dict[int, float | None]:
    """Map the epochs so far to what they are compared by, the same for all processes of the team."""
    epochs = patiently(lambda: runs.epochs(attempt.store, attempt.run.id), check=attempt.sign.check)
    scores = {epoch.epoch: epoch.metrics.get(METRIC) for epoch in epochs if epoch.epoch <= epochs_done}
    return team.gather(scores)[0]


def _is_over(attempt: Attempt, scores: Mapping[int, float | None]) -> bool:
    """Tell whether the run ends before its last epoch, because it has not become better for long."""
    patience = attempt.run.config.patience
    if not is_stalled(scores, patience):
        return False
    logger.info("ending after epoch %d: none of the last %d was better", max(scores), patience)
    return True


def _quieten_lightning() -> None:
    """Leave out what it says of each process; its import has set these levels."""
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _prepare(attempt: Attempt) -> TrainingData:
    try:
        return _prepare_data(attempt)
    except NotFound as error:
        raise NotFound(_what_is_gone(attempt) or str(error)) from error


def _what_is_gone(attempt: Attempt) -> str:
    """Name the photos without a file, and say what to do; "" where each has one."""
    store = attempt.store
    there = {key for key, _ in store.blobs.list("photos")}
    gone = [i for i in attempt.version.items if images.photo_key(i.sha256, "original") not in there]
    if not gone:
        return ""
    with store.read() as connection:
        names = [images.read(connection, i.image_id, even_deleted=True).name for i in gone[:LISTED]]
    more = "" if len(gone) <= LISTED else f" and {len(gone) - LISTED} more"
    return (
        f"Photos of this run are not in the file store any more: {listed(names)}{more}. "
        "Delete them from the project, import them again, and resume this run."
    )


def _prepare_data(attempt: Attempt) -> TrainingData:
    epoch = attempt.run.epochs_done

    def on_photo(done: int, total: int) -> None:
        attempt.report("preparing", epoch=epoch, batch=done, batches=total)

    return prepared(attempt.store, attempt.version, attempt.run.config, on_photo)


def _learner(attempt: Attempt, team: Team, data: TrainingData) -> Learner:
    """Build the learner, with the state after the last complete epoch where there is one."""
    config, start = attempt.run.config, StartFiles()
    if attempt.run.epochs_done == 0:
        start = team.leader_first(lambda: start_files(attempt.store, config, attempt.sign.check))
    learner = build_learner(config, data, team, start=start.checkpoint, weights=start.weights)
    if team.is_leader:
        device = _device_name(learner.fabric.device, team.size)
        patiently(lambda: runs.set_device(attempt.store, attempt.claim, device), check=attempt.sign.check)
    resumed = team.leader_first(lambda: _resumed(attempt, learner))
    if len(set(team.gather(resumed.epochs_done))) > 1:
        raise OutOfReach("The processes of this run could not read the same checkpoint.")
    return resumed


@dataclass(frozen=True)
class StartFiles:
    """The local files that a training starts from; at most one, none where it is the encoder's weights."""

    checkpoint: Path | None = None
    weights: Path | None = None


def start_files(store: Store, config: TrainingConfig, check: Callable[[], None] | None = None) -> StartFiles:
    """Give the files that ``start_from`` and ``start_weights`` name; those of another store are fetched.

    Args:
        check: called while the store is out of reach; what it raises ends the waiting.

    Raises:
        NotFound: the checkpoint or the weights are gone.
        OutOfReach: the store did not answer for ten minutes.
    """
    if config.start_from:
        run_id, _, epoch = config.start_from.partition("/")
        path = patiently(lambda: checkpoint_file(store, find_epoch(store, run_id, int(epoch))), check=check)
        return StartFiles(checkpoint=path)
    if not config.start_weights:
        return StartFiles()
    try:
        key = runs.weights_key(config.start_weights)
        weights = patiently(lambda: store.blobs.local(key), check=check)
    except NotFound as error:
        raise NotFound(
            f"The weights to start from ({config.start_weights[:8]}…) are not in the file store any more. "
            "Add their file again, and resume."
        ) from error
    return StartFiles(weights=weights)


def _resumed(attempt: Attempt, learner: Learner) -> Learner:
    """Go on from the last complete epoch; from the one before where its checkpoint is damaged."""
    epochs = patiently(lambda: runs.epochs(attempt.store, attempt.run.id))
    for epoch in reversed([epoch for epoch in epochs if epoch.checkpoint]):
        try:
            path = patiently(lambda e=epoch: checkpoint_file(attempt.store, e), check=attempt.sign.check)
            resumed = load_checkpoint(path, learner)
        except (FormatError, NotFound) as error:
            logger.warning("epoch %d cannot be gone on from: %s", epoch.epoch, error)
            continue
        logger.info("going on after epoch %d, from %s", epoch.epoch, epoch.checkpoint)
        return resumed
    if epochs:
        raise NotFound("No checkpoint of this run can be used any more. Start a new run like it.")
    return learner


def _device_name(device: torch.device, devices: int) -> str:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return name if devices == 1 else f"{devices} × {name}"
    threads = f"{torch.get_num_threads()} threads"
    return f"CPU, {threads}" if devices == 1 else f"CPU, {devices} processes of {threads}"


def _train_epochs(attempt: Attempt, learner: Learner, on_kept: OnKept | None) -> None:
    epochs = range(learner.epochs_done, attempt.run.config.epochs)
    forecast, scores = _forecast(learner), _scores(attempt, learner.team, learner.epochs_done)
    pictured = _pictured(attempt, learner.team)

    def on_batch(progress: Progress) -> None:
        attempt.report(**progress_json(progress, attempt.run.config.epochs, forecast.add(progress)))

    with ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(2))
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)  # pictures of an epoch broken off
        keeper = stack.enter_context(Keeper(attempt, on_kept)) if on_kept else None
        files: dict[int, PredictionFiles] = {}

        def files_of(epoch: int) -> PredictionFiles:
            folder = predictions_folder(attempt.run.id, epoch, attempt.number)
            written = PredictionFiles(attempt.store.blobs, executor, folder, attempt.sign.check, pictured)
            return files.setdefault(epoch, written)

        def on_image(epoch: int, result: ImageResult) -> None:
            files_of(epoch).add(result)

        for result in fit(learner, epochs, on_batch, on_image):
            pictures = files_of(result.epoch)
            del files[result.epoch]
            records = pictures.records if learner.team.size == 1 else _of_all(learner.team, pictures)
            if keeper:
                keeper.keep(learner, result, records)
            scores[result.epoch] = result.metrics[METRIC]
            if _is_over(attempt, scores):
                break


def _pictured(attempt: Attempt, team: Team) -> frozenset[str]:
    """Choose the images that get pictures, the same ones on all processes of the team."""
    store, run, version = attempt.store, attempt.run, attempt.version
    chosen = patiently(lambda: pictured_images(store, run, version), check=attempt.sign.check)
    everything = len(version.split("valid"))
    if team.is_leader and len(chosen) < everything:
        logger.info("pictures of %d of %d validation photos", len(chosen), everything)
    return team.gather(chosen)[0]


def _of_all(team: Team, pictures: PredictionFiles) -> Records:
    """Gather what the processes made of their photos, once all pictures are written."""
    gathered = [record for records in team.gather(pictures.records()) for record in records]
    return lambda: gathered


def _forecast(learner: Learner) -> Forecast:
    batches: dict[Phase, int] = {"train": learner.batches, "validate": learner.validation_batches}
    return Forecast(batches, learner.config.epochs)


def _export(attempt: Attempt) -> None:
    """Export the best and the last epoch, where an earlier attempt did not.

    One that was damaged since is left out: whoever chooses it for predictions is told why, and curves and
    pictures are there all the same.
    """
    epochs: Sequence[Epoch] = [e for e in runs.epochs(attempt.store, attempt.run.id) if e.checkpoint]
    if not epochs:
        raise NotFound("The epochs of this run were deleted.")
    measured = [epoch for epoch in epochs if epoch.metrics.get(METRIC) is not None]
    best = max(measured, key=lambda e: (e.metrics[METRIC] or 0.0, -e.epoch), default=epochs[-1])
    for epoch in {e.epoch: e for e in (best, epochs[-1])}.values():
        attempt.report("exporting", epoch=epoch.epoch)
        try:
            export_epoch(attempt.store, epoch)
        except (FormatError, NotFound) as error:
            logger.warning("epoch %d cannot be exported: %s", epoch.epoch, error)
