"""Which photo to label next: the ones that a model doubts, and no two alike in a row.

Uncertainty alone picks near-copies of the same hard photo; diversity alone picks odd photos that the model
knows well. Their product asks for both and needs no common scale.

Sources: Settles 2009, Active Learning Literature Survey, on information density (uncertainty times a power of
how much a sample adds); Gonzalez 1985 (farthest-first: at most twice the best cover); Sener & Savarese 2018
(arXiv 1708.00489: the same, as k-center greedy over features); Yang et al. 2017 (arXiv 1706.04737: both at
once, for segmentation).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DIVERSITY = 0.5
"""How much diversity weighs against uncertainty: 0 is uncertainty alone, 1 is diversity alone."""

PICKED = 200
"""So many are picked one by one; nobody labels more before the model is trained anew."""

EQUAL = 1e-9
"""Scores that differ by less, relatively, are equal: another processor rounds otherwise."""

_OTHERS_AT_ONCE = 64


@dataclass(frozen=True)
class Pick:
    """One photo in the order.

    uncertainty: 0..1. distance: to the most alike photo that is labelled or comes before, in the embeddings'
    unit; infinite for the first one where none is labelled. is_unlike: that distance is at least the
    pool's middle one before the first pick, so the photo brings something new. is_ranked_only: it came after
    the PICKED ones, by its uncertainty.
    """

    id: str
    uncertainty: float
    distance: float
    is_unlike: bool
    is_ranked_only: bool = False


@dataclass(frozen=True)
class Pool:
    """The photos to order: ids, uncertainties float64 (N,) of 0..1, embeddings float32 (N, D)."""

    ids: tuple[str, ...]
    uncertainties: NDArray[np.float64] = field(repr=False)
    embeddings: NDArray[np.float32] = field(repr=False)

    def __post_init__(self) -> None:
        count = len(self.ids)
        if self.uncertainties.shape != (count,) or self.embeddings.shape[:1] != (count,):
            raise ValueError(
                f"{count} ids, {self.uncertainties.shape} uncertainties, {self.embeddings.shape} embeddings"
            )


def order(
    pool: Pool, labelled: NDArray[np.float32], *, diversity: float = DIVERSITY, picked: int = PICKED
) -> list[Pick]:
    """Order photos, the most useful to label first.

    The next one is always that with the greatest ``uncertainty ** (1 - diversity) * distance ** diversity``;
    its distance (Euclidean) is that to the nearest photo that is labelled or was picked before. While there
    is neither, all distances are 1. Of equals the more uncertain one comes first, then the one with the
    smaller id, so the order does not depend on how the pool is sorted. After ``picked`` ones the rest follows
    by uncertainty.

    Args:
        pool: may be empty.
        labelled: embeddings float32 (M, D) of the photos that are labelled; M may be 0.
        diversity: 0..1.

    Raises:
        ValueError: the diversity lies outside 0..1.
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity must lie in 0..1, not {diversity}")
    places = pool.embeddings.astype(np.float64)
    squares = _squares(places, labelled.astype(np.float64))
    usual = _usual_distance(places, np.sqrt(squares))
    is_left = np.ones(len(pool.ids), np.bool_)
    picks: list[Pick] = []
    while is_left.any() and len(picks) < picked:
        at = _best(pool, np.sqrt(squares), is_left, diversity)
        distance = float(np.sqrt(squares[at]))
        picks.append(Pick(pool.ids[at], float(pool.uncertainties[at]), distance, distance >= usual))
        is_left[at] = False
        squares = np.minimum(squares, _squares(places, places[at : at + 1]))
    return picks + _rest(pool, np.sqrt(squares), is_left, usual)


def normalised(blocks: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Join features of several kinds so that each kind weighs the same in distances.

    Each block float32 (N, d) is centred and divided by the root of the mean squared length of its rows; one
    in which all rows are equal adds nothing.
    """
    parts: list[NDArray[np.float32]] = []
    for block in blocks.values():
        centred = block - block.mean(axis=0, keepdims=True) if len(block) else block
        length = float(np.sqrt((centred**2).sum(axis=1).mean())) if len(block) else 0.0
        parts.append((centred / length if length > 1e-6 else np.zeros_like(centred)).astype(np.float32))
    return np.concatenate(parts, axis=1)


def _best(pool: Pool, nearest: NDArray[np.float64], is_left: NDArray[np.bool_], diversity: float) -> int:
    distances = np.where(np.isinf(nearest), 1.0, nearest)
    scores = pool.uncertainties ** (1 - diversity) * distances**diversity
    candidates = np.flatnonzero(is_left)
    best = scores[candidates].max()
    equals = candidates[scores[candidates] >= best * (1 - EQUAL)]
    return min(equals.tolist(), key=lambda i: (-pool.uncertainties[i], pool.ids[i]))


def _rest(pool: Pool, nearest: NDArray[np.float64], is_left: NDArray[np.bool_], usual: float) -> list[Pick]:
    ranked = sorted(np.flatnonzero(is_left).tolist(), key=lambda i: (-pool.uncertainties[i], pool.ids[i]))
    return [
        Pick(
            pool.ids[i],
            float(pool.uncertainties[i]),
            float(nearest[i]),
            bool(nearest[i] >= usual),
            is_ranked_only=True,
        )
        for i in ranked
    ]


def _squares(places: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each row's squared distance to the nearest of the others, infinite where there is none.

    As |p|^2 + |o|^2 - 2 p o, which is one product of matrices; in doubles what that cancels does no harm.
    """
    if not len(others) or not len(places):
        return np.full(len(places), np.inf)
    lengths = (places**2).sum(axis=1)
    nearest = np.full(len(places), np.inf)
    for start in range(0, len(others), _OTHERS_AT_ONCE):
        part = others[start : start + _OTHERS_AT_ONCE]
        gaps = (part**2).sum(axis=1) - 2 * places @ part.T
        nearest = np.minimum(nearest, gaps.min(axis=1))
    return (nearest + lengths).clip(0)


def _usual_distance(embeddings: NDArray[np.float64], nearest: NDArray[np.float64]) -> float:
    """Give the pool's middle distance to what is labelled; to its own middle where nothing is."""
    if not len(embeddings):
        return 0.0
    if np.isinf(nearest).any():
        nearest = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1)
    return float(np.median(nearest))
