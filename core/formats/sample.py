"""A data set to try the app with: drawn photos of damaged car panels."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from core.domain.labels import Split
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage, read_photo
from core.imaging.overlay import encode_jpeg
from core.imaging.sample import CATEGORIES, draw_panel
from core.storage.blobs import write_atomically

SIZE_WH = (640, 480)
QUALITY = 92
THREADS = 2
PANELS: tuple[tuple[Split, int], ...] = (("train", 40), ("valid", 12), ("test", 8))


def sample_dataset(folder: Path, seed: int = 0) -> SourceDataset:
    """Draw 60 panels into a folder and give them with exact labels; the same seed, the same photos.

    Raises:
        StorageError: the disk is full.
    """
    splits: list[Split] = [split for split, panels in PANELS for _ in range(panels)]
    with ThreadPoolExecutor(THREADS) as pool:
        images = tuple(pool.map(partial(_image, folder, seed), range(len(splits)), splits))
    categories = (SourceCategory(name, wanted_id) for wanted_id, name in enumerate(CATEGORIES, start=1))
    return SourceDataset(tuple(categories), images)


def _image(folder: Path, seed: int, index: int, split: Split) -> SourceImage:
    panel = draw_panel(index, seed, SIZE_WH)
    name = f"{split}/panel_{index + 1:03d}.jpg"
    write_atomically(folder / name, encode_jpeg(panel.rgb, QUALITY))
    return SourceImage(
        name=name,
        read=partial(read_photo, folder / name),
        split=split,
        annotations=tuple(SourceAnnotation(category, ops) for category, ops in panel.regions),
        is_labelled=True,
        drawn_size_wh=SIZE_WH,
    )
