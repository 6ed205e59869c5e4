"""What a run minimises: the configured loss over all that its network gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.domain.errors import FormatError
from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig
from core.models.outputs import Outputs, PanopticOutput
from core.training.class_weights import class_weights
from core.training.losses import LOSSES, Batch, parse_loss
from core.training.regions import region_targets, usual_sigma

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(logits (N, C, H, W), class indices or IGNORED int64 (N, H, W), class weights (C,) or None) to a scalar."""

# Cheng et al. 2020, arXiv 1911.10194: lambda_heatmap and lambda_offset.
_CENTRES_WEIGHT = 200.0
_OFFSETS_WEIGHT = 0.01


@dataclass(frozen=True)
class Criterion:
    """A network's outputs and the truth to the scalar that training minimises.

    weights: float32 (C,), of the classes. auxiliary_weight: of the loss of each further output.
    ignored: the label of pixels that count nowhere.
    """

    loss: Loss = field(repr=False)
    weights: Tensor
    auxiliary_weight: float
    ignored: int = IGNORED

    def __call__(
        self,
        outputs: Outputs,
        labels: Tensor,
        instances: NDArray[np.uint8] | NDArray[np.uint16] | None = None,
    ) -> Tensor:
        """Compute the loss on the device where the outputs are, in float32.

        Logits: their loss. A tuple: the loss of the first, plus auxiliary_weight times that of each
        other. A PanopticOutput: the loss of its logits, plus 200 times the centres' mean squared error
        over counted pixels, plus 0.01 times the offsets' mean absolute error, down and right, over the
        counted pixels of regions (Cheng et al. 2020). Logits smaller than the labels are upsampled.

        Args:
            labels: int64 (N, H, W), on the same device.
            instances: (N, H, W), see ``region_targets``; only a PanopticOutput needs them.

        Raises:
            ValueError: a PanopticOutput came without instances; for its classes alone pass its logits.
        """
        return self.with_answers(outputs, labels, instances)[0]

    def with_answers(
        self,
        outputs: Outputs,
        labels: Tensor,
        instances: NDArray[np.uint8] | NDArray[np.uint16] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss, and beside it that of the answer's classes alone.

        Of validation photos only the second one is known, so that is what can be set beside it.
        """
        if isinstance(outputs, PanopticOutput):
            if instances is None:
                raise ValueError("outputs of regions need instances to compare them with")
            answers = self._semantic(outputs.logits, labels)
            return answers + _region_loss(outputs, labels != self.ignored, instances), answers
        if isinstance(outputs, Tensor):
            answers = self._semantic(outputs, labels)
            return answers, answers
        answers, *others = (self._semantic(logits, labels) for logits in outputs)
        return answers + self.auxiliary_weight * sum(others, torch.zeros_like(answers)), answers

    def _semantic(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.shape[2:] != labels.shape[1:]:
            size_hw = labels.shape[1:]
            logits = functional.interpolate(logits.float(), size_hw, mode="bilinear", align_corners=False)
        return self.loss(logits, labels, self.weights.to(logits.device, non_blocking=True))


def build_criterion(
    config: TrainingConfig,
    names: Sequence[str],
    class_pixels: NDArray[np.int64],
    *,
    auxiliary_weight: float,
    ignored: int = IGNORED,
) -> Criterion:
    """Build what a run minimises, of its configuration and its training labels.

    Args:
        names: of all C channels, background first.
        class_pixels: int64 (images, C), of the training images; see ``count_class_pixels``.
        auxiliary_weight: of the loss of each further output of the network.

    Raises:
        UnknownChoice: a term of the loss is not in its registry.
        FormatError: the loss or the class weights cannot be read or do not suit the classes, no class
            that occurs is left with a weight, or ``ignored`` is the index of a class.
    """
    weights = class_weights(config.class_weights, class_pixels, names, config.background_weight)
    return criterion_of(config.loss, weights.tolist(), auxiliary_weight=auxiliary_weight, ignored=ignored)


def criterion_of(
    loss: str, weights: Sequence[float], *, auxiliary_weight: float, ignored: int = IGNORED
) -> Criterion:
    """Build a criterion of class weights that are known, such as those a checkpoint was trained with.

    Raises:
        UnknownChoice, FormatError: see ``build_criterion``.
    """
    if 0 <= ignored < len(weights):
        raise FormatError(
            f"The label {ignored} cannot mean “not counted”: it is one of the {len(weights)} classes. "
            f"Take one from {len(weights)} on; the usual one is {IGNORED}."
        )
    weights_tensor = torch.tensor(weights, dtype=torch.float32)
    return Criterion(build_loss(loss, ignored=ignored), weights_tensor, auxiliary_weight, ignored)


def build_loss(text: str, *, ignored: int = IGNORED) -> Loss:
    """Build a sum of terms, which share one softmax.

    Logits may be of any floating type and memory layout; all is computed in float32, in autocast too.
    Pixels of the label ``ignored`` count in no numerator and no denominator; a batch of nothing else
    gives 0.

    Raises:
        UnknownChoice, FormatError: see ``parse_loss``.
    """
    terms = [(term.factor, LOSSES[term.name].build()) for term in parse_loss(text)]

    def loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            batch = _as_batch(logits, labels, weights, ignored)
            return torch.stack([factor * term(batch) for factor, term in terms]).sum()

    return loss


def _as_batch(logits: Tensor, labels: Tensor, weights: Tensor | None, ignored: int) -> Batch:
    is_counted = labels != ignored
    # Plane by plane in memory: over channels_last logits the softmax takes several times as long.
    log_probabilities = logits.float().contiguous().log_softmax(dim=1)
    if weights is None:
        weights = log_probabilities.new_ones(logits.shape[1])
    return Batch(log_probabilities, labels.masked_fill(~is_counted, 0), is_counted, weights.float())


def _region_loss(
    outputs: PanopticOutput, is_counted: Tensor, instances: NDArray[np.uint8] | NDArray[np.uint16]
) -> Tensor:
    targets = region_targets(instances, usual_sigma(instances.shape[-1]))
    centres, offsets, is_region = (torch.from_numpy(a).to(is_counted.device) for a in targets)
    centre_errors = (outputs.centres.float() - centres) ** 2
    offset_errors = (outputs.offsets.float() - offsets).abs()
    return _CENTRES_WEIGHT * _mean_where(is_counted, centre_errors) + _OFFSETS_WEIGHT * _mean_where(
        is_counted & is_region, offset_errors
    )


def _mean_where(mask: Tensor, values: Tensor) -> Tensor:
    """Give the mean of values (N, K, H, W) over the pixels of a mask (N, H, W); 0 where there are none."""
    count = values.shape[1] * mask.sum()
    return (values * mask[:, None]).sum() / count.clamp(min=1)
