"""Scribbles become a soft mask: the chance that a walk from a pixel meets an inside scribble first.

A walker crosses an edge the more readily the more alike the colours on both sides are, so it stays on its
side of a contour, and closes gaps in it, which is why dents come out better than by colour alone.

Source: Grady 2006, "Random walks for image segmentation"; the prior is Grady 2005, "Multilabel random
walker image segmentation using prior models".
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Soft = NDArray[np.float32]
Seeds = NDArray[np.int8]

INSIDE, OUTSIDE = 1, -1
LEAST_WEIGHT = 1e-4  # an edge that nobody crosses would leave islands without an answer
COARSEST_PX = 24
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Grid:
    """Edge weights between neighbours, (h, w - 1) and (h - 1, w), and what pulls at single pixels.

    ``pull`` (h, w) is how strongly a pixel is held at ``prior`` (h, w), 0 to 1; seeds are held fast.
    """

    across: Soft
    down: Soft
    pull: Soft
    prior: Soft


def walk(lab: Soft, seeds: Seeds, *, beta: float, prior: Soft | None = None, pull: float = 0.0) -> Soft:
    """Solve for the chance, float32 (h, w) in 0..1, that a pixel belongs inside.

    Args:
        lab: float32 (h, w, 3), colours whose distances count.
        seeds: int8 (h, w), INSIDE, OUTSIDE or 0; at least one of them set.
        beta: how hard a change of colour is to cross; weights are exp(-beta d^2), d relative to the
            root mean square of all neighbours' distances.
        prior: float32 (h, w), a first opinion, held with the strength ``pull``.

    Each seed keeps its value. Solved from coarse to fine by conjugate gradients, to TOLERANCE.
    """
    first = np.full(seeds.shape, 0.5, np.float32) if prior is None else prior
    return _descend(lab, seeds, first, beta, pull)


def _descend(lab: Soft, seeds: Seeds, prior: Soft, beta: float, pull: float) -> Soft:
    height, width = seeds.shape
    start = np.where(seeds == 0, prior, seeds > 0).astype(np.float32)
    if min(height, width) > COARSEST_PX:
        half = ((width + 1) // 2, (height + 1) // 2)
        small, small_prior = _resized(lab, half), _resized(prior, half)
        coarse = _descend(small, _halved(seeds), small_prior, beta, pull)
        start = np.where(seeds == 0, _resized(coarse, (width, height)), start)
    return _conjugate_gradients(_grid(lab, prior, beta, pull), seeds == 0, start)


def _resized(values: Soft, size_wh: tuple[int, int]) -> Soft:
    is_reduced = size_wh[0] < values.shape[1]
    how = cv2.INTER_AREA if is_reduced else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, size_wh, interpolation=how), np.float32)


def _halved(seeds: Seeds) -> Seeds:
    """Halve a seed map; where both kinds meet in one pixel, it is none."""
    height, width = seeds.shape
    even = np.zeros((height + height % 2, width + width % 2), np.int8)
    even[:height, :width] = seeds
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return blocks.max(axis=(1, 3)).clip(0, 1) + blocks.min(axis=(1, 3)).clip(-1, 0)


def _grid(lab: Soft, prior: Soft, beta: float, pull: float) -> Grid:
    across = np.square(lab[:, 1:] - lab[:, :-1]).sum(axis=2)
    down = np.square(lab[1:] - lab[:-1]).sum(axis=2)
    mean = (float(across.sum()) + float(down.sum())) / max(across.size + down.size, 1)
    sharpness = np.float32(beta / max(mean, 1e-6))
    return Grid(
        np.exp(-sharpness * across) + np.float32(LEAST_WEIGHT),
        np.exp(-sharpness * down) + np.float32(LEAST_WEIGHT),
        np.full(prior.shape, pull, np.float32),
        prior,
    )


def _conjugate_gradients(grid: Grid, is_free: NDArray[np.bool_], start: Soft, limit: int = 400) -> Soft:
    """Improve ``start`` at its free pixels, with the diagonal as preconditioner."""
    free = is_free.astype(np.float32)
    inverse = np.asarray(free / np.maximum(_diagonal(grid), np.float32(1e-12)), np.float32)
    values: Soft = start.copy()
    residual = np.asarray(free * (grid.pull * grid.prior - _applied(grid, values)), np.float32)
    scaled = inverse * residual
    direction = scaled.copy()
    power = float(np.vdot(residual, scaled))
    for _ in range(limit):
        image = free * _applied(grid, direction)
        curvature = float(np.vdot(direction, image))
        if power <= 0 or curvature <= 0:
            break
        step = np.float32(power / curvature)
        values += step * direction
        residual -= step * image
        scaled = inverse * residual
        if float(np.abs(scaled).max()) < TOLERANCE:
            break
        power, before = float(np.vdot(residual, scaled)), power
        direction = np.asarray(scaled + np.float32(power / before) * direction, np.float32)
    return values.clip(0, 1)


def _diagonal(grid: Grid) -> Soft:
    total = grid.pull.copy()
    total[:, 1:] += grid.across
    total[:, :-1] += grid.across
    total[1:] += grid.down
    total[:-1] += grid.down
    return total


def _applied(grid: Grid, values: Soft) -> Soft:
    """Multiply the graph's Laplacian, and the pull, with values (h, w)."""
    result = grid.pull * values
    flow = grid.across * (values[:, 1:] - values[:, :-1])
    result[:, 1:] += flow
    result[:, :-1] -= flow
    flow = grid.down * (values[1:] - values[:-1])
    result[1:] += flow
    result[:-1] -= flow
    return result
