"""The terms a loss is a sum of. Keys are written into databases and checkpoints: never rename one.

Free of torch until a loss is built: the web process reads a sum such as ssim+focal+dice to check it.

Notation of the definitions below, over all counted pixels of a batch: p_c is the softmax's probability of
class c, t_c is 1 where c is true and 0 elsewhere, w_c is the weight of class c. A term of single pixels is a
mean over pixels, weighted by the weight of their true class. A term of regions is a mean over the classes
that the batch's labels show, weighted by w_c: one they do not show would be missed whatever the network
says. Where no weight is left both are 0. A class of weight 0 is thus left out of every mean, though in a
term of regions its pixels still count as what other classes must not cover.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError, listed, pick
from core.training.regions import signed_distances

if TYPE_CHECKING:
    from torch import Tensor

_FOCAL_GAMMA = 2.0  # Lin et al. 2017: the best of those they tried
_TVERSKY_ALPHA, _TVERSKY_BETA = 0.3, 0.7  # Salehi et al. 2017: the best of those they tried
_SSIM_SIZE, _SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2  # the same, for values from 0 to 1


@dataclass(frozen=True)
class Batch:
    """One batch as the terms see it: all of them share one softmax.

    log_probabilities: float32 (N, C, H, W), plane by plane in memory. labels: int64 (N, H, W), 0 where
    ignored. is_counted: bool (N, H, W), False where ignored. weights: float32 (C,).
    """

    log_probabilities: Tensor
    labels: Tensor
    is_counted: Tensor
    weights: Tensor

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax, float32 (N, C, H, W)."""
        return self.log_probabilities.exp()

    @cached_property
    def class_sizes(self) -> Tensor:
        """How many counted pixels each class has, float32 (C,)."""
        return self.sum_per_class(self.is_counted.float())

    @cached_property
    def class_shares(self) -> Tensor:
        """Each class's share in the mean of a term of regions, float32 (C,): they sum to 1 or are all 0."""
        weights = self.weights * (self.class_sizes > 0)
        return _divided(weights, weights.sum())

    def sum_per_class(self, values: Tensor) -> Tensor:
        """Add up values (N, H, W) by their pixels' label, (C,).

        Row by row first: one long sum in float32 would lose the small values.
        """
        images, height, _ = values.shape
        sums = values.new_zeros(images, height, len(self.weights))
        return sums.scatter_add(2, self.labels, values).sum(dim=(0, 1))

    def at_truth(self, values: Tensor) -> Tensor:
        """Take of values (N, C, H, W) those of the pixels' labels, (N, H, W)."""
        return values.gather(1, self.labels[:, None])[:, 0]


Term = Callable[[Batch], "Tensor"]


@dataclass(frozen=True)
class LossSpec:
    """One term: how it is shown and how it is built."""

    title: str
    build: Callable[[], Term]


class WeightedTerm(NamedTuple):
    """A term of a sum: its key in LOSSES and its factor, above 0."""

    name: str
    factor: float


def parse_loss(text: str) -> tuple[WeightedTerm, ...]:
    """Read a sum of terms: "ce", "ssim+focal+dice", "0.5*ce + dice".

    Raises:
        UnknownChoice: there is no such term; the sentence lists those there are.
        FormatError: it is no such sum, a factor is not above 0, or a term comes twice.
    """
    terms = tuple(_parse_term(part, text) for part in _PLUS.split(text))
    names = [term.name for term in terms]
    for name in names:
        if names.count(name) > 1:
            raise FormatError(f"“{name}” comes twice in the loss “{text}”; give it a factor: 2*{name}.")
    return terms


# Not the plus of a factor such as 1e+2.
_PLUS = re.compile(r"(?<![0-9.][eE])\+")


def _parse_term(part: str, text: str) -> WeightedTerm:
    before, star, after = part.partition("*")
    name = (after if star else before).strip()
    if not name:
        raise FormatError(
            f"The loss must be a sum such as ce+dice or 0.5*ce+dice, not “{text}”. "
            f"The terms are: {listed(LOSSES)}."
        )
    pick(LOSSES, name, kind="loss")
    return WeightedTerm(name, _factor(before.strip(), name) if star else 1.0)


def _factor(text: str, name: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        raise FormatError(
            f"The factor of “{name}” in the loss must be a number above 0, not “{text}”; write 0.5*{name}. "
            f"The terms are: {listed(LOSSES)}."
        )
    return factor


def build_cross_entropy() -> Term:
    """Build the weighted mean over pixels of -log(p of the true class)."""

    def term(batch: Batch) -> Tensor:
        return _mean_of_pixels(-batch.at_truth(batch.log_probabilities), batch)

    return term


def build_focal(gamma: float = _FOCAL_GAMMA) -> Term:
    """Build the weighted mean over pixels of -(1 - q)^gamma * log(q), where q is p of the true class.

    Source: Lin et al. 2017, arXiv 1708.02002, equation 5; its alpha are the class weights, and we divide
    by their sum over all pixels, not by the number of anchors.
    """

    def term(batch: Batch) -> Tensor:
        logarithms = batch.at_truth(batch.log_probabilities)
        return _mean_of_pixels(-((-logarithms.expm1()) ** gamma) * logarithms, batch)

    return term


def build_dice() -> Term:
    """Build 1 - the mean soft Dice: 2 * sum(p t) / (sum(p) + sum(t))."""

    def term(batch: Batch) -> Tensor:
        overlap, predicted, true = _areas(batch)
        return _mean_of_classes(1 - 2 * _divided(overlap, predicted + true), batch)

    return term


def build_jaccard() -> Term:
    """Build 1 - the mean soft intersection over union: sum(p t) / (sum(p) + sum(t) - sum(p t))."""

    def term(batch: Batch) -> Tensor:
        overlap, predicted, true = _areas(batch)
        return _mean_of_classes(1 - _divided(overlap, predicted + true - overlap), batch)

    return term


def build_tversky(alpha: float = _TVERSKY_ALPHA, beta: float = _TVERSKY_BETA) -> Term:
    """Build 1 - the mean of TP / (TP + alpha * FP + beta * FN); beta > alpha minds what is missed more.

    TP = sum(p t), FP = sum(p) - TP, FN = sum(t) - TP. alpha = beta = 0.5 is Dice.
    Source: Salehi et al. 2017, arXiv 1706.05721.
    """

    def term(batch: Batch) -> Tensor:
        overlap, predicted, true = _areas(batch)
        rest = alpha * (predicted - overlap) + beta * (true - overlap)
        return _mean_of_classes(1 - _divided(overlap, overlap + rest), batch)

    return term


def build_lovasz() -> Term:
    """Build the mean of the Lovász extensions of 1 - intersection over union, at the errors |t - p|.

    Over all pixels of the batch at once, from 0 to 1.
    Source: Berman et al. 2018, arXiv 1705.08790; their "classes present".
    """

    def term(batch: Batch) -> Tensor:
        def value_and_slope(index: int, probabilities: Tensor) -> tuple[Tensor, Tensor]:
            is_true = (batch.labels == index) & batch.is_counted
            signs = (1 - 2 * is_true.float()) * batch.is_counted
            errors = (is_true + signs * probabilities).clamp(min=0)
            shares = _lovasz_shares(errors.flatten(), is_true.flatten())
            return shares @ errors.flatten(), signs * shares.view_as(signs)

        return _mean_of_known_slopes(value_and_slope, batch)

    return term


def build_ssim() -> Term:
    """Build 1 - the mean structural similarity of each class's map of p to its map of t, from 0 to 2.

    SSIM = (2 m_p m_t + C1) (2 s_pt + C2) / ((m_p² + m_t² + C1) (s_p² + s_t² + C2)) with the local means m,
    variances s² and covariance under an 11 x 11 Gaussian of sigma 1.5, C1 = 0.01² and C2 = 0.03²; its mean
    is over all counted pixels. Ignored pixels and those beyond the edge have no share in a window: the
    rest of it is weighted up to 1.
    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, equation 13; as a loss, for one class and with
    zeros beyond the edge, Qin et al. 2019 (BASNet).
    """

    def term(batch: Batch) -> Tensor:
        counted = batch.is_counted.float()
        # Where nothing is counted the window may be empty, and what comes of it is not used.
        window = _blurred(counted).clamp(min=1e-6)
        share = _divided(counted, counted.sum())

        def value_and_slope(index: int, probabilities: Tensor) -> tuple[Tensor, Tensor]:
            truth = (batch.labels == index) * counted
            similarity, slope = _similarity(probabilities * counted, truth, window, share)
            return share.sum() - similarity, -slope

        return _mean_of_known_slopes(value_and_slope, batch)

    return term


def build_boundary() -> Term:
    """Build the mean distance to the true boundary of what is predicted wrongly, from 0 to 1.

    Of a class: the mean over counted pixels of d |p - t|, where d is the distance to the class's boundary
    in the same image as a share of the image's diagonal; 0 in an image that has no boundary of it. It is
    the integral over the difference of both regions of Kervadec et al. 2019, arXiv 1812.07032: their loss,
    the signed distance times p, plus the constant that makes its least value 0. Distances are those
    between pixels' centres less half a pixel, right within 2 %. Alone it hardly starts: add ce or dice.
    """
    import torch

    def term(batch: Batch) -> Tensor:
        labels, is_counted = batch.labels.cpu().numpy(), batch.is_counted.cpu().numpy()
        scale = _divided(1 / np.hypot(*labels.shape[1:]), batch.is_counted.sum())

        def value_and_slope(index: int, probabilities: Tensor) -> tuple[Tensor, Tensor]:
            is_true = (labels == index) & is_counted
            distances = np.stack([signed_distances(*maps) for maps in zip(is_true, is_counted, strict=True)])
            slope = torch.from_numpy(distances).to(probabilities.device) * scale
            truth = (batch.labels == index).float()
            return (slope * (probabilities - truth)).sum(), slope

        return _mean_of_known_slopes(value_and_slope, batch)

    return term


def _divided(numerator: Tensor | float, denominator: Tensor) -> Tensor:
    """Divide, but nothing by nothing is 0, and so is its gradient. No denominator may be negative."""
    return numerator / denominator.where(denominator > 0, 1)


def _mean_of_pixels(values: Tensor, batch: Batch) -> Tensor:
    weights = batch.weights[batch.labels] * batch.is_counted
    return _divided((values * weights).sum(), weights.sum())


def _mean_of_classes(values: Tensor, batch: Batch) -> Tensor:
    return (values * batch.class_shares).sum()


def _areas(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Give sum(p t), sum(p) and sum(t) of each class, (C,) each."""
    counted = batch.is_counted.float()
    overlap = batch.sum_per_class(batch.at_truth(batch.probabilities) * counted)
    # A product with the mask as a vector needs no second array as large as the probabilities.
    predicted = batch.probabilities.flatten(2) @ counted.flatten(1)[:, :, None]
    return overlap, predicted.sum(dim=(0, 2)), batch.class_sizes


def _mean_of_known_slopes(
    value_and_slope: Callable[[int, Tensor], tuple[Tensor, Tensor]], batch: Batch
) -> Tensor:
    """Give the mean of a term of regions whose gradient is computed with its value.

    One class at a time, and without a graph of its steps: several times as fast and small.

    Args:
        value_and_slope: of a class's index and its probabilities (N, H, W), to its scalar and to the
            gradient of that with respect to the probabilities.
    """
    import torch

    probabilities = batch.probabilities
    with torch.no_grad():
        value, slopes = probabilities.new_zeros(()), torch.zeros_like(probabilities)
        for index, share in enumerate(batch.class_shares.tolist()):
            if share > 0:
                class_value, slope = value_and_slope(index, probabilities[:, index])
                value += share * class_value
                slopes[:, index] = share * slope
    linear = (slopes * probabilities).sum()
    return value + (linear - linear.detach())


def _lovasz_shares(errors: Tensor, is_true: Tensor) -> Tensor:
    """Give each pixel's share in the Lovász extension: what it adds to 1 - IoU after all larger errors.

    Pixels that do not count come as errors of 0, which add nothing.
    Source: Berman et al. 2018, algorithm 1.
    """
    import torch

    # Sorted as whole numbers that say all of a pixel: four times as fast on a processor as sorting with
    # indices, and of equal errors always in one order. Upwards is faster than downwards, hence the ~.
    ranks = errors.view(torch.int32).long()  # a float's bits grow with it from 0 on
    pixels = torch.arange(len(errors), device=errors.device)
    ordered = ~(~(ranks << 32 | pixels << 1 | is_true)).sort().values
    missed = (ordered & 1).cumsum(0)
    jaccard = 1 - (missed[-1] - missed) / (missed[-1] + pixels + 1 - missed)
    places = ordered >> 1 & 0x7FFFFFFF
    return torch.empty_like(errors).index_put_((places,), jaccard.diff(prepend=jaccard.new_zeros(1)))


def _similarity(values: Tensor, truth: Tensor, window: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Give sum(share * SSIM) of maps that are 0 where not counted, (N, H, W), and its gradient by values."""
    mean, mean_square, mean_product, mean_true = (
        _blurred(maps) / window for maps in (values, values * values, values * truth, truth)
    )
    bottom_1 = mean**2 + mean_true**2 + _SSIM_C1
    bottom_2 = (mean_square - mean**2) + (mean_true - mean_true**2) + _SSIM_C2
    luminance = (2 * mean * mean_true + _SSIM_C1) / bottom_1
    structure = (2 * (mean_product - mean * mean_true) + _SSIM_C2) / bottom_2
    by_mean = structure * (mean_true - luminance * mean) / bottom_1
    by_mean += luminance * (structure * mean - mean_true) / bottom_2
    factor = share / window
    by_product = luminance / bottom_2 * factor
    slope = 2 * _blurred(by_mean * factor) + 2 * truth * _blurred(by_product)
    slope -= 2 * values * _blurred(structure * by_product)
    return (share * luminance * structure).sum(), slope * (share > 0)


def _blurred(maps: Tensor) -> Tensor:
    """Blur maps (N, H, W) by SSIM's Gaussian, with zeros beyond the edge."""
    import torch

    positions = np.arange(_SSIM_SIZE) - _SSIM_SIZE // 2
    kernel = np.exp(-(positions**2) / (2 * _SSIM_SIGMA**2))
    kernel /= kernel.sum()
    if maps.device.type == "cpu":  # ten times as fast as torch's convolution there
        planes = [
            cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
            for plane in maps.numpy()
        ]
        return torch.from_numpy(np.stack(planes))
    return _convolved(_convolved(maps, kernel).mT, kernel).mT


def _convolved(maps: Tensor, kernel: NDArray[np.float64]) -> Tensor:
    # As a sum of shifted maps: CUDA's convolution would round to TF32.
    from torch.nn import functional

    padded = functional.pad(maps, (len(kernel) // 2, len(kernel) // 2))
    shifted = padded.unfold(2, maps.shape[2], 1)
    return sum((float(k) * shifted[:, :, i] for i, k in enumerate(kernel)), maps.new_zeros(()))


LOSSES: dict[str, LossSpec] = {
    "ce": LossSpec("Cross-entropy", build_cross_entropy),
    "focal": LossSpec("Focal", build_focal),
    "dice": LossSpec("Dice", build_dice),
    "jaccard": LossSpec("Jaccard (IoU)", build_jaccard),
    "tversky": LossSpec("Tversky", build_tversky),
    "lovasz": LossSpec("Lovász-Softmax", build_lovasz),
    "ssim": LossSpec("Structural similarity", build_ssim),
    "boundary": LossSpec("Boundary", build_boundary),
}
