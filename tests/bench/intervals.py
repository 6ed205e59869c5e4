"""Bootstrap intervals of all scores over 10,000 photos, beside a plain loop over the same photos."""

import time

import numpy as np
from numpy.typing import NDArray

from core.domain.intervals import Resampling, bootstrap, count
from core.domain.scores import score
from tests.bench.figures import Figure, median_figure, median_ratio

PHOTOS = 10_000
CLASSES = 9
DRAWS = 1_000
LOOP_DRAWS = 20  # of the plain loop, whose time is scaled to DRAWS


def measure(*, is_quick: bool) -> list[Figure]:
    """Take both in turns: from stored matrices to every interval, and draw after draw by ``score``."""
    matrices = drawn_matrices(PHOTOS, CLASSES)
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(3 if is_quick else 11):
        started = time.perf_counter()
        bootstrap(count(matrices), how=Resampling(draws=DRAWS))
        between = time.perf_counter()
        _loop(matrices)
        ours.append(between - started)
        plain.append((time.perf_counter() - between) * DRAWS / LOOP_DRAWS)
    how = (
        f"{CLASSES} classes, {DRAWS:,} draws, every score, mean and per class; the loop: {LOOP_DRAWS} draws, "
        "each adding up the matrices it drew and calling score, its time scaled"
    )
    return [
        median_figure(
            f"95 % intervals over {PHOTOS:,} photos",
            ours,
            "s",
            how,
            ratio=median_ratio(ours, plain),
            against="a plain loop's time",
            goal="under 2 s",
        )
    ]


def drawn_matrices(photos: int, classes: int) -> NDArray[np.int64]:
    """Draw confusion matrices of photos of 12 megapixels on each of which a few classes are to be seen."""
    rng = np.random.default_rng(1)
    matrices = rng.integers(0, 200_000, (photos, classes, classes))
    is_shown = rng.random((photos, classes)) < 0.25
    is_shown[:, 0] = True
    matrices *= is_shown[:, :, None] & is_shown[:, None, :]
    matrices[:, 0, 0] += 10_000_000
    return matrices


def _loop(matrices: NDArray[np.int64]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(LOOP_DRAWS):
        score(matrices[rng.integers(0, PHOTOS, PHOTOS)].sum(axis=0))
