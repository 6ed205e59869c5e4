"""The limit of a remote store's copies on this machine's disk."""

import os
import time
from pathlib import Path

from core.storage import copies

HOUR = 3600


def add(folder: Path, key: str, size: int, age_seconds: float) -> Path:
    path = copies.place_of(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    used_at = time.time() - age_seconds
    os.utime(path, (used_at, used_at))
    return path


def test_the_copies_used_longest_ago_make_room(tmp_path: Path) -> None:
    oldest, used_again, newest = (
        add(tmp_path, key, 40, age * HOUR) for key, age in (("a", 3), ("b", 2), ("c", 1))
    )
    assert copies.touch(used_again)

    copies.trim(tmp_path, limit_bytes=100, added_bytes=100)

    assert [path.exists() for path in (oldest, used_again, newest)] == [False, True, True]


def test_below_the_limit_nothing_goes(tmp_path: Path) -> None:
    path = add(tmp_path, "a", 100, HOUR)

    copies.trim(tmp_path, limit_bytes=100, added_bytes=100)

    assert path.exists()


def test_what_was_just_asked_for_stays_whatever_the_limit(tmp_path: Path) -> None:
    old, new = add(tmp_path, "a", 100, HOUR), add(tmp_path, "b", 100, 0)

    copies.trim(tmp_path, limit_bytes=0, added_bytes=100)

    assert not old.exists()
    assert new.exists()


def test_a_little_more_is_mostly_not_worth_a_look_but_nothing_is_forgotten(tmp_path: Path) -> None:
    for number in range(200):  # each a hundredth of the limit: twice of it in all
        add(tmp_path, str(number), 100, HOUR + number)

    for _ in range(2000):
        copies.trim(tmp_path, limit_bytes=10_000, added_bytes=10)

    left = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert left <= 10_000


def test_there_is_no_copy_to_note_the_use_of(tmp_path: Path) -> None:
    assert not copies.touch(copies.place_of(tmp_path, "a"))


def test_a_copy_keeps_the_ending_that_tells_what_it_is(tmp_path: Path) -> None:
    assert copies.place_of(tmp_path, "runs/a/mask.png").suffix == ".png"
    assert copies.place_of(tmp_path, "runs/a/mask.png") != copies.place_of(tmp_path, "runs/b/mask.png")
