"""Finding a learning rate: a few steps at rates that rise from hopelessly small to far too large."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.training.dataset import Batch, batches
from core.training.learner import Learner
from core.training.loop import train_step
from core.training.network import scaler_of
from core.training.optimisation import build_optimizer, learn, set_modes

MIN_RATE, MAX_RATE = 1e-7, 1.0
MIN_STEPS = 10
RULE = (
    "The rate at which the smoothed loss falls most steeply over the logarithm of the rate, "
    "but at most a tenth of the rate at which it is lowest."
)

_HOPELESS = 4.0  # times the lowest smoothed loss, from which on larger rates teach nothing
_LEAST_FALL = 0.01  # of the first smoothed loss: less is no learning
_SMOOTHED_SHARE = 0.05  # of the steps: the standard deviation of the smoothing

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps planned); it may raise to stop the search."""


@dataclass(frozen=True)
class RateSearch:
    """What a search found: (rate of the decoder, loss of its step), and the smoothed losses.

    ``suggestion`` follows RULE; it is None where the loss did not fall by a hundredth, and then a longer
    search or another start may help.
    """

    points: tuple[tuple[float, float], ...]
    smoothed: tuple[float, ...] = field(repr=False)
    suggestion: float | None


def find_learning_rate(learner: Learner, steps: int, on_step: OnStep) -> RateSearch:
    """Train a copy of the network for so many steps of one batch, each at a higher rate.

    The rates rise evenly in logarithm from 1e-7 to 1; the encoder's keep their ratio to the decoder's.
    It ends early where the loss is not finite or four times the lowest. The learner, torch's random
    state and the data are left as they were; frozen epochs are over, and nothing is averaged.

    Args:
        learner: of one process, as it would begin to train.
        steps: at least 10; 100 give a fine picture.

    Source: Smith 2017, arXiv 1506.01186.
    """
    if steps < MIN_STEPS or learner.team.size != 1:
        raise ValueError(f"a search takes at least {MIN_STEPS} steps and one process, not {steps}")
    rates = np.geomspace(MIN_RATE, MAX_RATE, steps)
    points: list[tuple[float, float]] = []
    with _trial(learner) as trial:
        for rate, batch in zip(rates.tolist(), _endless(trial), strict=False):
            loss = _step(trial, batch, rate)
            if not math.isfinite(loss):
                break
            points.append((rate, loss))
            on_step(len(points), steps)
            smoothed = smooth([loss for _, loss in points])
            if len(points) >= MIN_STEPS and smoothed[-1] > _HOPELESS * smoothed.min():
                break
    smoothed = smooth([loss for _, loss in points])
    return RateSearch(tuple(points), tuple(smoothed.tolist()), suggest_rate(points))


def suggest_rate(points: Sequence[tuple[float, float]]) -> float | None:
    """Choose a rate by RULE; None where the loss hardly falls or there are too few points."""
    if len(points) < MIN_STEPS:
        return None
    rates = np.array([rate for rate, _ in points])
    losses = smooth([loss for _, loss in points])
    lowest = int(losses.argmin())
    slopes = np.gradient(losses, np.log(rates))[: lowest + 1]
    if losses[: lowest + 1].max() - losses[lowest] < _LEAST_FALL * abs(losses[0]):
        return None
    return float(min(rates[int(slopes.argmin())], rates[lowest] / 10))


def smooth(losses: Sequence[float]) -> NDArray[np.float64]:
    """Average each loss with its neighbours, by a Gaussian that does not move it to either side."""
    places = np.arange(len(losses))
    width = max(1.0, _SMOOTHED_SHARE * len(losses))
    weights = np.exp(-(((places[:, None] - places) / width) ** 2) / 2)
    return weights @ np.asarray(losses, np.float64) / weights.sum(axis=1)


@contextlib.contextmanager
def _trial(learner: Learner) -> Generator[Learner]:
    """Give a learner with copies of all that training changes; put torch's and the scaler's state back."""
    config = dataclasses.replace(learner.config, frozen_epochs=0, accumulate=1)
    bare = cast("nn.Module", cast("Any", learner.network.module).module)  # as it was before Fabric wrapped it
    module = learner.fabric.setup_module(copy.deepcopy(bare))
    learn(module)
    network = dataclasses.replace(learner.network, module=module, is_compiled=False)
    scaler = scaler_of(learner.fabric)
    state = scaler.state_dict() if scaler is not None else None
    devices = [learner.network.device] if learner.network.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(config.seed)
            set_modes(module, config, epoch=1)
            optimizer = build_optimizer(module, config)
            yield dataclasses.replace(
                learner, config=config, network=network, optimizer=optimizer, average=None
            )
    finally:
        if scaler is not None and state:
            scaler.load_state_dict(state)


def _endless(learner: Learner) -> Iterator[Batch]:
    epoch = 0
    while True:
        epoch += 1
        yield from batches(learner.data.train, learner.config, epoch)


def _step(learner: Learner, batch: Batch, rate: float) -> float:
    peak = learner.optimizer.param_groups[-1]["peak"]  # the decoder's
    for group in learner.optimizer.param_groups:
        group["lr"] = rate * group["peak"] / peak
    return float(train_step(learner, batch)[2])
