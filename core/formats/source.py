"""What a format reads: photos with their labels, and what could not be taken."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from core.domain.errors import FormatError, ImageError
from core.domain.labels import Op, Split
from core.imaging.limits import MAX_FILE_BYTES

JPEG_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".mpo"}
PHOTO_SUFFIXES = JPEG_SUFFIXES | {".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"}
CLUTTER = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))
MAX_WANTED_ID = 1_000_000

_SPLIT_NAME = re.compile(r"(train|val|test)(ing|id|idation)?[ _-]?(set|data|images|split)?[ _-]?\d*", re.I)
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SPLITS: dict[str, Split] = {"train": "train", "val": "valid", "test": "test"}


@dataclass(frozen=True)
class SourceCategory:
    """A category as the source names it; ``wanted_id`` is the id it has there, None for none."""

    name: str
    wanted_id: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.name.strip()) <= 80 or shown(self.name) != self.name:
            raise FormatError(
                f"A category needs a name of 1 to 80 characters, not “{shown(self.name[:100])}”."
            )


@dataclass(frozen=True)
class SourceAnnotation:
    """One labelled region. ``origin`` says where it stood, for sentences about it."""

    category: str
    ops: tuple[Op, ...]
    origin: str = field(default="", compare=False)


@dataclass(frozen=True)
class SourceImage:
    """One photo of a source.

    ``name`` is the client's relative path (posix), a label. ``read`` gives the file's bytes or raises
    OSError or ImageError. ``drawn_size_wh`` is the picture size that the annotations were drawn on,
    None where the source does not say. ``is_labelled`` with no annotation means "no damage".
    ``media_type`` is that of the bytes, None where only the name says what they are.
    """

    name: str
    read: Callable[[], bytes] = field(compare=False, repr=False)
    split: Split | None = None
    annotations: tuple[SourceAnnotation, ...] = ()
    is_labelled: bool = False
    drawn_size_wh: tuple[int, int] | None = None
    media_type: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Refusal:
    """Something that was not taken, and why, in a sentence."""

    file: str
    reason: str


@dataclass(frozen=True)
class SourceDataset:
    """All of a source, in order."""

    categories: tuple[SourceCategory, ...]
    images: tuple[SourceImage, ...]
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def list_files(folder: Path) -> list[PurePosixPath]:
    """List a folder's files at any depth, as sorted paths relative to it.

    Hidden files, operating systems' clutter and linked folders are left out.
    """
    found: list[PurePosixPath] = []
    for path in sorted(folder.rglob("*")):
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        if not is_clutter(relative) and path.is_file():
            found.append(relative)
    return found


def is_clutter(path: PurePosixPath) -> bool:
    """Tell whether a path inside a source is hidden or an operating system's leftover."""
    return any((part.startswith(".") and part != "..") or part in CLUTTER for part in path.parts)


def is_photo(path: PurePosixPath) -> bool:
    """Tell by its ending whether a file claims to be a photo."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def read_photo(path: Path) -> bytes:
    """Read a photo's file.

    Raises:
        ImageError: it is larger than a photo may be.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ImageError(
            f"The file has {size / 1e6:,.0f} MB; a photo may have {MAX_FILE_BYTES / 1e6:,.0f} MB."
        )
    return path.read_bytes()


def shown(text: object) -> str:
    """Give a text from outside as one that can be shown and kept: what is no character becomes �."""
    return _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def split_of(names: Iterable[str]) -> Split | None:
    """Give the split that the first telling one of these folder names stands for.

    ``train``, ``training_set``, ``val2017``, ``validation``, ``testset`` tell; ``vintage`` does not.
    """
    for name in names:
        match = _SPLIT_NAME.fullmatch(name)
        if match:
            return _SPLITS[match[1].lower()]
    return None


def folders_inwards_first(path: PurePosixPath) -> list[str]:
    """Give the names of a relative path's folders, the nearest first."""
    return list(reversed(path.parts[:-1]))
