"""Runs, epochs, jobs and their states. Who may change a state: core.storage.lifecycle."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.domain.errors import AppError
from core.domain.training import TrainingConfig

MAX_TAGS = 20
MAX_TAG_LENGTH = 40
MAX_NOTE_LENGTH = 10_000


class WorkState(StrEnum):
    """The life of a run or a job: docs/design.md, "A run's life"."""

    QUEUED = "queued"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_active(self) -> bool:
        """Whether a process owns the row now, or should."""
        return self in (WorkState.DISPATCHED, WorkState.RUNNING)

    @property
    def is_final(self) -> bool:
        """Whether nothing will change it by itself any more."""
        return self in (WorkState.SUCCEEDED, WorkState.FAILED, WorkState.CANCELLED)


@dataclass(frozen=True)
class Process:
    """An operating-system process, told apart from a later one with the same number."""

    pid: int
    started_ticks: int  # field 22 of /proc/<pid>/stat: clock ticks since boot
    boot_id: str


@dataclass(frozen=True)
class Run:
    """One training."""

    id: str
    project_id: str
    data_version_id: str
    name: str
    config: TrainingConfig
    state: WorkState
    attempt: int
    crashes: int
    cancel_requested: bool
    epochs_done: int
    progress: dict[str, Any]  # {"epoch", "batch", "batches", "phase", "images_per_second", "eta_seconds"}
    priority: int  # a higher one starts first
    host: str | None  # who started the newest attempt: a machine's name, or a Ray cluster's
    machine: str | None  # where it computes
    device: str
    error: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    heartbeat_at: datetime | None
    tags: tuple[str, ...] = ()  # as ``tidy_tags`` gives them
    note: str = ""
    is_archived: bool = False  # out of sight in the table of runs, and nothing else


def tidy_tags(typed: Iterable[str]) -> tuple[str, ...]:
    """Give tags as they are kept: one per comma, white space as single blanks, none twice.

    Of tags that differ in letter case alone the first one stays.

    Raises:
        AppError: a tag is too long, or there are too many.
    """
    parts = (" ".join(part.split()) for text in typed for part in text.replace("\0", "").split(","))
    tags: dict[str, str] = {}
    for part in filter(None, parts):
        tags.setdefault(part.casefold(), part)
    long = next((tag for tag in tags.values() if len(tag) > MAX_TAG_LENGTH), None)
    if long:
        raise AppError(
            f"A tag has at most {MAX_TAG_LENGTH} characters; “{long[:20]}…” has {len(long)}. "
            "Longer words go into the note."
        )
    if len(tags) > MAX_TAGS:
        raise AppError(f"A run has at most {MAX_TAGS} tags, and these are {len(tags)}. Take some away.")
    return tuple(tags.values())


OF_THE_MACHINE = frozenset({"images_per_second", "cpu_cores", "memory_gib", "gpu_memory_gib"})
"""Metrics of an epoch that tell of the machine and what else it did: they differ where all else is equal."""


@dataclass(frozen=True)
class Epoch:
    """One complete pass of a run: its figures, and the files that count.

    ``metrics`` holds plain numbers or None (not defined): train_/val_ loss, miou_foreground,
    dice_foreground, pixel_accuracy, and per category ``val_iou/<category_id>``,
    ``val_dice/<category_id>``; durations in seconds.
    """

    run_id: str
    epoch: int  # 1 is the first
    attempt: int
    metrics: dict[str, float | None]
    durations: dict[str, float]
    checkpoint: str  # blob key; "" once it was given up, as the run's ``keep`` says
    created_at: datetime
    checkpoint_bytes: int | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a run."""

    at: datetime
    kind: str
    detail: str


@dataclass(frozen=True)
class Gpu:
    """A graphics processor of a worker. Bytes are None where nobody measures them."""

    id: str  # what CUDA_VISIBLE_DEVICES takes: a UUID or a number
    name: str
    memory_bytes: int | None = None
    used_bytes: int | None = None
    busy_share: float | None = None  # 0..1


@dataclass(frozen=True)
class WorkerInfo:
    """A worker as it last reported itself: a machine, or a Ray cluster as one."""

    host: str
    version: str
    lanes: tuple[str, ...]  # of "run" and "job"
    slots: int  # runs at once where there is no GPU
    gpus: tuple[Gpu, ...]
    largest: int  # the most devices that one run may have here
    usage: dict[str, Any]  # {"cpus", "load", "memory_bytes", "used_bytes", "free_disk_bytes"}, what is known
    note: str  # why it takes nothing on at present; "" when it does
    started_at: datetime
    heartbeat_at: datetime


@dataclass(frozen=True)
class Champion:
    """The checkpoint that a project shows to others, and who chose it."""

    project_id: str
    run_id: str
    epoch: int
    note: str
    author: str
    created_at: datetime


@dataclass(frozen=True)
class Job:
    """Work of the light lane: import, evaluate, export, predict."""

    id: str
    project_id: str | None
    kind: str
    payload: dict[str, Any]
    state: WorkState
    attempt: int
    cancel_requested: bool
    progress: float  # 0..1
    message: str
    result: dict[str, Any] | None
    error: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
