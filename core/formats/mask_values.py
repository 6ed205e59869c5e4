"""From masks that hold numbers or colours to annotations: survey the values, then read by their meanings."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.domain.labels import RleOp
from core.domain.mask_classes import FoundValue, Meaning, Meanings
from core.formats.source import Refusal, SourceAnnotation, SourceCategory, SourceDataset, SourceImage
from core.formats.value_names import ValueNames, guessed
from core.imaging.mask_values import MaskValues, as_colors, decode_mask_values, hex_color, nearest_colors
from core.imaging.masks import encode_rle_box

THREADS = 2
MAX_SURVEYED = 2000
MAX_VALUES = 255
MAX_COLORS_KEPT = 4096  # of one picture: a photo has hundreds of thousands, a mask a few dozen
MAX_REGIONS = 50  # of one class on one photo; what is smaller stays together as one annotation
SAME_COLOR = 24  # largest difference of a channel that a lossy copy of one colour still has
MIN_SHARE = 0.001  # of all pixels, for a colour of a lossy mask to count as one that was meant
CROWD = 16  # so many colours beside those of the classes are a lossy copy's, not classes left out
RARE = 20  # times as frequent is the colour that a lossy copy's stray colours come from
RARE_SHARE = 0.002  # of a picture's pixels, that each stray colour takes on average at most
MIN_EXPLAINED = 0.8  # share of pixels that the found colours must explain
RED_IS_A_NUMBER = 64  # red channels with the others empty hold class numbers below this

Read = Callable[[], bytes]
_Part = tuple[NDArray[np.bool_], tuple[int, int]]  # a region's box, and the box's top left pixel (x, y)


@dataclass(frozen=True)
class Survey:
    """What masks hold, all together: pixels and pictures by value, as 0xRRGGBB where ``is_color``.

    ``examples`` gives by value the mask that has most of it, by its place among the surveyed ones.
    """

    pixels: Counter[int]
    pictures: Counter[int]
    examples: dict[int, int]
    is_color: bool
    palette: tuple[str, ...]

    def key(self, value: int) -> str:
        """Write a value as meanings name it."""
        return hex_color(value) if self.is_color else str(value)


def survey(reads: Sequence[Read]) -> Survey:
    """Look through masks, evenly chosen of more than 2,000; those that cannot be read are passed over.

    Raises:
        FormatError: none can be read, or they hold more values than classes can have.
    """
    step = max(1, -(-len(reads) // MAX_SURVEYED))
    with ThreadPoolExecutor(THREADS) as pool:
        read = pool.map(_values_or_none, reads[::step])
        places, found = _readable(read, step)
    if not found:
        raise FormatError("None of the masks can be read.")
    is_color = any(one.is_color for one in found)
    if is_color and all(_holds_red_numbers(one) for one in found):
        found, is_color = [one.as_red() for one in found], False
    pixels, pictures = Counter[int](), Counter[int]()
    most: dict[int, tuple[int, int]] = {}
    for place, one in zip(places, found, strict=True):
        counts = one.as_color() if is_color else one.counts
        pixels.update(counts)
        pictures.update(counts.keys())
        for value, count in counts.items():
            most[value] = max(most.get(value, (0, 0)), (count, place))
    palette = next((one.palette for one in found if one.palette), ())
    examples = {value: place for value, (_, place) in most.items()}
    result = Survey(pixels, pictures, examples, is_color, palette)
    return _without_noise(result, found) if _is_noisy(result) else result


def _readable(read: Iterable["_Found | None"], step: int) -> tuple[list[int], list["_Found"]]:
    """Give the places and the values of the masks that could be read."""
    taken = [(number * step, one) for number, one in enumerate(read) if one is not None]
    return [place for place, _ in taken], [one for _, one in taken]


def found_values(surveyed: Survey, names: ValueNames) -> tuple[FoundValue, ...]:
    """Give the values, numbers in order and colours by their share, with their known or guessed meaning."""
    total = max(1, surveyed.pixels.total())
    values: list[FoundValue] = []
    for value, count in surveyed.pixels.items():
        key = surveyed.key(value)
        known = names.meaning(key, surveyed.palette)
        guess = known or guessed(key)
        if not guess.color and guess.role == "class" and not surveyed.is_color:
            color = surveyed.palette[value] if value < len(surveyed.palette) else ""
            guess = Meaning(guess.name, guess.role, color)
        values.append(FoundValue(key, count / total, surveyed.pictures[value], guess, known is not None))
    if surveyed.is_color:
        return tuple(sorted(values, key=lambda v: -v.share))
    return tuple(sorted(values, key=lambda v: int(v.key)))


def _categories(meanings: Meanings) -> tuple[SourceCategory, ...]:
    """Give the classes, in the meanings' order; numbers up to 254 are their ids."""
    classes: dict[str, SourceCategory] = {}
    for key, meaning in meanings.items():
        if meaning.role == "background":
            continue
        wanted = int(key) if not key.startswith("#") and meaning.role == "class" else 0
        category = SourceCategory(meaning.name.strip(), wanted if 1 <= wanted < 255 else None)
        classes.setdefault(category.name.casefold(), category)
    return tuple(classes.values())


def _notes(meanings: Meanings) -> tuple[str, ...]:
    """Say what has to be known about the classes that count nowhere."""
    ignored = sorted({m.name.strip() for m in meanings.values() if m.role == "ignore"})
    if not ignored:
        return ()
    named = ", ".join(f"“{name}”" for name in ignored)
    return (
        f"What is to be ignored was kept as the class {named}; "
        "choose it as “Class to ignore” for a training.",
    )


@dataclass(frozen=True)
class Labelled:
    """One photo of a mask set, its mask and, where there is one, the picture that numbers its objects."""

    image: SourceImage  # without labels
    mask: Read | None
    mask_name: str = ""
    objects: Read | None = None


def read_labelled(photos: Sequence[Labelled], meanings: Meanings) -> SourceDataset:
    """Read photos with their masks: every connected region of a class becomes an annotation.

    Where a mask numbers its objects, each object becomes one instead, whatever parts it has. What is
    ignored is one annotation per photo. A mask without any class means "no damage". A photo whose mask
    cannot be used stays unlabelled.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(partial(_labelled, meanings=meanings), photos))
    lossy = sum(result.is_lossy for result in results)
    notes = list(_notes(meanings))
    if lossy:
        notes.append(
            f"{lossy} masks hold colours between those of the classes, as JPEG makes them; "
            "each pixel took the nearest class."
        )
    return SourceDataset(
        categories=_categories(meanings),
        images=tuple(result.image for result in results),
        refused=tuple(result.refusal for result in results if result.refusal),
        notes=tuple(notes),
    )


def regions(
    label_map: NDArray[np.uint8], meanings: Sequence[Meaning], objects: NDArray[np.int32] | None = None
) -> tuple[SourceAnnotation, ...]:
    """Give the annotations of a map of indices into meanings, (H, W), plus 1; 0 is nothing.

    Args:
        objects: numbers of objects, (H, W); 0 and 255 are none.
    """
    drawn: list[SourceAnnotation] = []
    for index, meaning in enumerate(meanings, start=1):
        mask = label_map == index
        if meaning.role == "background" or not mask.any():
            continue
        if meaning.role == "ignore":
            parts = [_cropped(mask)]
        elif objects is not None:
            parts = _by_object(mask, objects)
        else:
            parts = _connected(mask)
        name, size_hw = meaning.name.strip(), (label_map.shape[0], label_map.shape[1])
        codes = (encode_rle_box(box, corner_xy, size_hw) for box, corner_xy in parts)
        drawn += (SourceAnnotation(name, (RleOp(size_hw, code),)) for code in codes)
    return tuple(drawn)


@dataclass(frozen=True)
class _Found:
    """The values of one mask picture, counted."""

    counts: dict[int, int]
    is_color: bool
    palette: tuple[str, ...]

    def as_color(self) -> dict[int, int]:
        if self.is_color:
            return self.counts
        values = np.fromiter(self.counts, np.int32)
        colors = as_colors(MaskValues(values[None], palette=self.palette))[0]
        merged = Counter[int]()
        for color, count in zip(colors.tolist(), self.counts.values(), strict=True):
            merged[color] += count
        return merged

    def as_red(self) -> "_Found":
        shift = 16 if self.is_color else 0
        return _Found({value >> shift: n for value, n in self.counts.items()}, False, ())


def _values_or_none(read: Read) -> _Found | None:
    try:
        picture = decode_mask_values(read())
    except (OSError, FormatError):
        return None
    values, counts = np.unique(picture.values, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MAX_COLORS_KEPT]
    counted = {int(values[i]): int(counts[i]) for i in most}
    return _Found(counted, picture.is_color, picture.palette)


def _holds_red_numbers(one: _Found) -> bool:
    """Whether only the red channel is used, for small numbers: the Lyft and Udacity road set."""
    if not one.is_color:
        return set(one.counts) == {0}
    return all(value & 0xFFFF == 0 and value >> 16 < RED_IS_A_NUMBER for value in one.counts)


def _is_noisy(surveyed: Survey) -> bool:
    """Whether there are more values than classes, or a crowd of rare colours close to a frequent one."""
    if len(surveyed.pixels) > MAX_VALUES or not surveyed.is_color:
        return len(surveyed.pixels) > MAX_VALUES
    common = np.array([value for value, _ in surveyed.pixels.most_common()], np.int32)
    counts = np.array([count for _, count in surveyed.pixels.most_common()])
    shadows = 0
    for place in range(1, len(common)):
        larger = common[counts >= RARE * counts[place]]
        shadows += larger.size > 0 and _distance(int(common[place]), larger.tolist()) <= SAME_COLOR
    return shadows >= CROWD


def _without_noise(surveyed: Survey, found: Sequence[_Found]) -> Survey:
    """Give the colours that a lossy copy of a colour mask was made from.

    Raises:
        FormatError: the values are no colours, or they are all over the place, as a photo's are.
    """
    total = surveyed.pixels.total()
    if not surveyed.is_color:
        raise FormatError(
            f"The masks hold {len(surveyed.pixels):,} values, more than the {MAX_VALUES} that classes can "
            "have. Where values number objects, give one mask for each object or class."
        )
    kept: list[int] = []
    for value, count in surveyed.pixels.most_common(round(1 / MIN_SHARE)):  # more cannot have that share
        is_near = bool(kept) and _distance(value, kept) <= SAME_COLOR
        if not is_near and count / total >= MIN_SHARE and len(kept) < MAX_VALUES:
            kept.append(value)
    near = _pixels_near(surveyed.pixels, kept)
    if near / total < MIN_EXPLAINED:
        raise FormatError(
            f"The masks hold {len(surveyed.pixels):,} colours, and {1 - near / total:.0%} of their pixels "
            "have none that classes could be told by: they look like photos. Save them as PNG without "
            "smoothing."
        )
    pictures = Counter(value for one in found for value in one.as_color().keys() & set(kept))
    return Survey(Counter({v: surveyed.pixels[v] for v in kept}), pictures, surveyed.examples, True, ())


def _pixels_near(pixels: Counter[int], kept: Sequence[int]) -> int:
    """Count the pixels of these colours or close to one; photos have millions of colours."""
    if not kept:
        return 0
    values, counts = np.fromiter(pixels.keys(), np.int32), np.fromiter(pixels.values(), np.int64)
    _, distance = nearest_colors(values, np.array(kept, np.int32))
    return int(counts[distance <= SAME_COLOR].sum())


def _distance(value: int, others: Sequence[int]) -> int:
    _, distance = nearest_colors(np.array([value], np.int32), np.array(others, np.int32))
    return int(distance[0])


@dataclass(frozen=True)
class _Result:
    image: SourceImage
    refusal: Refusal | None = None
    is_lossy: bool = False


def _labelled(photo: Labelled, meanings: Meanings) -> _Result:
    if photo.mask is None:
        return _Result(photo.image)
    try:
        label_map, is_lossy = _label_map(decode_mask_values(photo.mask()), list(meanings))
        objects = decode_mask_values(photo.objects()).values if photo.objects else None
        if objects is not None and objects.shape != label_map.shape:
            raise FormatError("The picture that numbers its objects has another size.")
    except OSError as error:
        reason = f"The mask cannot be read: {error.strerror or error}."
        return _Result(photo.image, Refusal(photo.mask_name, reason))
    except FormatError as error:
        return _Result(photo.image, Refusal(photo.mask_name, str(error)))
    drawn = regions(label_map, list(meanings.values()), objects)
    return _Result(with_labels(photo.image, drawn, label_map.shape), is_lossy=is_lossy)


def with_labels(
    image: SourceImage, drawn: tuple[SourceAnnotation, ...], shape: tuple[int, ...]
) -> SourceImage:
    """Give an image with the labels that were drawn on a mask of shape (H, W)."""
    return replace(image, annotations=drawn, is_labelled=True, drawn_size_wh=(shape[1], shape[0]))


def _label_map(picture: MaskValues, keys: Sequence[str]) -> tuple[NDArray[np.uint8], bool]:
    """Give indices into the keys plus 1, and whether colours had to be guessed.

    Raises:
        FormatError: a value is none of the keys.
    """
    if not keys or len(keys) > MAX_VALUES:
        raise FormatError(f"A mask's values need 1 to {MAX_VALUES} meanings.")
    if keys[0].startswith("#"):
        colors = np.array([int(key[1:], 16) for key in keys], np.int32)
        return _by_color(as_colors(picture), colors)
    if picture.is_color:
        if (picture.values & 0xFFFF).any():
            raise FormatError("The mask holds colours, where others of this source hold numbers.")
        picture = MaskValues(picture.values >> 16)
    return _by_number(picture.values, np.array([int(key) for key in keys], np.int32)), False


def _by_number(values: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    order = np.argsort(numbers)
    places = np.searchsorted(numbers[order], values).clip(max=len(numbers) - 1)
    is_known = numbers[order][places] == values
    if not is_known.all():
        raise _unnamed(map(str, np.unique(values[~is_known])[:5].tolist()))
    return (order[places] + 1).astype(np.uint8)


def _by_color(values: NDArray[np.int32], colors: NDArray[np.int32]) -> tuple[NDArray[np.uint8], bool]:
    found, places = np.unique(values, return_inverse=True)
    nearest, distance = nearest_colors(found.astype(np.int32), colors)
    is_unknown = distance > 0
    is_lossy = bool(
        is_unknown.sum() >= CROWD and is_unknown[places.ravel()].mean() < RARE_SHARE * is_unknown.sum()
    )
    if is_unknown.any() and not is_lossy:
        raise _unnamed(hex_color(int(value)) for value in found[is_unknown][:5])
    share = float((distance > SAME_COLOR)[places.ravel()].mean())
    if share > 1 - MIN_EXPLAINED:  # the rest are blends along edges, and the nearest colour is right
        raise FormatError(f"{share:.0%} of the mask's pixels have a colour far from those of the classes.")
    return (nearest[places.ravel()] + 1).astype(np.uint8).reshape(values.shape), is_lossy


def _unnamed(keys: Iterable[str]) -> FormatError:
    return FormatError(f"The mask holds values to which no meaning was given: {', '.join(keys)}.")


def _connected(mask: NDArray[np.bool_]) -> list[_Part]:
    """Split a mask into its connected regions, the largest first; beyond fifty, the rest is one."""
    parts, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    by_area = [int(p) + 1 for p in np.argsort(-stats[1:parts, cv2.CC_STAT_AREA], kind="stable")]
    alone, rest = by_area[:MAX_REGIONS], by_area[MAX_REGIONS:]
    found: list[_Part] = []
    for part in alone:
        x, y, width, height = (int(value) for value in stats[part][:4])
        found.append((np.asarray(labels[y : y + height, x : x + width] == part, np.bool_), (x, y)))
    return found + ([_cropped(np.isin(labels, rest))] if rest else [])


def _by_object(mask: NDArray[np.bool_], objects: NDArray[np.int32]) -> list[_Part]:
    numbers = [int(n) for n in np.unique(objects[mask]) if n not in (0, 255)]
    parts = [_cropped(mask & (objects == number)) for number in numbers]
    left = mask & ~np.isin(objects, numbers) if numbers else mask
    return parts + (_connected(left) if left.any() else [])


def _cropped(mask: NDArray[np.bool_]) -> _Part:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return mask[y : rows[-1] + 1, x : columns[-1] + 1], (x, y)
