"""The photos of a data version as trainings read them, prepared once; those used longest ago make room."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from core.domain.training import DataVersion, TrainingConfig
from core.storage import versions
from core.storage.store import Store
from core.training.dataset import TrainingData, prepare_data

IN_USE_SECONDS = 3600.0  # the processes of a training open the files one after the other
_FOLDER = re.compile(r"[0-9a-f]{16}-\d+")


def prepared(
    store: Store, version: DataVersion, config: TrainingConfig, on_photo: Callable[[int, int], None]
) -> TrainingData:
    """Prepare the photos of a data version, or find them again; see ``prepare_data`` for its errors.

    Those of other versions and sizes are removed, the one used longest ago first, while they take more
    than MASKWRIGHT_CACHE_GB; a training that comes back to them prepares them again.
    """
    folder = store.home / "cache" / f"{version.hash[:16]}-{config.size}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    make_room(folder.parent, store.blobs.cache_bytes)
    return prepare_data(version, config, versions.reader(store, version.items), folder, on_photo)


def make_room(cache: Path, limit_bytes: int) -> None:
    """Remove what was prepared for trainings, used longest ago first, while it takes more than the limit.

    What was used within the last hour stays. A training under way keeps the files that it has open.
    """
    found = [folder for folder in cache.iterdir() if _FOLDER.fullmatch(folder.name)]
    sizes = {folder: _bytes(folder) for folder in found}
    total = sum(sizes.values())
    for used_at, folder in sorted((folder.stat().st_mtime, folder) for folder in found):
        if total <= limit_bytes or used_at > time.time() - IN_USE_SECONDS:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= sizes[folder]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
