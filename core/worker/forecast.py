"""How long a training will go on, from the batches timed so far."""

import time
from collections.abc import Callable
from typing import Any

from core.training.progress import Phase, Progress

VALIDATION_GUESS = 0.5  # of a training batch, until the first validation batch is timed


class Forecast:
    """Times batches of both phases; everything between two batches counts for the later one."""

    def __init__(
        self,
        batches: dict[Phase, int],
        epochs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batches, self._epochs, self._clock = batches, epochs, clock
        self._seconds: dict[Phase, float] = {"train": 0.0, "validate": 0.0}
        self._timed: dict[Phase, int] = {"train": 0, "validate": 0}
        self._last = clock()

    def add(self, progress: Progress) -> float:
        """Time one more batch; give the seconds that all epochs still to come will take."""
        moment = self._clock()
        self._seconds[progress.phase] += moment - self._last
        self._timed[progress.phase] += 1
        self._last = moment
        train = self._per_batch("train", 0.0)
        validate = self._per_batch("validate", train * VALIDATION_GUESS)
        epoch = self._batches["train"] * train + self._batches["validate"] * validate
        done = progress.batch * train
        if progress.phase == "validate":
            done = self._batches["train"] * train + progress.batch * validate
        return max(0.0, (self._epochs - progress.epoch + 1) * epoch - done)

    def _per_batch(self, phase: Phase, default: float) -> float:
        timed = self._timed[phase]
        return self._seconds[phase] / timed if timed else default


def progress_json(progress: Progress, epochs: int, eta_seconds: float) -> dict[str, Any]:
    """Give a batch's progress as the run's page reads it."""
    return {
        "phase": {"train": "training", "validate": "validating"}[progress.phase],
        "epoch": progress.epoch,
        "epochs": epochs,
        "batch": progress.batch,
        "batches": progress.batches,
        "images_per_second": round(progress.images_per_second, 2),
        "eta_seconds": round(eta_seconds, 1),
    }
