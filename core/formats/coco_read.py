"""Read COCO folders: json files with polygons or run-length codes, photos beside them or elsewhere."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

from core.domain.errors import FormatError
from core.formats.segmentation import EXTENSION, decode_annotation
from core.formats.source import (
    MAX_WANTED_ID,
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

LISTS = ("images", "annotations", "categories")
NAMES_THAT_CLAIM_COCO = ("coco", "annotation", "instances")
MAX_JSON_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class _Document:
    """One COCO json, its outermost shape checked."""

    path: PurePosixPath
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]


@dataclass
class _Reading:
    """What has been gathered so far."""

    folder: Path
    photos: Sequence[PurePosixPath]
    taken: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict)  # photo -> its json
    images: list[SourceImage] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.known = set(self.photos)
        self.by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
        for photo in self.photos:
            self.by_name[photo.name].append(photo)

    def refuse(self, file: object, reason: object) -> None:
        self.refused.append(Refusal(shown(file), shown(reason)))


def detect(folder: Path) -> bool:
    """Tell whether a folder holds a json file with COCO's lists."""
    return any(mentions_coco(folder / path) for path in list_files(folder) if _is_json(path))


def read(folder: Path) -> SourceDataset:
    """Read all COCO json files at any depth, and the photos they name.

    The split comes from the names of folders inside ``folder`` (train, valid, test and their like) or
    from the json's own name (instances_val2017). An image that has annotations in the file none of
    which can be used counts as unlabelled, so that it is not taken for a photo without damage.

    Raises:
        FormatError: no json file there is COCO; the sentence names one and its fault.
    """
    files = list_files(folder)
    reading = _Reading(folder, [path for path in files if is_photo(path)])
    documents = _documents(reading, [path for path in files if _is_json(path)])
    names = _category_names(reading, documents)
    for document in documents:
        _take(reading, document, names[document.path])
    left = len(reading.photos) - len(reading.taken)
    if left:
        reading.notes.append(
            f"{left} photos are in no annotation file and were left out; "
            "import them as the format “photos” to label them."
        )
    categories = _categories(documents, names)
    return SourceDataset(categories, tuple(reading.images), tuple(reading.refused), tuple(reading.notes))


def _is_json(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".json"


def mentions_coco(path: Path) -> bool:
    """Tell whether a json file names COCO's lists."""
    if not 0 < path.stat().st_size <= MAX_JSON_BYTES:
        return False
    text = path.read_bytes()
    return sum(f'"{name}"'.encode() in text for name in LISTS) >= 2


def _documents(reading: _Reading, paths: Sequence[PurePosixPath]) -> list[_Document]:
    documents: list[_Document] = []
    faults: list[str] = []
    for path in paths:
        claims = any(word in path.name.lower() for word in NAMES_THAT_CLAIM_COCO)
        try:
            documents.append(_document(reading.folder, path))
        except FormatError as error:
            faults.append(f"{path}: {error}")
            if claims or mentions_coco(reading.folder / path):
                reading.refuse(path, error)
            else:
                reading.notes.append(f"{path} is no COCO file and was left aside.")
    if not documents:
        raise FormatError(faults[0] if faults else "There is no json file with COCO annotations here.")
    return documents


def _document(folder: Path, path: PurePosixPath) -> _Document:
    file = folder / path
    if file.stat().st_size > MAX_JSON_BYTES:
        raise FormatError("The file is larger than 2 GB; split it.")
    try:
        value: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"This is no valid json: {error}.") from error
    lists: dict[str, list[dict[str, Any]]] = {}
    for name in LISTS:
        entries = value.get(name) if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise FormatError(f"This is no COCO file: it has no list “{name}”.")
        if not all(isinstance(entry, dict) for entry in cast("list[Any]", entries)):
            raise FormatError(f"This is no COCO file: “{name}” holds something that is not an object.")
        lists[name] = cast("list[dict[str, Any]]", entries)
    return _Document(path, **lists)


def _category_names(reading: _Reading, documents: Sequence[_Document]) -> dict[PurePosixPath, dict[int, str]]:
    """Map each json's category ids to names, without placeholders and faulty entries."""
    listed = {document.path: _listed_names(reading, document) for document in documents}
    used: set[str] = set()
    parents: set[str] = set()
    for document in documents:
        names = listed[document.path]
        used |= {names[i] for i in _used_ids(document) if i in names}
        parents |= {str(c.get("supercategory")) for c in document.categories if _is_child(c)}
    dropped: set[str] = set()
    for names in listed.values():
        for category_id, name in list(names.items()):
            is_background = name.casefold().strip("_ ") == "background"
            if name not in used and (category_id == 0 or name in parents or is_background):
                del names[category_id]
                dropped.add(name)
    for name in sorted(dropped):
        reading.notes.append(f"“{name}” is a placeholder without annotations, so it is no category here.")
    return listed


def _listed_names(reading: _Reading, document: _Document) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in document.categories:
        category_id, name = entry.get("id"), entry.get("name")
        try:
            if not isinstance(category_id, int) or isinstance(category_id, bool):
                raise FormatError(f"The category “{name}” has no whole number as its id.")
            if category_id in names:
                raise FormatError(f"Two categories have the id {category_id}; “{name}” was left out.")
            names[category_id] = SourceCategory(name if isinstance(name, str) else "").name.strip()
        except FormatError as error:
            reading.refuse(document.path, error)
    return names


def _used_ids(document: _Document) -> set[int]:
    return {a["category_id"] for a in document.annotations if isinstance(a.get("category_id"), int)}


def _is_child(category: Mapping[str, Any]) -> bool:
    return category.get("supercategory") != category.get("name")


def _categories(
    documents: Sequence[_Document], names: Mapping[PurePosixPath, Mapping[int, str]]
) -> tuple[SourceCategory, ...]:
    """List categories by id as first met; the same name (letter case aside) is the same category."""
    wanted: dict[str, SourceCategory] = {}
    for document in documents:
        for category_id, name in sorted(names[document.path].items()):
            keeps = category_id if 1 <= category_id <= MAX_WANTED_ID else None
            wanted.setdefault(name.casefold(), SourceCategory(name, keeps))
    return tuple(wanted.values())


def _take(reading: _Reading, document: _Document, names: Mapping[int, str]) -> None:
    annotations: dict[object, list[dict[str, Any]]] = defaultdict(list)
    for record in document.annotations:
        annotations[_key(record.get("image_id"))].append(record)
    basenames = Counter(PurePosixPath(_texts(record)[0]).name for record in document.images if _texts(record))
    seen: set[object] = set()
    for record in document.images:
        key = _key(record.get("id"))
        records = [] if key in seen else annotations.pop(key, [])
        seen.add(key)
        try:
            photo = _photo(reading, document, record, basenames)
        except FormatError as error:
            reading.refuse(_shown_name(record), error)
            continue
        reading.taken[photo] = document.path
        reading.images.append(_image(reading, document, record, photo, records, names))
    lost = sum(len(records) for records in annotations.values())
    if lost:
        reading.refuse(document.path, f"{lost} annotations belong to images that the file does not list.")


def _key(value: object) -> object:
    return value if isinstance(value, int | str) else None


def _texts(record: Mapping[str, Any]) -> list[str]:
    """Give the paths that an image's record names, the most telling first."""
    texts = [record.get(key) for key in ("path", "file_name")]
    cleaned = [text.replace("\\", "/").lstrip("/") for text in texts if isinstance(text, str)]
    return [PurePosixPath(text).as_posix() for text in cleaned if text]


def _shown_name(record: Mapping[str, Any]) -> str:
    return str(record.get("file_name") or record.get("path") or f"image {record.get('id')}")


def _photo(
    reading: _Reading, document: _Document, record: Mapping[str, Any], basenames: Mapping[str, int]
) -> PurePosixPath:
    """Find an image's photo among the folder's files; nothing outside of it is ever opened."""
    photo = _found(reading, document, record, basenames)
    if photo is None:
        raise FormatError(f"{document.path} names this photo, but it is not there.")
    if photo in reading.taken:
        raise FormatError(
            f"{document.path} names this photo, but {reading.taken[photo]} has it already; "
            "the labels that came first were taken."
        )
    return photo


def _found(
    reading: _Reading, document: _Document, record: Mapping[str, Any], basenames: Mapping[str, int]
) -> PurePosixPath | None:
    parent = document.path.parent
    for text in _texts(record):
        for place in (parent, parent / "images", parent.parent, parent.parent / "images", PurePosixPath()):
            if place / text in reading.known:
                return place / text
    for text in _texts(record):
        named_alike = reading.by_name.get(PurePosixPath(text).name, [])
        matches = [photo for photo in named_alike if f"/{photo}".endswith(f"/{text}")]
        if not matches and basenames[PurePosixPath(text).name] == 1:
            matches = named_alike
        if len(matches) > 1:
            raise FormatError(f"{document.path} may mean {matches[0]} or {matches[1]}; name its folder.")
        if matches:
            return matches[0]
    return None


def _image(
    reading: _Reading,
    document: _Document,
    record: Mapping[str, Any],
    photo: PurePosixPath,
    records: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
) -> SourceImage:
    size_wh = _stated_size(record)
    taken: list[SourceAnnotation] = []
    for entry in records:
        try:
            taken.append(_annotation(entry, names, size_wh))
        except FormatError as error:
            reading.refuse(photo, f"Annotation {entry.get('id')}: {error}")
    folders = folders_inwards_first(photo) + folders_inwards_first(document.path)
    return SourceImage(
        name=_client_name(record) or shown(photo),
        read=partial(read_photo, reading.folder / photo),
        split=split_of([*folders, *document.path.stem.replace("-", "_").split("_")]),
        annotations=tuple(taken),
        is_labelled=bool(taken) or not records,
        drawn_size_wh=size_wh,
    )


def _client_name(record: Mapping[str, Any]) -> str | None:
    extension = record.get(EXTENSION)
    name = cast("Mapping[str, Any]", extension).get("name") if isinstance(extension, Mapping) else None
    return shown(name[-512:]) if isinstance(name, str) and name.strip() else None


def _stated_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = record.get("width"), record.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    return None


def _annotation(
    entry: Mapping[str, Any], names: Mapping[int, str], size_wh: tuple[int, int] | None
) -> SourceAnnotation:
    category = names.get(cast("int", _key(entry.get("category_id"))))
    if category is None:
        raise FormatError(f"The file lists no category {entry.get('category_id')}.")
    ops = decode_annotation(entry, (size_wh[1], size_wh[0]) if size_wh else None)
    return SourceAnnotation(category, ops, origin=f"Annotation {entry.get('id')}")
