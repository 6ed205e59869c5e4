"""Trainings of a second in this process: a small network, and a loss that lets a test act in mid-training."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.domain.runs import Run, WorkState
from core.models.registry import ENCODERS, MODELS, EncoderSpec, ModelSpec
from core.storage import lifecycle, processes, reservations, runs
from core.storage.lifecycle import RUNS, Claim, Room
from core.storage.store import Store
from core.training.losses import LOSSES, Batch, LossSpec, Term, build_cross_entropy
from core.worker import __main__ as worker
from core.worker.artefacts import run_folder

SMALL: Mapping[str, object] = {"model": "small", "encoder": "plain", "loss": "watched"}
BATCHES = 3  # six photos to train on, in twos


class Killed(BaseException):
    """The process is gone, as far as a test can have that in its own: nothing handles it."""


class Small(nn.Module):
    """Three layers, wide enough for a checkpoint of a few hundred kilobytes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 48, 3, padding=1, stride=2),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
        )
        self.head = nn.Conv2d(48, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


def _build_small(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    return Small(num_classes)


class Moments:
    """Acts of a test within a training, each before one batch; all are forgotten once they were met."""

    def __init__(self) -> None:
        self._acts: dict[int, Callable[[], object]] = {}

    def before(self, act: Callable[[], object], *, epoch: int, batch: int = 1) -> None:
        """Act before a batch of the attempt's so many-th epoch; both count from 1."""
        self._acts[(epoch - 1) * BATCHES + batch] = act

    def build(self) -> Term:
        """Build a cross-entropy that counts the batches of one attempt."""
        compute, met = build_cross_entropy(), 0

        def term(batch: Batch) -> Tensor:
            nonlocal met
            if torch.is_grad_enabled():  # not while it measures
                met += 1
                self._acts.pop(met, lambda: None)()
            return compute(batch)

        return term


def know_small_parts(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Have SMALL's parts in the registries as long as the test lasts."""
    moments = Moments()
    monkeypatch.setitem(MODELS, "small", ModelSpec("Small", _build_small, ("plain",)))
    monkeypatch.setitem(ENCODERS, "plain", EncoderSpec("Plain"))
    monkeypatch.setitem(LOSSES, "watched", LossSpec("Watched", moments.build))
    return moments


def claim_of(store: Store, run: Run) -> Claim:
    """Claim a run that is the next in the queue."""
    claim = lifecycle.claim(store, RUNS, processes.this_host(), Room(64))
    assert claim is not None and claim.work_id == run.id
    return claim


def carry_out(store: Store, run: Run) -> tuple[int, Run]:
    """Claim a run and carry it out in this process; give the exit code, and the run as it is then."""
    claim = claim_of(store, run)
    try:
        code = worker.carry_out(store, "run", claim)
    finally:
        reservations.release(store, claim)
    return code, runs.get(store, run.id)


def carry_out_until_killed(store: Store, run: Run) -> Run:
    """Carry a run out up to the moment that raises Killed, and put it back into the queue."""
    with pytest.raises(Killed):
        carry_out(store, run)
    (work,) = lifecycle.active(store, RUNS)
    assert lifecycle.declare_lost(store, RUNS, work, "its process was killed")
    assert lifecycle.requeue_interrupted(store, RUNS) == [run.id]
    return runs.get(store, run.id)


def resume(store: Store, run: Run) -> tuple[int, Run]:
    """Have the user resume a run, and carry it out in this process."""
    assert lifecycle.resume(store, RUNS, run.id)
    return carry_out(store, run)


def checkpoint_files(store: Store, run: Run) -> dict[int, set[str]]:
    """Map each epoch that has files of its weights in the run's folder to their names."""
    found: dict[int, set[str]] = {}
    for key, _ in store.blobs.list(run_folder(run.id)):
        name = key.removeprefix(f"{run_folder(run.id)}/")
        if name.startswith("epoch_") and name.endswith((".pt", ".json")):
            found.setdefault(int(name[6:9]), set()).add(name)
    return found


def check_whole(store: Store, run: Run, *, epochs: int, kept: set[int] | None = None) -> None:
    """Check that so many epochs are there without a gap, each with all that belongs to it and no more.

    Args:
        kept: whose checkpoints are there; None means all.
    """
    kept = set(range(1, epochs + 1)) if kept is None else kept
    rows = runs.epochs(store, run.id)
    assert [row.epoch for row in rows] == list(range(1, epochs + 1))
    assert runs.get(store, run.id).epochs_done == epochs
    assert {row.epoch for row in rows if row.checkpoint} == kept
    named = {row.epoch: f"epoch_{row.epoch:03d}-a{row.attempt}" for row in rows}
    assert checkpoint_files(store, run) == {e: {f"{named[e]}.pt", f"{named[e]}.json"} for e in kept}
    for row in rows:
        if row.checkpoint:
            check_loadable(store.blobs.local(row.checkpoint), row.epoch)
    pictures = {key for key, _ in store.blobs.list(f"{run_folder(run.id)}/predictions")}
    records = [record for row in rows for record in runs.records(store, run.id, row.epoch)]
    assert len(records) == 2 * epochs  # two photos to validate with
    assert pictures == {key for record in records for key in (record.prediction, record.confidence)}


def check_loadable(path: Path, epoch: int) -> None:
    """Check that a checkpoint is what its description says, and of this epoch."""
    from core.training.checkpoints import load_weights

    _, meta = load_weights(path)
    assert meta.epoch == epoch


def check_succeeded(code: int, run: Run) -> None:
    """Check that an attempt ended well; else say why not."""
    assert (code, run.state) == (0, WorkState.SUCCEEDED), run.error


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[None]:
    """Mount a disk of this size at an empty folder; skips without the right to."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mounting, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    """Fill a small disk but for so many bytes; give the file that does."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:  # the run may fill it first
        disk = os.statvfs(folder)
        file.write(b"\0" * (disk.f_bavail * disk.f_frsize - leave))
    return filler
