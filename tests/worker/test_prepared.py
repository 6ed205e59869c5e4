"""Prepared photos do not fill the disk: those used longest ago make room."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.domain.runs import Run
from core.storage import versions
from core.storage.store import Store
from core.worker.prepared import make_room, prepared

QueueRun = Callable[..., Run]


def prepared_folder(cache: Path, name: str, *, hours_ago: float, size: int = 1000) -> Path:
    folder = cache / name
    (folder / "rows").mkdir(parents=True)
    (folder / "rows" / "images.npy").write_bytes(b"\0" * size)
    os.utime(folder, (0, time.time() - 3600 * hours_ago))
    return folder


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    oldest = prepared_folder(tmp_path, f"{1:016x}-64", hours_ago=9)
    older = prepared_folder(tmp_path, f"{2:016x}-64", hours_ago=5)
    newer = prepared_folder(tmp_path, f"{3:016x}-96", hours_ago=2)
    other = prepared_folder(tmp_path, "checkpoints", hours_ago=99)

    make_room(tmp_path, 3000)
    assert oldest.exists() and older.exists() and newer.exists()

    make_room(tmp_path, 2000)
    assert not oldest.exists() and older.exists() and newer.exists()
    assert other.exists(), "it is none of ours"


def test_what_was_just_used_stays_whatever_the_limit(tmp_path: Path) -> None:
    old = prepared_folder(tmp_path, f"{1:016x}-64", hours_ago=2)
    new = prepared_folder(tmp_path, f"{2:016x}-64", hours_ago=0.1)

    make_room(tmp_path, 0)

    assert not old.exists() and new.exists()


def test_preparing_makes_room_and_counts_as_using(store: Store, queue_run: QueueRun) -> None:
    small = replace(store, blobs=replace(store.blobs, cache_bytes=0))
    run = queue_run()
    version = versions.get(store, run.data_version_id)
    cache = store.home / "cache"
    old = prepared_folder(cache, f"{1:016x}-64", hours_ago=2)
    mine = prepared_folder(cache, f"{version.hash[:16]}-64", hours_ago=2)

    data = prepared(small, version, run.config, lambda done, total: None)

    assert not old.exists()
    assert mine.stat().st_mtime > time.time() - 60
    assert data.train.images[0].shape == (64, 64, 3)
