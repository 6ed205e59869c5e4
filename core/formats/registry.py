"""The label formats by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.domain.errors import FormatError, listed, pick
from core.formats import coco, coco_read, masks, photos
from core.formats.source import SourceDataset
from core.storage.store import Store


class Write(Protocol):
    """Write a project's labels into a folder, with the photos beside them if wanted."""

    def __call__(self, store: Store, project_id: str, folder: Path, *, with_photos: bool = True) -> None: ...


@dataclass(frozen=True)
class FormatSpec:
    """One label format: how it is shown, recognised, read and, where it can be, written."""

    title: str
    detect: Callable[[Path], bool]
    read: Callable[[Path], SourceDataset]  # raises FormatError
    write: Write | None = None


# In the order in which they are tried: what says more about the photos comes first.
FORMATS: dict[str, FormatSpec] = {
    "coco": FormatSpec("COCO json (Roboflow and others)", coco_read.detect, coco_read.read, coco.write),
    "masks": FormatSpec(
        "Mask pictures beside photos (Label Studio and others)", masks.detect, masks.read, masks.write
    ),
    "photos": FormatSpec("Photos without labels", photos.detect, photos.read),
}


def pick_format(name: str, folder: Path) -> FormatSpec:
    """Give the format of this name; "auto" gives the first that fits the folder.

    Raises:
        UnknownChoice: there is no format of this name.
        FormatError: none fits; the sentence says what was looked for.
    """
    if name != "auto":
        return pick(FORMATS, name, kind="format")
    return detect(folder)


def detect(folder: Path) -> FormatSpec:
    """Give the first format that fits a folder.

    Raises:
        FormatError: none does.
    """
    for spec in FORMATS.values():
        if spec.detect(folder):
            return spec
    titles = listed(spec.title for spec in FORMATS.values())
    raise FormatError(f"There is nothing to import here. Looked for: {titles}.")
