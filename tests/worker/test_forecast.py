"""How long a training still takes, told from its batches."""

import pytest

from core.training.progress import Progress
from core.worker.forecast import Forecast, progress_json


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_all_batches_still_to_come_at_their_measured_pace() -> None:
    clock = Clock()
    forecast = Forecast({"train": 4, "validate": 2}, epochs=3, clock=clock)
    left: list[float] = []

    for epoch in (1, 2, 3):
        for phase, batches, seconds in (("train", 4, 2.0), ("validate", 2, 1.0)):
            for batch in range(1, batches + 1):
                clock.now += seconds
                left.append(forecast.add(Progress(phase, epoch, batch, batches, 1.0)))

    # One second for a validation batch is also what is guessed from two for a training batch.
    assert left == pytest.approx(
        [30 - passed for passed in (2, 4, 6, 8, 9, 10)]
        + [20 - passed for passed in (2, 4, 6, 8, 9, 10)]
        + [10 - passed for passed in (2, 4, 6, 8, 9, 10)]
    )


def test_a_resumed_training_counts_only_what_is_left() -> None:
    clock = Clock()
    forecast = Forecast({"train": 4, "validate": 2}, epochs=3, clock=clock)
    clock.now = 2.0

    assert forecast.add(Progress("train", 3, 1, 4, 1.0)) == pytest.approx(8.0)


def test_progress_is_named_as_the_page_reads_it() -> None:
    assert progress_json(Progress("validate", 2, 1, 4, 12.345), 5, 60.04) == {
        "phase": "validating",
        "epoch": 2,
        "epochs": 5,
        "batch": 1,
        "batches": 4,
        "images_per_second": 12.35,
        "eta_seconds": 60.0,
    }
