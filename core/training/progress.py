"""What a caller hears while a network trains or is measured."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["train", "validate"]


@dataclass(frozen=True)
class Progress:
    """One more batch is done: ``batch`` of ``batches`` in this phase of this epoch, all from 1."""

    phase: Phase
    epoch: int
    batch: int
    batches: int
    images_per_second: float  # mean of this phase so far


OnBatch = Callable[[Progress], None]
"""It may raise Cancelled or Fenced: every batch is a place to stop."""


class Pace:
    """Counts images against the clock."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.images = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    @property
    def images_per_second(self) -> float:
        """Mean since the start."""
        return self.images / max(self.seconds, 1e-9)


class Usage:
    """What this process takes of the machine from now on."""

    def __init__(self) -> None:
        self._pace, self._cpu_seconds = Pace(), time.process_time()

    @property
    def figures(self) -> dict[str, float]:
        """``cpu_cores``: in use on average; ``memory_gib``: the most memory ever held, in 2^30 bytes."""
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        busy = time.process_time() - self._cpu_seconds
        return {"cpu_cores": busy / max(self._pace.seconds, 1e-9), "memory_gib": peak / 2**30}
