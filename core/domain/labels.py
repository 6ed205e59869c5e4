"""Categories and annotations: what a person draws on an image, and its JSON form.

Coordinates are image pixels with the origin at the top left pixel's corner; x grows to the right,
y downwards. The JSON form is what the database, the label canvas and the HTTP API exchange.
"""

import colorsys
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, Literal

from core.domain.errors import FormatError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

IGNORED = 255
"""In a label map: what is there counts nowhere, neither learnt nor measured."""

MAX_OPS = 10_000
MAX_POINTS = 100_000
MAX_NOTE = 1000

# Okabe & Ito's colour-blind-safe set without black and grey, then lighter and darker steps of it.
# Source: https://jfly.uni-koeln.de/color/
PALETTE: tuple[str, ...] = (
    "#E69F00",
    "#56B4E9",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#F0E442",
    "#0072B2",
    "#B2DF8A",
    "#8C564B",
    "#BCBDDC",
    "#17BECF",
    "#FB9A99",
    "#6A3D9A",
    "#C7E9B4",
    "#A6761D",
    "#FDBF6F",
    "#3B528B",
    "#E7298A",
    "#7FC97F",
    "#9ECAE1",
)


def unused_color(category_id: int, taken: Collection[str]) -> str:
    """Give a colour that no other category has: the palette's own for this id if it is free.

    Past the palette, hues a golden angle apart: each lies far from the ones before it.
    """
    first = (category_id - 1) % len(PALETTE)
    upper = {color.upper() for color in taken}
    hues = (number * 0.618034 % 1 for number in range(1, 10_000))
    others = (_hex(hue) for hue in hues)
    return next(c for c in chain(PALETTE[first:], PALETTE[:first], others) if c.upper() not in upper)


class ImageState(StrEnum):
    """How far the labelling of one image has come. ``done`` with no annotation means "no damage"."""

    UNLABELLED = "unlabelled"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    APPROVED = "approved"  # done, and somebody looked it over
    REJECTED = "rejected"  # looked over and sent back, with a note


FINISHED = frozenset({ImageState.DONE, ImageState.APPROVED})
"""The states whose labels count: in exports, trainings and measurements."""


class Source(StrEnum):
    """Where an annotation came from."""

    DRAWN = "drawn"
    IMPORTED = "imported"
    SKETCHED = "sketched"  # marked on a prediction; waits in the labelling queue
    SUGGESTED = "suggested"  # a model's guess that nobody has accepted yet: no label, see is_suggestion


@dataclass(frozen=True)
class Category:
    """One kind of thing to find, with a stable id; 0 is never used, it means background."""

    category_id: int
    name: str
    color: str

    def __post_init__(self) -> None:
        if self.category_id < 1:
            raise FormatError(f"A category's id must be 1 or more, not {self.category_id}.")
        if not self.name.strip() or len(self.name) > 80:
            raise FormatError("A category needs a name of 1 to 80 characters.")
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.color):
            raise FormatError(f"A category's colour is written like #E69F00, not {self.color!r}.")


@dataclass(frozen=True)
class PolygonOp:
    """Fill a polygon, or take it away. Its pixels are those pycocotools gives for it."""

    points_xy: tuple[tuple[float, float], ...]
    is_subtract: bool = False

    def __post_init__(self) -> None:
        _check_points(self.points_xy, at_least=3)


@dataclass(frozen=True)
class BrushOp:
    """Paint along a line with round ends, or erase along it. One point is a disc."""

    points_xy: tuple[tuple[float, float], ...]
    radius: float
    is_subtract: bool = False

    def __post_init__(self) -> None:
        _check_points(self.points_xy, at_least=1)
        if not (math.isfinite(self.radius) and 0 < self.radius <= 10_000):
            raise FormatError(f"A brush's radius must lie in (0, 10000], not {self.radius}.")


@dataclass(frozen=True)
class RleOp:
    """Add or take away a whole mask: COCO's compressed run-length counts for (H, W)."""

    size_hw: tuple[int, int]
    counts: str
    is_subtract: bool = False


Op = PolygonOp | BrushOp | RleOp


@dataclass(frozen=True)
class Annotation:
    """One labelled region of one image: its ops, replayed in order, give its mask."""

    id: str
    category_id: int
    ops: tuple[Op, ...]
    source: Source = Source.DRAWN
    author: str = ""
    note: str = ""

    @property
    def is_suggestion(self) -> bool:
        """Whether it waits to be accepted or rejected; until then it counts nowhere."""
        return self.source is Source.SUGGESTED

    def __post_init__(self) -> None:
        if len(self.note) > MAX_NOTE:
            raise FormatError(f"A note may have {MAX_NOTE} characters, not {len(self.note)}.")
        if not 1 <= len(self.ops) <= MAX_OPS:
            raise FormatError(f"An annotation needs 1 to {MAX_OPS} strokes, not {len(self.ops)}.")


@dataclass(frozen=True)
class AnnotationSet:
    """All annotations of one image as saved at one revision, in painting order (last is on top)."""

    image_id: str
    rev: int
    annotations: tuple[Annotation, ...]
    author: str = ""
    saved_at: str = ""
    note: str = ""  # about the image; why it was rejected, for instance


def annotation_to_json(annotation: Annotation) -> dict[str, Any]:
    """Give the JSON form: ``{id, category_id, ops: [...], source, author, note}``."""
    return {
        "id": annotation.id,
        "category_id": annotation.category_id,
        "ops": [_op_to_json(op) for op in annotation.ops],
        "source": annotation.source.value,
        "author": annotation.author,
        "note": annotation.note,
    }


def annotation_from_json(value: object) -> Annotation:
    """Read one annotation from outside.

    Raises:
        FormatError: a key is missing, of a wrong type, or out of its range.
    """
    try:
        if not isinstance(value, Mapping):
            raise TypeError("not an object")
        return Annotation(
            id=str(value["id"])[:64],
            category_id=int(value["category_id"]),
            ops=tuple(_op_from_json(op) for op in value["ops"]),
            source=Source(value.get("source", "drawn")),
            author=str(value.get("author", ""))[:80],
            note=str(value.get("note", "")),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise FormatError(f"An annotation cannot be read: {error!r}.") from error


def _hex(hue: float) -> str:
    return "#" + "".join(f"{round(part * 255):02X}" for part in colorsys.hsv_to_rgb(hue, 0.75, 0.85))


def _op_to_json(op: Op) -> dict[str, Any]:
    if isinstance(op, RleOp):
        return {"kind": "rle", "size": list(op.size_hw), "counts": op.counts, "subtract": op.is_subtract}
    points = [[x, y] for x, y in op.points_xy]
    if isinstance(op, BrushOp):
        return {"kind": "brush", "points": points, "radius": op.radius, "subtract": op.is_subtract}
    return {"kind": "polygon", "points": points, "subtract": op.is_subtract}


def _op_from_json(value: Mapping[str, Any]) -> Op:
    is_subtract = bool(value.get("subtract", False))
    match value["kind"]:
        case "polygon":
            return PolygonOp(_points(value["points"]), is_subtract)
        case "brush":
            return BrushOp(_points(value["points"]), float(value["radius"]), is_subtract)
        case "rle":
            height, width = (int(side) for side in value["size"])
            return RleOp((height, width), str(value["counts"]), is_subtract)
        case kind:
            raise FormatError(f"An annotation has an unknown stroke “{kind}”.")


def _points(value: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in value)


def _check_points(points_xy: tuple[tuple[float, float], ...], *, at_least: int) -> None:
    if not at_least <= len(points_xy) <= MAX_POINTS:
        raise FormatError(f"A stroke needs {at_least} to {MAX_POINTS} points, not {len(points_xy)}.")
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in points_xy):
        raise FormatError("A stroke has a point that is not a number.")
