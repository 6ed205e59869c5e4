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

    def on_prepared(done: int, total: int) -> None:
        os.utime(folder)  # writing into its files does not say so
        on_photo(done, total)

    return prepare_data(version, config, versions.reader(store, version.items), folder, on_prepared)


def make_room(cache: Path, limit_bytes: int) -> None:
    """Remove what was prepared for trainings, used longest ago first, while it takes more than the limit.

    What was used within the last hour stays. A training under way keeps the files that it has open.
    """
    found = sorted(filter(None, (_found(f) for f in cache.iterdir() if _FOLDER.fullmatch(f.name))))
    total = sum(size for _, size, _ in found)
    for used_at, size, folder in found:
        if total <= limit_bytes or used_at > time.time() - IN_USE_SECONDS:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


def _found(folder: Path) -> tuple[float, int, Path] | None:
    """Give when a folder was used last and its bytes; None where another process has removed it meanwhile."""
    try:
        used_at = folder.stat().st_mtime
        names = [Path(place, name) for place, _, files in os.walk(folder) for name in files]
    except FileNotFoundError:
        return None
    return used_at, sum(map(_bytes, names)), folder


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
