"""What readers of labelling tools' files gather: photos found by name, regions, refusals; files parsed."""

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast
from xml.parsers import expat

from PIL import Image

from core.domain.errors import FormatError, ImageError
from core.formats.segmentation import FARTHEST
from core.formats.source import (
    Refusal,
    SourceAnnotation,
    SourceCategory,
    SourceDataset,
    SourceImage,
    folders_inwards_first,
    is_photo,
    list_files,
    read_photo,
    shown,
    split_of,
)
from core.imaging.limits import MAX_PIXELS
from core.imaging.reading import DECODER_FAULTS, EXIF_ORIENTATION, FORMATS

T = TypeVar("T")

MAX_TEXT_BYTES = 512 * 1024**2
LOOKED_AT_BYTES = 256 * 1024


@dataclass
class Reading:
    """What a reader has gathered so far from one folder.

    ``documents`` are the files there that hold labels in its format.
    """

    folder: Path
    documents: Sequence[PurePosixPath] = ()
    files: list[PurePosixPath] = field(init=False)
    images: list[SourceImage] = field(default_factory=list[SourceImage])
    refused: list[Refusal] = field(default_factory=list[Refusal])
    notes: list[str] = field(default_factory=list[str])
    categories: dict[str, SourceCategory] = field(default_factory=dict[str, SourceCategory])
    taken: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict[PurePosixPath, PurePosixPath])

    def __post_init__(self) -> None:
        self.files = list_files(self.folder)
        self.photos = [path for path in self.files if is_photo(path)]
        self._known = set(self.photos)
        self._by_stem: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        self._by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
        for photo in self.photos:
            self._by_name[photo.name].append(photo)
            self._by_stem[photo.with_suffix("")].append(photo)

    def ending(self, *suffixes: str) -> list[PurePosixPath]:
        """List the files whose name ends so, letter case aside."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def refuse(self, file: object, reason: object) -> None:
        """Note that something was not taken, and why."""
        self.refused.append(Refusal(shown(file), shown(reason)))

    def category(self, name: object) -> str:
        """Give a category's name as it is kept; the same name, letter case aside, is the same category.

        Raises:
            FormatError: it is no name.
        """
        made = SourceCategory(name.strip() if isinstance(name, str) else "")
        return self.categories.setdefault(made.name.casefold(), made).name

    def find(
        self, document: PurePosixPath, texts: Iterable[object], *, by_name_alone: bool = True
    ) -> PurePosixPath | None:
        """Find a photo among the folder's files; nothing outside of it is ever looked at.

        Args:
            document: the file that names the photo; its neighbourhood is searched first.
            texts: paths that it may mean, the most telling first.
            by_name_alone: take the only photo of this name although its folder is another one, unless
                another document lies there, whose photo it will be.

        Raises:
            FormatError: two photos may be meant.
        """
        paths = [cleaned for text in texts if (cleaned := _cleaned(text))]
        parent = document.parent
        for path in paths:
            for place in (parent, parent / "images", parent.parent, parent.parent / "images"):
                if place / path in self._known:
                    return place / path
        for path in paths:
            alike = self._by_name.get(PurePosixPath(path).name, [])
            matches = [photo for photo in alike if "/" in path and f"/{photo}".endswith(f"/{path}")]
            if not matches and by_name_alone:
                matches = [photo for photo in alike if not self._is_another_s(photo, document)]
            if len(matches) > 1:
                raise FormatError(f"{document} may mean {matches[0]} or {matches[1]}; name its folder.")
            if matches:
                return matches[0]
        return None

    def beside(self, document: PurePosixPath) -> PurePosixPath | None:
        """Give the one photo that lies beside a file and has its stem."""
        photos = self._by_stem.get(document.with_suffix(""), [])
        return photos[0] if len(photos) == 1 else None

    def _is_another_s(self, photo: PurePosixPath, document: PurePosixPath) -> bool:
        home = photo.parent.parent if photo.parent.name == "images" else photo.parent
        return home != document.parent and home in self._homes

    @cached_property
    def _homes(self) -> set[PurePosixPath]:
        return {document.parent for document in self.documents}

    def claim(self, document: PurePosixPath, photo: PurePosixPath | None) -> PurePosixPath:
        """Give a photo that was found to the file that names it; each has one.

        Raises:
            FormatError: there is no photo, or it has labels already.
        """
        if photo is None:
            raise FormatError(f"{document} names this photo, but it is not there.")
        if photo in self.taken:
            raise FormatError(
                f"{document} names this photo, but {self.taken[photo]} has it already; "
                "the labels that came first were taken."
            )
        self.taken[photo] = document
        return photo

    def regions(
        self, file: object, entries: Iterable[tuple[str, T]], read: Callable[[T], SourceAnnotation]
    ) -> tuple[SourceAnnotation, ...]:
        """Read labelled regions; each that cannot be used is refused with where it stood, and why."""
        found: list[SourceAnnotation] = []
        for origin, entry in entries:
            try:
                annotation = read(entry)
                found.append(SourceAnnotation(annotation.category, annotation.ops, origin=origin))
            except (FormatError, OverflowError) as error:
                self.refuse(file, f"{origin}: {error}")
        return tuple(found)

    def add(
        self,
        photo: PurePosixPath,
        annotations: tuple[SourceAnnotation, ...],
        *,
        is_labelled: bool,
        size_wh: tuple[int, int] | None = None,
        split_names: Sequence[str] = (),
    ) -> None:
        """Take a photo with its regions. The split comes from these names, or else from its folders."""
        self.images.append(
            SourceImage(
                name=shown(photo),
                read=partial(read_photo, self.folder / photo),
                split=split_of([*split_names, *folders_inwards_first(photo)]),
                annotations=annotations,
                is_labelled=is_labelled,
                drawn_size_wh=size_wh,
            )
        )

    def dataset(self) -> SourceDataset:
        """Sum up, with a note about photos that nothing names."""
        left = len(self.photos) - len(self.taken)
        if left:
            self.notes.append(
                f"{left} photos are in no annotation file and were left out; "
                "import them as the format “photos” to label them."
            )
        return SourceDataset(
            tuple(self.categories.values()), tuple(self.images), tuple(self.refused), tuple(self.notes)
        )


def _cleaned(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    path = PurePosixPath(text.replace("\\", "/").lstrip("/")).as_posix()
    return None if path == "." or "\0" in path else path


def mentions(path: Path, *words: bytes) -> bool:
    """Tell whether the first or last 256 kB of a file hold each of these words.

    That is enough to know a tool's file by, and a folder of photos packed into json is looked through
    once for each format.
    """
    try:
        with path.open("rb") as file:
            ends = file.read(LOOKED_AT_BYTES)
            file.seek(max(len(ends), path.stat().st_size - LOOKED_AT_BYTES))
            ends += file.read(LOOKED_AT_BYTES)
    except OSError:
        return False
    return all(word in ends for word in words)


def read_text_file(path: Path) -> bytes:
    """Read a file of annotations.

    Raises:
        FormatError: it is larger than 512 MB, or cannot be read.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise FormatError(f"The file is larger than {MAX_TEXT_BYTES // 1024**2} MB; split it.")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"The file cannot be read: {error.strerror or error}.") from error


def load_json(path: Path) -> Any:
    """Parse a json file. Raises FormatError when it is too large or no json, or not in UTF-8."""
    try:
        return json.loads(read_text_file(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"This is no valid json: {error}.") from error


def parse_xml(data: bytes) -> ET.Element:
    """Parse XML without a document type, whose entities can blow up memory or read files.

    Raises:
        FormatError: it is no XML, or it declares a document type.
    """
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise FormatError("The XML declares a document type (DOCTYPE), which no annotation needs.")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError, LookupError) as error:
        raise FormatError(f"This is no valid XML: {error}.") from error


def record(value: object, what: str) -> dict[str, Any]:
    """Give a value of a json as the object that it must be. Raises FormatError, which names it."""
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not an object.")
    return cast("dict[str, Any]", value)


def records(value: object, what: str) -> list[Any]:
    """Give a value of a json as the list that it must be. Raises FormatError, which names it."""
    if not isinstance(value, list):
        raise FormatError(f"{what} is not a list.")
    return cast("list[Any]", value)


def number(value: object) -> float:
    """Give a number from outside, be it written as text. Raises FormatError for NaN and huge ones."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        real = float(value)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"“{shown(value)[:40]}” is not a number.") from error
    if not -FARTHEST <= real <= FARTHEST:
        raise FormatError("It has a point that is not a number, or absurdly far away.")
    return real


def stated_size(width: object, height: object) -> tuple[int, int] | None:
    """Give the picture size (width, height) that a file states, None where it states none.

    Raises:
        FormatError: it is larger than any photo may be.
    """
    if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
        return None
    if isinstance(width, bool) or isinstance(height, bool):
        return None
    if width * height > MAX_PIXELS:
        raise FormatError(f"It states a picture of {width} x {height} pixels, larger than any photo may be.")
    return width, height


def photo_size_wh(path: Path) -> tuple[int, int]:
    """Give the upright size of a photo from its header, without decoding it.

    Raises:
        ImageError: it is no photo.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            is_turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            width, height = image.size
            return (height, width) if is_turned else (width, height)
    except (*DECODER_FAULTS, Image.DecompressionBombError) as error:
        raise ImageError("The file is no photo that can be read, so its labels have no size.") from error
