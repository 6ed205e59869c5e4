"""Plain photos without labels, at any depth of a folder."""

from functools import partial
from pathlib import Path

from core.domain.errors import FormatError
from core.formats.source import SourceDataset, SourceImage, is_photo, list_files, read_photo, shown

NAMED = 5


def detect(folder: Path) -> bool:
    """Tell whether a folder holds a photo."""
    return any(is_photo(path) for path in list_files(folder))


def read(folder: Path) -> SourceDataset:
    """Read a folder's photos as unlabelled, unsplit images; other files are named in a note.

    Raises:
        FormatError: there is no photo.
    """
    files = list_files(folder)
    photos = [path for path in files if is_photo(path)]
    if not photos:
        raise FormatError(
            f"There is no photo in {folder.name}; JPEG, PNG, WebP, HEIC, TIFF or BMP can be read."
        )
    images = tuple(SourceImage(shown(path), partial(read_photo, folder / path)) for path in photos)
    others = [shown(path.name) for path in files if not is_photo(path)]
    return SourceDataset((), images, notes=_note(others))


def _note(others: list[str]) -> tuple[str, ...]:
    if not others:
        return ()
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return (f"Left aside, because they are no photos: {', '.join(others[:NAMED])}{more}.",)
