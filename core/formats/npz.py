"""NumPy archives: arrays of images and of masks that belong together, as Mars terrain sets come.

Read are ``.npz`` files at any depth. Arrays are told by shape and type, never by their names alone:
images (N, H, W, 3), (N, H, W, 1) or (N, H, W), uint8 or float; masks (N, H, W) of numbers, or one-hot
(N, H, W, C). Objects are never unpickled. Arrays are unpacked to the disk and read from there image by
image, so that a set larger than the memory can be imported.
"""

import re
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.domain.labels import Split
from core.domain.mask_classes import FoundValue, Meaning, Meanings, role_of
from core.formats import value_names
from core.formats.export import by_folder, file_names, replaced_export
from core.formats.index_masks import class_numbers, painted
from core.formats.mask_values import Labelled, found_values, read_labelled, survey
from core.formats.seeing import counted
from core.formats.source import Refusal, SourceDataset, SourceImage, list_files, shown, split_of
from core.formats.value_examples import with_examples
from core.formats.value_names import ValueNames
from core.imaging.limits import MAX_PIXELS
from core.imaging.overlay import encode_grey_png
from core.imaging.reading import decode_rgb
from core.storage.blobs import free_bytes

MAX_UNPACKED_BYTES = 20 * 1024**3
MAX_ARRAYS = 100
MAX_ONE_HOT = 255
IMAGES_PER_FILE = 64
BYTES_PER_FILE = 256 * 1024**2
CLASS_NAMES, CLASS_VALUES, NAMES = "class_names", "class_values", "names"

_IMAGE_WORDS = re.compile(r"x|images?|imgs?|photos?|inputs?|rgb|data", re.I)
_MASK_WORDS = re.compile(r"y|masks?|labels?|annotations?|gt|targets?|segmentations?", re.I)


@dataclass(frozen=True)
class _Archive:
    """An opened file: its arrays by name, mapped from the disk."""

    path: PurePosixPath
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Pair:
    """Images and their masks in one file."""

    archive: _Archive
    images: NDArray[Any]
    masks: NDArray[Any]
    split: Split | None


def detect(folder: Path) -> bool:
    """Tell whether there is a NumPy archive with images and masks."""
    return any(_looks_right(folder / path) for path in _paths(folder))


def see(folder: Path) -> str:
    """Count the archives and their images."""
    pairs, _ = _pairs(folder)
    files = len({pair.archive.path for pair in pairs})
    return f"{counted(files, 'file')}, {counted(sum(len(pair.images) for pair in pairs), 'photo')} with masks"


def find(folder: Path) -> tuple[FoundValue, ...]:
    """Give the values that the masks hold, with their names where the archive tells them.

    Raises:
        FormatError: there are no images with masks; the sentence says what there is.
    """
    pairs = _pairs_or_fault(folder)
    photos = _photos(pairs)
    surveyed = survey([photo.mask for photo in photos if photo.mask is not None])
    return with_examples(found_values(surveyed, _names(pairs)), surveyed, photos)


def read(folder: Path) -> SourceDataset:
    """Read images and masks whose values all have names.

    Raises:
        FormatError: as ``find``; or a value has no name, and the sentence says how to give it one.
    """
    return read_named(folder, value_names.require_known(find(folder)))


def read_named(folder: Path, meanings: Meanings) -> SourceDataset:
    """Read images, as PNG, and masks by what their values mean; each connected region is an annotation.

    Raises:
        FormatError: there are no images with masks.
    """
    pairs, faults = _pairs(folder)
    if not pairs:
        raise _nothing(faults)
    dataset = read_labelled(_photos(pairs), meanings)
    refused = tuple(Refusal(shown(path), reason) for path, reason in faults.items())
    return SourceDataset(dataset.categories, dataset.images, refused + dataset.refused, dataset.notes)


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``[<split>_]<width>x<height>_<n>.npz``: up to 64 images of one size and split each.

    Arrays: ``images`` uint8 (N, H, W, 3), ``masks`` uint8 (N, H, W) with 0 as background, ``names``,
    ``class_names`` and ``class_values``. Where annotations overlap, the later one is seen.

    Raises:
        AppError: more than 254 classes, the folder is a file or holds annotations from elsewhere.
        StorageError: the disk is full; what was written before is complete.
    """
    numbers = class_numbers(dataset)
    with replaced_export(folder) as keep:
        for place, images in by_folder(dataset).items():
            for stem, part in _parts(list(zip(images, file_names(images), strict=True)), place):
                arrays: dict[str, NDArray[Any]] = {
                    "masks": np.stack([painted(image, numbers) for image, _ in part]),
                    NAMES: np.array([name for _, name in part]),
                    CLASS_NAMES: np.array(["background", *numbers]),
                    CLASS_VALUES: np.array([0, *numbers.values()], np.uint8),
                }
                if with_photos:
                    arrays["images"] = np.stack([decode_rgb(image.read()) for image, _ in part])
                file = BytesIO()
                np.savez_compressed(file, allow_pickle=False, **arrays)
                keep(PurePosixPath(f"{stem}.npz"), file.getvalue())


_Named = tuple[SourceImage, str]


def _parts(images: Sequence[_Named], place: str) -> list[tuple[str, list[_Named]]]:
    """Sort images by size into parts that fit one file each, with the file's stem."""
    by_size: dict[tuple[int, int], list[_Named]] = defaultdict(list)
    for image, name in images:
        assert image.drawn_size_wh is not None, "a mask needs its image's size"
        by_size[image.drawn_size_wh].append((image, name))
    parts: list[tuple[str, list[_Named]]] = []
    for (width, height), same in by_size.items():
        step = max(1, min(IMAGES_PER_FILE, BYTES_PER_FILE // (width * height * 4)))
        for number, start in enumerate(range(0, len(same), step), start=1):
            stem = "_".join(filter(None, (place, f"{width}x{height}", f"{number:03d}")))
            parts.append((stem, same[start : start + step]))
    return parts


def _paths(folder: Path) -> list[PurePosixPath]:
    return [path for path in list_files(folder) if path.suffix.lower() == ".npz"]


def _looks_right(path: Path) -> bool:
    """Whether an archive's headers tell of images and masks; nothing is unpacked for that."""
    try:
        with zipfile.ZipFile(path) as opened:
            shapes = {info.filename: _header(opened, info) for info in _members(opened)}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return False
    found = {name: header for name, header in shapes.items() if header is not None}
    return bool(_paired(found))


def _pairs_or_fault(folder: Path) -> list[_Pair]:
    pairs, faults = _pairs(folder)
    if not pairs:
        raise _nothing(faults)
    return pairs


def _nothing(faults: Mapping[PurePosixPath, str]) -> FormatError:
    first = next((f"{path}: {reason}" for path, reason in faults.items()), "There is no .npz file here.")
    return FormatError(first)


def _pairs(folder: Path) -> tuple[list[_Pair], dict[PurePosixPath, str]]:
    """Open all archives; give the pairs of arrays, and the faults of those without one."""
    pairs: list[_Pair] = []
    faults: dict[PurePosixPath, str] = {}
    for path in _paths(folder):
        try:
            archive = _opened(folder, path)
            headers = {name: (array.shape, array.dtype) for name, array in archive.arrays.items()}
            found = _paired(headers)
            if not found:
                raise FormatError(_what_is_there(headers))
        except FormatError as error:
            faults[path] = str(error)
            continue
        for images, masks in found:
            words = [*re.split(r"[_\W]+", images), *re.split(r"[_\W]+", path.stem), *path.parts[:-1]]
            pairs.append(_Pair(archive, archive.arrays[images], archive.arrays[masks], split_of(words)))
    return pairs, faults


_Header = tuple[tuple[int, ...], "np.dtype[Any]"]


def _paired(headers: Mapping[str, _Header]) -> list[tuple[str, str]]:
    """Give the names of images and their masks: the same N, H and W, and names that are alike.

    Where shapes leave it open which of two arrays is the image, three channels and then the names tell.
    """
    plain = {name: header for name, header in headers.items() if _is_stack(header)}
    pairs: list[tuple[str, str]] = []
    free = dict(plain)
    for images in sorted(plain, key=lambda name: -_image_likeness(name, plain[name])):
        if images not in free or _image_likeness(images, plain[images]) <= 0:
            continue
        fitting = [
            name
            for name in free
            if name != images and free[name][0][:3] == plain[images][0][:3] and _is_mask(free[name])
        ]
        if not fitting:
            continue
        masks = max(fitting, key=lambda name: (_rest(name) == _rest(images), _is_named(name, _MASK_WORDS)))
        del free[images], free[masks]
        pairs.append((images, masks))
    return sorted(pairs)


def _is_stack(header: _Header) -> bool:
    shape, dtype = header
    is_numbers = dtype.kind in "uifb" and dtype.itemsize <= 8
    return is_numbers and len(shape) in (3, 4) and min(shape) > 0 and shape[1] * shape[2] <= MAX_PIXELS


def _image_likeness(name: str, header: _Header) -> int:
    shape, dtype = header
    is_picture = dtype == np.uint8 or dtype.kind == "f"
    if not is_picture or (len(shape) == 4 and shape[3] not in (1, 3)):
        return 0
    score = 2 + 4 * (len(shape) == 4 and shape[3] == 3)
    return score + _is_named(name, _IMAGE_WORDS) - 3 * _is_named(name, _MASK_WORDS)


def _is_mask(header: _Header) -> bool:
    shape, _ = header
    return len(shape) == 3 or shape[3] <= MAX_ONE_HOT


def _is_named(name: str, words: re.Pattern[str]) -> bool:
    return any(words.fullmatch(part) for part in re.split(r"[_\W]+", name.removesuffix(".npy")))


def _rest(name: str) -> str:
    parts = re.split(r"[_\W]+", name.removesuffix(".npy").casefold())
    return "_".join(p for p in parts if not _IMAGE_WORDS.fullmatch(p) and not _MASK_WORDS.fullmatch(p))


def _what_is_there(headers: Mapping[str, _Header]) -> str:
    told = ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in list(headers.items())[:6])
    return (
        f"It holds {told or 'no array'}; wanted are images (N, H, W, 3) or (N, H, W) of uint8 or float, and "
        "masks (N, H, W) or one-hot (N, H, W, C) of the same N, H and W."
    )


def _members(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [info for info in opened.infolist() if info.filename.endswith(".npy")]
    if len(members) > MAX_ARRAYS or sum(info.file_size for info in members) > MAX_UNPACKED_BYTES:
        raise ValueError(f"it holds more than {MAX_ARRAYS} arrays or 20 GB")
    return members


def _header(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header | None:
    """Read an array's shape and type; None where it holds Python objects, which are never read."""
    with opened.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
    return None if dtype.hasobject else (shape, dtype)


def _opened(folder: Path, path: PurePosixPath) -> _Archive:
    """Unpack an archive's arrays to the disk.

    Raises:
        FormatError: it is damaged, too large, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(folder / path) as opened:
            members = _members(opened)
            objects = [info.filename for info in members if _header(opened, info) is None]
            if objects:
                raise FormatError(
                    f"Its array “{objects[0].removesuffix('.npy')}” holds Python objects, which could run "
                    "code and are never read. Save plain arrays: numpy.stack them first."
                )
            # The files go at once and their content with the last array: what is mapped stays readable.
            with tempfile.TemporaryDirectory(prefix="arrays-", ignore_cleanup_errors=True) as scratch:
                if sum(info.file_size for info in members) > free_bytes(Path(scratch)):
                    raise FormatError("There is not enough room on the disk to unpack it.")
                return _Archive(path, _unpacked(opened, members, Path(scratch)))
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise FormatError(f"It is no NumPy archive, or it is damaged: {error}.") from error


def _unpacked(
    opened: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], scratch: Path
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for number, info in enumerate(members):
        target = scratch / f"{number}.npy"
        with opened.open(info) as packed, target.open("wb") as file:
            while block := packed.read(1024 * 1024):
                file.write(block)
        arrays[info.filename.removesuffix(".npy")] = np.load(target, mmap_mode="r", allow_pickle=False)
    return arrays


def _photos(pairs: Sequence[_Pair]) -> list[Labelled]:
    photos: list[Labelled] = []
    for pair in pairs:
        listed = pair.archive.arrays.get(NAMES)
        count = len(pair.images)
        names = [f"{shown(pair.archive.path.stem)}_{number:05d}.png" for number in range(count)]
        if listed is not None and listed.dtype.kind == "U" and listed.shape == (count,):
            names = [shown(name) for name in listed.tolist()]
        for number, name in enumerate(names):
            image = SourceImage(name, partial(_photo_png, pair, number), pair.split, media_type="image/png")
            mask_name = f"{shown(pair.archive.path)}, mask {number}"
            photos.append(Labelled(image, partial(_mask_png, pair, number), mask_name))
    return photos


def _photo_png(pair: _Pair, number: int) -> bytes:
    """Encode one image; floats of at most 1 are scaled by 255."""
    pixels = np.asarray(pair.images[number])
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels)
        is_unit = float(np.abs(pixels).max(initial=0)) <= 1
        pixels = np.rint(pixels * (255 if is_unit else 1)).clip(0, 255)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    whole = np.ascontiguousarray(pixels, np.uint8)
    done, file = cv2.imencode(".png", whole if whole.ndim == 2 else whole[:, :, ::-1])
    assert done, "a PNG of bytes can always be made"
    return file.tobytes()


def _mask_png(pair: _Pair, number: int) -> bytes:
    """Encode one mask: numbers as they are, one-hot ones as the number of their highest channel.

    Raises:
        FormatError: a number lies outside 0..255 or is no whole one.
    """
    values = np.asarray(pair.masks[number])
    if values.ndim == 3:
        values = values[:, :, 0] if values.shape[2] == 1 else values.argmax(axis=2)
    whole = np.nan_to_num(values.astype(np.float64), nan=-1)
    if (whole != np.rint(whole)).any() or whole.min() < 0 or whole.max() > 255:
        raise FormatError("A mask's values must be whole numbers from 0 to 255.")
    return encode_grey_png(np.ascontiguousarray(whole, np.uint8))


def _names(pairs: Sequence[_Pair]) -> ValueNames:
    """Give the names that an archive of ours, or one like it, tells."""
    by_number: dict[int, Meaning] = {}
    for pair in pairs:
        names, values = (pair.archive.arrays.get(key) for key in (CLASS_NAMES, CLASS_VALUES))
        if names is None or names.dtype.kind != "U" or names.ndim != 1:
            continue
        numbers = range(len(names)) if values is None or values.shape != names.shape else values.tolist()
        for number, name in zip(numbers, names.tolist(), strict=True):
            role = "background" if number == 0 else role_of(name)
            by_number.setdefault(int(number), Meaning(shown(name.strip())[:80], role))
    return ValueNames(by_number)
