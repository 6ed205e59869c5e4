"""What counting the kinds of errors in a photo costs, part by part, beside reading its two pictures."""

import statistics
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.analysis import analyse_photo
from core.imaging.overlay import encode_grey_png
from core.imaging.reading import decode_grey
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.profiled import shares

SIZE_HW = (768, 1024)
CLASSES = 9  # background is one of them
REGIONS = 12
PHOTOS = 8
PARTS = {
    "boundaries": ["boundaries.py:count_boundaries"],
    "regions": ["objects.py:find_components", "objects.py:find_overlaps"],
    "matching": ["objects.py:count_objects"],
    "kinds of error": ["error_split.py:split_errors"],
    "reliability": ["calibration.py:count_reliability"],
}

LabelMap = NDArray[np.uint8]


def measure(*, is_quick: bool) -> list[Figure]:
    """Count and read in turns, on one thread, as each of the job's two does."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _measured(2 if is_quick else 7)
    finally:
        cv2.setNumThreads(threads)


def _measured(turns: int) -> list[Figure]:
    photos = [_photo(seed) for seed in range(PHOTOS)]
    files = [(encode_grey_png(prediction), encode_grey_png(sure)) for _, prediction, sure in photos]
    ours: list[float] = []
    reading: list[float] = []
    for _ in range(1 + turns):
        started = time.perf_counter()
        for truth, prediction, sure in photos:
            analyse_photo("", truth, prediction, sure)
        between = time.perf_counter()
        for pair in files:
            for data in pair:
                decode_grey(data)
        ours.append(1000 * (between - started) / PHOTOS)
        reading.append(1000 * (time.perf_counter() - between) / PHOTOS)
    parts = ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in _split(photos).items())
    how = (
        f"one thread, {PHOTOS} drawn photos of {REGIONS} large regions of {CLASSES - 1} classes, the "
        f"prediction wobbly and shifted. Of it {parts}. Reading: both grey PNGs decoded"
    )
    return [
        median_figure(
            f"kinds of errors in a photo at {SIZE_HW[1]}x{SIZE_HW[0]}, {CLASSES} classes",
            ours[1:],
            "ms",
            how,
            ratio=median_ratio(ours[1:], reading[1:]),
            against="reading its two pictures",
        )
    ]


def _split(photos: list[tuple[LabelMap, LabelMap, LabelMap]]) -> dict[str, float]:
    """Give the median milliseconds of each part."""
    splits = [shares(lambda photo=photo: analyse_photo("", *photo), PARTS)[0] for photo in photos]
    return {part: 1000 * statistics.median(split[part] for split in splits) for part in PARTS}


def _photo(seed: int) -> tuple[LabelMap, LabelMap, LabelMap]:
    """Draw truth, prediction and confidence."""
    rng = np.random.default_rng(seed)
    height, width = SIZE_HW
    truth = np.zeros(SIZE_HW, np.uint8)
    for number in range(REGIONS):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(10, 160)), int(rng.integers(5, 90)))
        cv2.ellipse(truth, centre, axes, float(rng.integers(180)), 0, 360, 1 + number % (CLASSES - 1), -1)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    wobbly = cv2.remap(truth, x + 4 * np.sin(y / 9) - 5, y + 3 * np.cos(x / 11) - 4, cv2.INTER_NEAREST)
    smooth = cv2.GaussianBlur(rng.random(SIZE_HW, np.float32), (0, 0), 9)
    sure = cv2.normalize(smooth, None, 90, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return truth, np.asarray(wobbly, np.uint8), sure
