"""What networks give back: logits alone, logits of several stages, or logits with regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


class PanopticOutput(NamedTuple):
    """Classes and single regions of a batch of images (N, 3, H, W).

    logits: (N, C, H, W). centres: (N, 1, H, W), about 1 at the centre of a region and 0 far from any.
    offsets: (N, 2, H, W), pixels (down, right) from each pixel to the centre of the region it is part of.
    """

    logits: Tensor
    centres: Tensor
    offsets: Tensor


Outputs: TypeAlias = "Tensor | tuple[Tensor, ...] | PanopticOutput"
"""Logits (N, C, H, W); or, in training, a tuple of them: the first is the answer, the others are outputs
of earlier stages, of the same shape, that are supervised too; or a PanopticOutput, in training and after."""


def logits_of(outputs: Outputs) -> Tensor:
    """Give the logits that are the network's answer, (N, C, H, W)."""
    if isinstance(outputs, PanopticOutput):
        return outputs.logits
    return outputs[0] if isinstance(outputs, tuple) else outputs
