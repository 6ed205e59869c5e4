"""A search for a learning rate follows its rule and leaves no trace in what it searches for."""

import dataclasses

import numpy as np
import pytest
import torch

from core.domain.errors import Cancelled
from core.domain.training import TrainingConfig
from core.training.dataset import TrainingData
from core.training.learner import build_learner
from core.training.loop import fit
from core.training.rate_finder import MAX_RATE, MIN_RATE, find_learning_rate, smooth, suggest_rate
from tests.training.builders import ignore

STEPS = 24


def test_the_rate_is_where_the_loss_falls_most_steeply() -> None:
    rates = np.geomspace(1e-7, 1.0, 141)
    falling = 1 / (1 + (rates / 1e-3) ** 2)  # steepest over the logarithm at 1e-3, lowest at the end

    assert suggest_rate(list(zip(rates, falling, strict=True))) == pytest.approx(1e-3, rel=0.2)


def test_the_rate_is_a_tenth_of_the_one_with_the_lowest_loss_at_most() -> None:
    rates = np.geomspace(1e-7, 1.0, 141)
    falling = 1 / (1 + (rates / 1e-3) ** 2) + (rates / 3e-3) ** 4  # soon too large

    suggestion = suggest_rate(list(zip(rates, falling, strict=True)))

    lowest = rates[np.argmin(smooth(falling.tolist()))]
    assert suggestion == pytest.approx(lowest / 10) and suggestion < 1e-3


@pytest.mark.parametrize("losses", [np.linspace(1, 2, 50), np.full(50, 1.0), np.linspace(2, 1, 9)])
def test_nothing_is_suggested_where_nothing_was_learnt(losses: np.ndarray) -> None:
    rates = np.geomspace(1e-7, 1.0, len(losses))

    assert suggest_rate(list(zip(rates, losses, strict=True))) is None


def test_smoothing_keeps_a_line_a_line_and_takes_noise_away() -> None:
    line, noise = np.linspace(0, 1, 100), np.random.default_rng(0).normal(0, 1, 100)

    assert smooth(line.tolist())[30:70] == pytest.approx(line[30:70])
    assert smooth(noise.tolist()).std() < noise.std() / 2


def test_a_search_raises_the_rate_until_training_fails(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(dataclasses.replace(config, optimizer="sgd", clip_gradient_norm=0), data)
    heard: list[tuple[int, int]] = []

    search = find_learning_rate(learner, STEPS, lambda done, planned: heard.append((done, planned)))

    rates = [rate for rate, _ in search.points]
    assert rates == pytest.approx(np.geomspace(MIN_RATE, MAX_RATE, STEPS)[: len(rates)])
    assert heard == [(number, STEPS) for number in range(1, len(rates) + 1)]
    assert len(search.smoothed) == len(rates)
    assert search.suggestion is None or MIN_RATE < search.suggestion <= MAX_RATE / 10


def test_a_search_changes_nothing(config: TrainingConfig, data: TrainingData) -> None:
    config = dataclasses.replace(config, ema=0.9, frozen_epochs=1)
    untouched, searched = build_learner(config, data), build_learner(config, data)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()

    find_learning_rate(searched, STEPS, ignore)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert not searched.optimizer.state_dict()["state"]
    results = [
        [r.metrics["val_loss"] for r in fit(x, range(2), ignore, ignore)] for x in (untouched, searched)
    ]
    assert results[0] == results[1]


def test_a_search_can_be_stopped(config: TrainingConfig, data: TrainingData) -> None:
    def stop(done: int, planned: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        find_learning_rate(build_learner(config, data), STEPS, stop)


def test_too_short_a_search_is_refused(config: TrainingConfig, data: TrainingData) -> None:
    with pytest.raises(ValueError, match="at least 10 steps"):
        find_learning_rate(build_learner(config, data), 9, ignore)
