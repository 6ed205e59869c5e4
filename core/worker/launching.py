"""What carries the attempts of one lane out: starts their processes, and watches until they are gone."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from core.domain.runs import Gpu
from core.storage.lifecycle import OwnedWork, Room
from core.storage.store import Store
from core.training.environment import PROCESS_ENV

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Lane:
    """A queue with room of its own: no job waits behind a training. ``name``: "run" or "job"."""

    table: sa.Table
    slots: int

    @property
    def name(self) -> str:
        """What `python -m core.worker` calls its work."""
        return self.table.name


@dataclass(frozen=True)
class Patience:
    """Seconds between two rounds, from a cancel to SIGTERM, and from there to SIGKILL."""

    poll: float = 0.5
    cancel: float = 30.0  # longer than a batch and a checkpoint
    terminate: float = 15.0
    report: float = 5.0  # between two reports of what the worker offers and uses


@dataclass(frozen=True)
class Offer:
    """What a launcher reports of itself. ``note``: why it takes nothing on now; "" when it does."""

    slots: int
    largest: int
    gpus: tuple[Gpu, ...] = field(default=())
    note: str = ""


class Launcher(Protocol):
    """One lane on one host. The supervisor sweeps, re-queues and claims; this does the rest.

    ``host`` is whom the rows name as their owner; ``submission`` begins the names that a cluster
    knows attempts by, None where there is none.
    """

    lane: Lane
    host: str
    submission: str | None

    def room(self) -> Room | None:
        """Give what can be started here, None while nothing can."""
        ...

    def offer(self) -> Offer:
        """Give what the worker page shows."""
        ...

    def launch(self, work: OwnedWork) -> None:
        """Start a claimed attempt; where that fails it goes back to the queue."""
        ...

    def watch(self) -> None:
        """Judge what has left, free what is gone, stop what has to stop."""
        ...


def command(lane: str, work: OwnedWork, python: str = sys.executable) -> list[str]:
    """Give the command that carries an attempt out: one process, or torchrun with one per device."""
    task = ["-m", "core.worker", lane, work.claim.work_id, "--attempt", str(work.claim.attempt)]
    if work.devices < 2:
        return [python, *task]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    processes = ["--nnodes", "1", "--nproc-per-node", str(work.devices), "--max-restarts", "0"]
    return [python, "-m", "torch.distributed.run", *processes, *meeting, *task]


def child_environment(store: Store, gpu_ids: Sequence[str] | None = None) -> dict[str, str]:
    """Give the variables of a work process: ours, what torch reads at import, and where this store is.

    Args:
        gpu_ids: the only GPUs that it sees; None leaves it those that we see.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    devices = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpu_ids or ())}
    return {
        **PROCESS_ENV,
        **os.environ,
        **({} if gpu_ids is None else devices),
        "PYTHONPATH": os.pathsep.join(paths),
        "MASKWRIGHT_HOME": str(store.home),
        "MASKWRIGHT_DATABASE_URL": store.engine.url.render_as_string(hide_password=False),
        "MASKWRIGHT_BLOBS": store.blobs.url,
    }
