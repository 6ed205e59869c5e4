"""How fast photos come in: the command line against decoding and thumbnails alone."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from core.domain.images import ImageFilter
from core.formats.sample import sample_dataset
from core.formats.source import PHOTO_SUFFIXES
from core.imaging.overlay import encode_jpeg
from core.imaging.reading import THUMBNAIL_LONG_SIDE
from core.services import projects
from core.services.home import open_home
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.photos import camera_photo
from tests.bench.processes import ROOT, command_line, fresh_home

CAMERA_PHOTOS = 10
AGAINST = "decoding and thumbnails alone"
HOW = "`python -m core import` on a new home; limit: the same files in a pool of threads, no database"


def measure(*, is_quick: bool) -> list[Figure]:
    """Import the real set where there is one, else the sample; then photos from a camera."""
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        camera = temporary / "camera"
        camera.mkdir()
        for number in range(3 if is_quick else CAMERA_PHOTOS):
            (camera / f"{number}.jpg").write_bytes(camera_photo(number))
        title, folder, format_ = _photos(temporary)
        if is_quick and format_ == "auto":
            folder = folder / "valid"
        repeats = 1 if is_quick else 3
        how = f"{HOW}; the process's start, {_start_seconds():.1f} s, counts"
        return [
            _figure(title, folder, format_, repeats, how),
            _figure("photos of 12 megapixels", camera, "photos", repeats, how),
        ]


def _start_seconds() -> float:
    """Give the seconds that the command line takes to do next to nothing."""
    with fresh_home():
        started = time.perf_counter()
        command_line("formats")
        return time.perf_counter() - started


def _photos(temporary: Path) -> tuple[str, Path, str]:
    shared = Path(os.environ.get("MASKWRIGHT_TEST_DATA", ROOT.parent / "shared" / "data"))
    if (shared / "car_damage").is_dir():
        return "car damage, with labels", shared / "car_damage", "auto"
    folder = temporary / "sample"
    sample_dataset(folder)
    return "sample photos, without labels", folder, "photos"


def _figure(title: str, folder: Path, format_: str, repeats: int, how: str) -> Figure:
    ours: list[float] = []
    limits: list[float] = []
    count = 0
    for _ in range(repeats):
        limits.append(_limit(folder))
        with fresh_home():
            started = time.perf_counter()
            command_line("import", str(folder), "--project", "Import", "--format", format_)
            seconds = time.perf_counter() - started
            store = open_home()
            count = projects.count_images(store, projects.by_name(store, "Import").id, ImageFilter())
            ours.append(count / seconds)
    what = f"import of {count:,} {title}"
    return median_figure(what, ours, "images/s", how, ratio=median_ratio(ours, limits), against=AGAINST)


def _limit(folder: Path) -> float:
    """Give the images per second of decoding and thumbnails alone."""
    files = [path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES]
    started = time.perf_counter()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_thumbnail, files))
    return len(files) / (time.perf_counter() - started)


def _thumbnail(path: Path) -> bytes:
    rgb = simplejpeg.decode_jpeg(path.read_bytes())
    factor = THUMBNAIL_LONG_SIDE / max(rgb.shape)
    size_wh = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    return encode_jpeg(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8), 80)
