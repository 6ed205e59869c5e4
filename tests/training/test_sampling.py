"""What an epoch draws: a function of (seed, epoch), with rare classes as often as was asked for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig
from core.models import registry
from core.models.registry import ModelSpec
from core.training.sampling import (
    batch_count,
    class_presence,
    epoch_order,
    image_weights,
    side_of_epoch,
)
from tests.training.builders import NETS

CONFIG = TrainingConfig(seed=3)


def presence_of(*shown: set[int]) -> np.ndarray:
    return np.array([[label in of for label in range(256)] for of in shown])


@given(st.integers(2, 20), st.integers(0, 90), st.integers(1, 5))
def test_alike_each_image_comes_once_before_any_comes_again(images: int, draws: int, epoch: int) -> None:
    order = epoch_order(images, replace(CONFIG, epoch_images=draws), epoch)

    assert len(order) == (draws or images)
    for start in range(0, len(order), images):
        part = order[start : start + images]
        assert len(set(part.tolist())) == len(part)


@given(
    st.lists(st.sets(st.sampled_from([0, 1, 2, 3, IGNORED])), min_size=2, max_size=20),
    st.floats(0.05, 1),
    st.integers(1, 90),
)
def test_weighted_each_image_comes_as_often_as_it_should_or_once_more(
    shown: list[set[int]], balance: float, draws: int
) -> None:
    weights = image_weights(presence_of(*shown), balance)

    order = epoch_order(len(shown), replace(CONFIG, epoch_images=draws), 1, weights)

    times = np.bincount(order, minlength=len(shown))
    assert times.sum() == draws
    assert (np.abs(times - draws * weights) < 1 + 1e-6).all()


def test_the_weights_are_the_repeat_factors_of_the_rarest_class() -> None:
    """Of four images all show class 1, one class 2: its factor is sqrt(4 / 1) = 2."""
    presence = presence_of({0, 1}, {0, 1}, {1, 2}, {0, 1, IGNORED})

    assert image_weights(presence, 1.0) == pytest.approx(np.array([1, 1, 2, 1]) / 5)
    assert image_weights(presence, 0.5) == pytest.approx(np.array([0.225, 0.225, 0.325, 0.225]))
    assert image_weights(presence_of({0}, {IGNORED}), 1.0) == pytest.approx([0.5, 0.5])


def test_over_many_epochs_a_rare_image_is_drawn_in_its_proportion() -> None:
    """Image 0 of 50 alone shows class 2; its factor is sqrt(50) against 1 of the others."""
    presence = presence_of({1, 2}, *[{1}] * 49)
    weights = image_weights(presence, 1.0)

    times = sum(np.bincount(epoch_order(50, CONFIG, epoch, weights), minlength=50) for epoch in range(1, 401))

    assert times[0] / 400 == pytest.approx(50 * np.sqrt(50) / (np.sqrt(50) + 49), abs=0.1)
    assert times[1:] / 400 == pytest.approx(50 / (np.sqrt(50) + 49), abs=0.1)


def test_an_order_is_of_its_seed_and_epoch_alone() -> None:
    weights = image_weights(presence_of(*[{1}] * 9, {2}), 0.7)
    for given_weights in (None, weights):

        def order(seed: int, epoch: int, given_weights: np.ndarray | None = given_weights) -> list[int]:
            return epoch_order(10, replace(CONFIG, seed=seed), epoch, given_weights).tolist()

        assert order(3, 1) == order(3, 1)
        assert len({tuple(order(seed, epoch)) for seed in (3, 4) for epoch in (1, 2)}) == 4


def test_presence_is_what_the_labels_show() -> None:
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[1, 0, :2] = 7, IGNORED

    presence = class_presence(labels)

    assert [np.flatnonzero(row).tolist() for row in presence] == [[0], [0, 7, IGNORED]]


@pytest.mark.parametrize(("draws", "expected"), [(0, 2), (8, 1), (9, 1), (10, 2), (100, 13), (2, 1)])
def test_batches_are_counted_of_what_is_drawn(draws: int, expected: int) -> None:
    assert batch_count(17, replace(CONFIG, batch_size=8, epoch_images=draws)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [256] * 10),
        ({"crop": 128}, [128] * 10),
        ({"progressive": True}, [128, 128, 160, 160, 192, 192, 224, 224, 256, 256]),
        ({"progressive": True, "crop": 128}, [64, 64, 64, 96, 96, 96, 128, 128, 128, 128]),
        ({"progressive": True, "size": 64}, [64] * 10),
        ({"progressive": True, "size": 96}, [64] * 5 + [96] * 5),
        ({"progressive": True, "epochs": 2}, [192, 256, 256]),
        ({"progressive": True, "epochs": 1}, [256]),
    ],
)
def test_the_side_grows_in_steps_the_model_can_take(
    changes: dict[str, int], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.MODELS, "steps", ModelSpec("", NETS["two_layers"].build, ("none",)))
    config = replace(CONFIG, **{"model": "steps", "epochs": 10} | changes)

    assert [side_of_epoch(config, epoch) for epoch in range(1, len(expected) + 1)] == expected
