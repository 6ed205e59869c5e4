"""Measuring in three threads: in order, nothing left running, and never too many large photos at once."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.domain.errors import Cancelled
from core.training import validation
from core.training.validation import Truths, validate

ITEMS = 12


class Watched:
    """Stands in for a network of batches of two: notes what is read, and lets results be told apart."""

    batch_size = 2

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.compared: list[str] = []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A network whose reading and comparing are noted; only the order of things is looked at."""
    seen = Watched()

    def read_batch(network: Any, items: Any, read_item: Any) -> Any:
        seen.begun.append(items[0])
        pixels = np.zeros((2, 2), np.uint8)
        return validation._Inputs([str(item) for item in items], [pixels, pixels], pixels, pixels)

    def result(image_id: str, truth: Any, logits: Any, loss: float) -> Any:
        seen.compared.append(image_id)
        return SimpleNamespace(image_id=image_id)

    monkeypatch.setattr(validation, "_read_batch", read_batch)
    monkeypatch.setattr(validation, "_forward", lambda network, images, labels: (np.zeros((2, 1)), 0.0))
    monkeypatch.setattr(validation, "_image_result", result)
    return seen


def measured(watched: Watched, on_batch: Callable[[Any], None] = lambda _: None) -> Any:
    items: Any = range(ITEMS)
    network: Any = watched
    return validate(network, items, lambda _: None, on_batch, epoch=1)


def test_photos_come_in_order(watched: Watched) -> None:
    assert [r.image_id for r in measured(watched)] == [str(n) for n in range(ITEMS)]
    assert sorted(watched.begun) == list(range(0, ITEMS, 2))


def test_large_photos_come_in_order_too_one_batch_after_the_other(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "LIGHT_PIXELS", 1)
    ahead: list[int] = []

    def on_batch(progress: Any) -> None:
        ahead.append(len(watched.begun) * 2 - len(watched.compared))

    assert [r.image_id for r in measured(watched, on_batch)] == [str(n) for n in range(ITEMS)]
    assert max(ahead) <= 2, "all of a batch is compared before the next but one is read"


@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_whoever_stops_leaves_no_thread_behind(watched: Watched, stop: str) -> None:
    threads = threading.active_count()

    def cancel(progress: Any) -> None:
        if progress.batch == 2:
            raise Cancelled

    if stop == "cancel":
        with pytest.raises(Cancelled):
            list(measured(watched, cancel))
    else:
        results = measured(watched)
        assert next(results).image_id == "0"
        results.close()

    assert threading.active_count() == threads
    assert len(watched.begun) < ITEMS / 2, "the rest was never read"


def test_truths_are_kept_as_they_are_while_there_is_room() -> None:
    noise = np.random.default_rng(0).integers(0, 9, (2, 40, 30)).astype(np.uint8)
    truths = Truths(limit=1000)
    for name, truth in zip("ab", noise, strict=True):
        truths.put(name, truth)

    kept = truths.get("a")

    assert kept is not None and kept.dtype == np.uint8
    assert np.array_equal(kept, noise[0])
    assert truths.get("b") is None, "two of them take more than 1,000 bytes"
