"""The losses there are. Keys are written into databases and checkpoints: never rename one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(logits float32 (N, C, H, W), class indices int64 (N, H, W)) to a scalar."""


@dataclass(frozen=True)
class LossSpec:
    """One loss: how it is shown and how it is built."""

    title: str
    build: Callable[[], Loss]


def build_cross_entropy() -> Loss:
    """Build the mean over all pixels of -log p(true class)."""
    from torch.nn import functional

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.nll_loss(_log_probabilities(logits), labels)

    return loss


def build_dice() -> Loss:
    """Build 1 - the mean soft Dice of the classes, background too, that the batch's labels hold.

    Soft Dice of a class: 2 * sum(p * t) / (sum(p) + sum(t)) over all pixels of the batch. A class
    that no label shows is left out: its Dice would be 0 whatever the network says.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return _dice_loss(_log_probabilities(logits), labels)

    return loss


def build_cross_entropy_and_dice() -> Loss:
    """Build the sum of both: cross-entropy steadies the start, Dice cares for small regions."""
    from torch.nn import functional

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        log_probabilities = _log_probabilities(logits)
        return functional.nll_loss(log_probabilities, labels) + _dice_loss(log_probabilities, labels)

    return loss


def _log_probabilities(logits: Tensor) -> Tensor:
    # Plane by plane in memory: over channels_last logits the softmax takes several times as long.
    return logits.float().contiguous().log_softmax(dim=1)


def _dice_loss(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    from torch.nn import functional

    probabilities = log_probabilities.exp()
    truth = functional.one_hot(labels, log_probabilities.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    truth_sizes = truth.sum(dim=(0, 2, 3))
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    dice = 2 * overlap / (probabilities.sum(dim=(0, 2, 3)) + truth_sizes)
    is_present = truth_sizes > 0
    return 1 - (dice * is_present).sum() / is_present.sum()


LOSSES: dict[str, LossSpec] = {
    "ce": LossSpec("Cross-entropy", build_cross_entropy),
    "dice": LossSpec("Dice", build_dice),
    "ce+dice": LossSpec("Cross-entropy + Dice", build_cross_entropy_and_dice),
}
