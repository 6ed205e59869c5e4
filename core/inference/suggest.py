"""What a model sees on a photo, as annotations that a person may accept, change or reject."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import Annotation, Category, PolygonOp, Source
from core.imaging.masks import label_map, mask_to_ops
from core.imaging.objects import LEAST_SHARE
from core.inference.outputs import Predictor
from core.inference.predict import predict
from core.inference.regions import Region, Regions, spread
from core.storage.store import new_id

SIDE = 2048  # long side, in pixels, of the map that is traced: four pixels or more to one of the network
TOLERANCE_PX = 1.0  # of that map, so up to 2 px of a 12-megapixel photo
MAX_SUGGESTIONS = 100
LEAST_NEW = 0.5  # of a region that must lie on nothing drawn, else it is the same damage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Task:
    """What suggestions are to be made of.

    size_wh: the photo's own. classes: the model's, channel i is ``classes[i - 1]``. known: the ids of the
    categories that the project has now. drawn: what lies on the photo already, suggestions aside. author: the
    name that suggestions carry, the model's.
    """

    size_wh: tuple[int, int]
    classes: tuple[Category, ...]
    known: frozenset[int]
    drawn: tuple[Annotation, ...] = field(repr=False)
    author: str = ""


@dataclass(frozen=True)
class Suggested:
    """Suggestions, and what was left out of them.

    annotations: in painting order, the largest at the bottom; source SUGGESTED, the note says how sure the
    model is. overlapping: how many regions lie on what is drawn. gone: names of the classes that were found
    and that the project has no more. beyond: how many were left out as there were more than MAX_SUGGESTIONS.
    """

    annotations: tuple[Annotation, ...]
    overlapping: int = 0
    gone: tuple[str, ...] = ()
    beyond: int = 0


def suggest(model: Predictor, photo: bytes, task: Task) -> Suggested:
    """Predict a photo and turn each region into an annotation of polygons, with its holes.

    A region is what the model tells apart, or connected pixels of a class (see ``predict``); specks and holes
    below LEAST_SHARE of the photo are dropped. What is drawn already is taken away from a region first, so
    that accepting it never paints over an object; a region of which less than LEAST_NEW remains then is the
    same damage and left out.

    Raises:
        ImageError: the file is no photo that can be read.
        AppError: the model is one of a worker's, and none answered.
    """
    found = predict(model, photo, size_wh=_traced_size(task.size_wh))
    number_map = spread(found.regions.number_map, found.label_map)
    is_drawn = _drawn(task, found.size_wh)
    numbers, gone = _known_regions(found.regions, task)
    made: list[Annotation] = []
    overlapping = 0
    for number in numbers[:MAX_SUGGESTIONS]:
        part = _part(number_map, number)
        rest = _without_specks(part.mask & ~part.cut_of(is_drawn), LEAST_SHARE * number_map.size)
        if np.count_nonzero(rest) < LEAST_NEW * np.count_nonzero(part.mask):
            overlapping += 1
        else:
            made.append(_annotation(found.regions.regions[number - 1], replace(part, mask=rest), task))
    return Suggested(tuple(made), overlapping, gone, max(0, len(numbers) - MAX_SUGGESTIONS))


def model_name(run_name: str, epoch: int) -> str:
    """Give the author that a checkpoint's suggestions carry."""
    return f"{run_name[:60]}, epoch {epoch}"


def drawn_of(annotations: Iterable[Annotation]) -> tuple[Annotation, ...]:
    """Leave the suggestions out: what people drew, imported or accepted."""
    return tuple(annotation for annotation in annotations if not annotation.is_suggestion)


def _traced_size(size_wh: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _drawn(task: Task, size_wh: tuple[int, int]) -> Mask:
    """Paint what is drawn already, at the size of the map that is traced."""
    width, height = task.size_wh
    painted = label_map(task.drawn, {a.category_id: 1 for a in task.drawn}, (height, width))
    return np.asarray(cv2.resize(painted, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)) > 0


def _known_regions(found: Regions, task: Task) -> tuple[list[int], tuple[str, ...]]:
    """Give the numbers of the regions of classes that the project still has, and names of the others."""
    numbers: list[int] = []
    gone: dict[str, None] = {}
    for number, region in enumerate(found.regions, start=1):
        category = task.classes[region.class_index - 1]
        if category.category_id in task.known:
            numbers.append(number)
        else:
            gone[category.name] = None
    return numbers, tuple(gone)


@dataclass(frozen=True)
class _Part:
    """A region's mask in a box with one empty pixel around it: the box's corner, and the whole map's size."""

    mask: Mask
    corner_xy: tuple[int, int]
    size_wh: tuple[int, int]

    def cut_of(self, whole: Mask) -> Mask:
        """Cut the box out of a mask of the whole map."""
        (x, y), (height, width) = self.corner_xy, self.mask.shape
        inner = whole[max(0, y) : y + height, max(0, x) : x + width]
        cut = np.zeros((height, width), np.bool_)
        top, left = max(0, -y), max(0, -x)
        cut[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return cut


def _part(number_map: NDArray[np.uint16], number: int) -> _Part:
    lies_there = np.asarray(cv2.inRange(number_map, np.array(number), np.array(number)), np.uint8)
    x, y, width, height = cv2.boundingRect(lies_there)
    mask = np.pad(lies_there[y : y + height, x : x + width] > 0, 1)
    return _Part(mask, (x - 1, y - 1), (number_map.shape[1], number_map.shape[0]))


def _annotation(region: Region, part: _Part, task: Task) -> Annotation:
    category_id = task.classes[region.class_index - 1].category_id
    note = "" if region.score is None else sure_note(region.score)
    ops = tuple(_in_photo(op, part, task.size_wh) for op in mask_to_ops(part.mask, TOLERANCE_PX))
    return Annotation(new_id(), category_id, ops, Source.SUGGESTED, task.author[:80], note)


def sure_note(score: float) -> str:
    """Say how sure a model is of a region, such as "87 % sure"; the canvas takes it away on acceptance."""
    return f"{math.floor(100 * min(max(score, 0.0), 1.0))} % sure"


def _in_photo(op: PolygonOp, part: _Part, size_wh: tuple[int, int]) -> PolygonOp:
    scale_xy = np.divide(size_wh, part.size_wh)
    points = ((np.asarray(op.points_xy) + part.corner_xy) * scale_xy).clip(0, size_wh)
    return PolygonOp(tuple((round(float(x), 2), round(float(y), 2)) for x, y in points), op.is_subtract)


def _without_specks(mask: Mask, least_pixels: float) -> Mask:
    """Drop parts and fill holes of fewer pixels; corners join parts, and sides alone join holes.

    Args:
        mask: the pixels along its border are False.
    """
    is_large, labels = _large_parts(mask, least_pixels, connectivity=8)
    parts = is_large[labels]
    is_large, labels = _large_parts(~parts, least_pixels, connectivity=4)
    is_large[labels[0, 0]] = True  # what lies around it all is no hole
    return np.logical_not(is_large[labels])


def _large_parts(
    mask: Mask, least_pixels: float, *, connectivity: int
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=connectivity)
    is_large = np.asarray(stats[:, cv2.CC_STAT_AREA] >= least_pixels, np.bool_)
    is_large[0] = False  # what is not of the mask
    return is_large, np.asarray(labels, np.int32)


def left_out(suggested: Suggested, categories: Sequence[Category], classes: Sequence[Category]) -> list[str]:
    """Say in sentences what was left out of suggestions, and which classes the model cannot suggest.

    Args:
        categories: the project's. classes: the model's.
    """
    said: list[str] = []
    if suggested.gone:
        names = ", ".join(f"“{name}”" for name in suggested.gone)
        said.append(f"Left out: {names}, which the project has no more.")
    if suggested.overlapping:
        regions = "one region" if suggested.overlapping == 1 else f"{suggested.overlapping} regions"
        said.append(f"Left out: {regions} on what is drawn already.")
    if suggested.beyond:
        said.append(f"Left out: {suggested.beyond} more, smaller than the first {MAX_SUGGESTIONS}.")
    known = {category.category_id for category in classes}
    unknown = [f"“{c.name}”" for c in categories if c.category_id not in known]
    if unknown:
        said.append(f"The champion does not know {', '.join(unknown)}.")
    return said
