"""Weights averaged over the steps of a training: steadier than the last ones, and often better."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Average:
    """An exponential moving average of a network's parameters, brought up to date in place.

    ``weights`` has the names of the network's state dict, parameters only: statistics of batch
    normalisation are averages already and stay the network's own.

    Source: Tarvainen and Valpola 2017, arXiv 1703.01780; the slow start is TensorFlow's
    ExponentialMovingAverage.
    """

    decay: float
    weights: Mapping[str, Tensor] = field(repr=False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the parameters after a step (0 is the first of the run).

        average = d * average + (1 - d) * parameters, d = min(decay, (1 + step) / (10 + step)): the
        first steps, which are far from the goal, are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = named_parameters(module)
        current = [parameters[name] for name in self.weights]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    @contextlib.contextmanager
    def in_place_of(self, module: nn.Module) -> Generator[None]:
        """Let a network have the average's weights for as long as the block lasts."""
        parameters = named_parameters(module)
        own = {name: parameters[name].detach().clone() for name in self.weights}
        _set(parameters, self.weights)
        try:
            yield
        finally:
            _set(parameters, own)


def start_average(module: nn.Module, decay: float) -> Average:
    """Begin an average with a network's parameters as they are now."""
    copies = {name: parameter.detach().clone() for name, parameter in named_parameters(module).items()}
    return Average(decay, copies)


def named_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Map a network's parameters by their names in its state dict, which no wrapper changes."""
    state: dict[str, Tensor] = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, nn.Parameter)}


@torch.no_grad()
def _set(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
