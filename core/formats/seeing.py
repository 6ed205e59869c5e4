"""What a folder holds in a format that fits it, in a few words for the person who chose it."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from core.formats.coco_read import mentions_coco
from core.formats.source import is_photo, list_files

MAX_COUNTED_BYTES = 300_000_000  # a larger json is opened only once, by the import itself


def counted(number: int, one: str, many: str = "") -> str:
    """Give a number with its noun: "1 photo", "1,572 photos"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def see_coco(folder: Path) -> str:
    """Count the json files with COCO's lists, and the photos and classes in them."""
    files = list_files(folder)
    paths = [p for p in files if p.suffix.lower() == ".json" and mentions_coco(folder / p)]
    photos, names = 0, set[str]()
    if sum((folder / path).stat().st_size for path in paths) > MAX_COUNTED_BYTES:
        return counted(len(paths), "large file")
    for path in paths:
        images, categories = _lists(folder / path)
        photos += len(images)
        names |= {str(category.get("name")) for category in categories if isinstance(category, dict)}
    return ", ".join(
        (counted(len(paths), "file"), counted(photos, "photo"), counted(len(names), "class", "classes"))
    )


def see_photos(folder: Path) -> str:
    """Count the photos, and say that other files bring no labels."""
    files = list_files(folder)
    photos = sum(map(is_photo, files))
    others = _endings([path for path in files if not is_photo(path)])
    aside = f"; no format of labels was recognised in the other files ({others})" if others else ""
    return counted(photos, "photo") + aside


def _endings(paths: Sequence[PurePosixPath]) -> str:
    return ", ".join(sorted({path.suffix.lower() or path.name for path in paths})[:5])


def _lists(path: Path) -> tuple[list[Any], list[Any]]:
    try:
        value: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return [], []
    images, categories = (value.get(k) if isinstance(value, dict) else None for k in ("images", "categories"))
    return (images if isinstance(images, list) else []), (categories if isinstance(categories, list) else [])
