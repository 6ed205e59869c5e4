"""Assistance on the label canvas: a rough prompt comes in, polygons go out."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import AppError, FormatError, NotFound
from core.domain.images import Image
from core.domain.labels import Annotation, PolygonOp, annotation_to_json
from core.imaging import assist
from core.imaging.assist import Point, Stroke
from core.imaging.reading import decode_rgb
from core.inference import sam
from core.services import links
from core.services.home import Store
from core.storage import images
from core.storage.settings import Settings

Kind = Literal["box", "polygon", "scribble", "wand", "click"]
Pixels = NDArray[np.uint8]

MAX_POINTS = 20_000
MAX_STROKES = 500
MAX_TOLERANCE = 100.0
WAIT_SECONDS = 30.0
KEPT_BYTES = 96_000_000  # of decoded photos: one of 12 megapixels takes 36
KEPT_SECONDS = 300.0

_at_work = threading.Lock()
_photos: OrderedDict[str, tuple[float, Pixels]] = OrderedDict()


class Busy(AppError):
    """Another request is being computed."""


@dataclass(frozen=True)
class Prompt:
    """What the canvas asks: points and strokes are in image pixels.

    ``points_xy`` are a box's two corners, an outline's corners, or the point of the wand.
    """

    kind: Kind
    points_xy: tuple[Point, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    tolerance: float = 12.0

    def __post_init__(self) -> None:
        every = [*self.points_xy, *(point for stroke in self.strokes for point in stroke.points_xy)]
        if len(every) > MAX_POINTS or len(self.strokes) > MAX_STROKES:
            raise FormatError("That is more than one prompt may hold. Drop it and start again.")
        numbers = [value for point in every for value in point] + [s.radius for s in self.strokes]
        if not all(math.isfinite(value) and abs(value) <= 1e6 for value in [*numbers, self.tolerance]):
            raise FormatError("The prompt has a point that is not a number.")
        if not all(stroke.radius > 0 and stroke.points_xy for stroke in self.strokes):
            raise FormatError("A scribble needs a point and a width.")
        if not 0 <= self.tolerance <= MAX_TOLERANCE:
            raise FormatError(f"The wand's tolerance must lie in 0 to {MAX_TOLERANCE:.0f}.")


def kinds() -> tuple[Kind, ...]:
    """List what this installation can do; "click" needs the files of a SAM model."""
    return get_args(Kind) if _sam_files() else tuple(kind for kind in get_args(Kind) if kind != "click")


def link(store: Store, image_id: str) -> str:
    """Give the signed link that answers prompts on an image."""
    return links.sign(store, f"assist/{image_id}")


def answer(store: Store, image_id: str, message: object) -> dict[str, Any]:
    """Turn a prompt into polygons; one prompt at a time is computed in a process.

    Args:
        message: ``{kind, points, strokes, tolerance}`` as ``read_prompt`` takes it.

    Gives:
        ``{ops, seconds}``: polygons in image pixels as an annotation has them, parts and holes in the
        order in which they are drawn; [] where nothing was found.

    Raises:
        FormatError: the prompt cannot be used; the sentence says why.
        NotFound: the image was deleted, or the click tool's files are not there.
        Busy: others were in front for half a minute.
    """
    prompt = read_prompt(message)
    image = images.get(store, image_id)
    prompt = _within(prompt, image.size_wh)
    if not _at_work.acquire(timeout=WAIT_SECONDS):
        raise Busy("The assistance is busy with other photos. Try again in a moment.")
    try:
        began = time.perf_counter()
        ops = _ops(store, image, prompt)
        return {"ops": _to_json(ops), "seconds": round(time.perf_counter() - began, 3)}
    finally:
        _at_work.release()


def read_prompt(message: object) -> Prompt:
    """Read a prompt from outside: ``{kind, points, strokes: [{points, inside, radius}], tolerance}``.

    Raises:
        FormatError: it is not what it should be.
    """
    try:
        if not isinstance(message, Mapping):
            raise TypeError("not an object")
        sent = cast(Mapping[str, Any], message)
        if sent["kind"] not in get_args(Kind):
            raise ValueError(f"no assistance “{sent['kind']}”")
        return Prompt(
            sent["kind"],
            _points(sent.get("points", ())),
            tuple(_stroke(value) for value in sent.get("strokes", ())),
            float(sent.get("tolerance", 12.0)),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise FormatError(f"The prompt cannot be read: {error!r}.") from error


def _points(values: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in values)


def _stroke(value: Mapping[str, Any]) -> Stroke:
    return Stroke(_points(value["points"]), bool(value.get("inside", True)), float(value.get("radius", 2.0)))


def _within(prompt: Prompt, size_wh: tuple[int, int]) -> Prompt:
    """Cut a prompt to the photo; refuse one that says nothing about it."""
    match prompt.kind:
        case "box" | "polygon":
            return _outline_within(prompt, size_wh)
        case "wand":
            if len(prompt.points_xy) != 1 or not _is_on(prompt.points_xy[0], size_wh):
                raise FormatError("Click on the photo: the wand takes the colour under one point of it.")
        case "scribble" | "click":
            on = tuple(s for s in prompt.strokes if any(_is_on(p, size_wh) for p in s.points_xy))
            if not any(stroke.is_inside for stroke in on) and (on or prompt.kind == "scribble"):
                raise FormatError("Mark something that is inside the object first.")
            return Prompt(prompt.kind, (), on, prompt.tolerance)
    return prompt


def _outline_within(prompt: Prompt, size_wh: tuple[int, int]) -> Prompt:
    least = 2 if prompt.kind == "box" else 3
    if len(prompt.points_xy) < least or (prompt.kind == "box" and len(prompt.points_xy) != least):
        raise FormatError("A box has two corners, an outline three or more.")
    width, height = size_wh
    left, top, right, bottom = assist.box_around(prompt.points_xy)
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise FormatError("The box lies outside the photo.")
    points = tuple((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in prompt.points_xy)
    left, top, right, bottom = assist.box_around(points)
    if min(right - left, bottom - top) < assist.LEAST_SIDE_PX:
        raise FormatError("The box is too small to look into. Draw so small an object by hand.")
    if prompt.kind == "box":
        points = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Prompt(prompt.kind, points, prompt.strokes, prompt.tolerance)


def _is_on(point: Point, size_wh: tuple[int, int]) -> bool:
    return 0 <= point[0] <= size_wh[0] and 0 <= point[1] <= size_wh[1]


def _ops(store: Store, image: Image, prompt: Prompt) -> tuple[PolygonOp, ...]:
    match prompt.kind:
        case "box" | "polygon":
            region = _region(store, image, _wide(image, assist.box_around(prompt.points_xy)))
            mask = assist.segment_outline(region, prompt.points_xy, prompt.strokes)
        case "scribble":
            drawn = [point for stroke in prompt.strokes for point in stroke.points_xy]
            region = _region(store, image, assist.around_scribbles(drawn, image.size_wh))
            mask = assist.segment_strokes(region, prompt.strokes)
        case "wand":
            return _wand(store, image, prompt)
        case "click":
            return _clicked(store, image, prompt)
    return assist.ops_of(assist.tidied(mask), region.corner_xy, region.size_wh)


def _wand(store: Store, image: Image, prompt: Prompt) -> tuple[PolygonOp, ...]:
    """Flood the whole photo coarsely, then what that found with a margin."""
    (at,) = prompt.points_xy
    region = _region(store, image, (0, 0, *image.size_wh))
    mask = assist.segment_similar(region, at, prompt.tolerance)
    if region.size_wh != (region.rgb.shape[1], region.rgb.shape[0]):
        region = _region(store, image, _wide(image, assist.box_of(region, mask)))
        mask = assist.segment_similar(region, at, prompt.tolerance)
    return assist.ops_of(assist.tidied(mask), region.corner_xy, region.size_wh)


def _clicked(store: Store, image: Image, prompt: Prompt) -> tuple[PolygonOp, ...]:
    """Ask SAM; with no click yet, only look at the photo, so that the first click is quick."""
    files = _sam_files()
    if files is None:
        raise NotFound("The click tool needs MASKWRIGHT_SAM_ENCODER and MASKWRIGHT_SAM_DECODER.")
    model = sam.open_sam(*files)
    clicks = [(stroke.points_xy[0], stroke.is_inside) for stroke in prompt.strokes]
    short_side = min(sam.reduced_wh(image.size_wh, model.side))
    mask = sam.segment_clicks(
        model, image.sha256, lambda: _photo(store, image, short_side), image.size_wh, clicks
    )
    if not clicks:
        return ()
    return assist.ops_of(assist.tidied(mask), (0, 0), image.size_wh)


def _sam_files() -> tuple[Path, Path] | None:
    settings = Settings()
    paths = Path(settings.sam_encoder), Path(settings.sam_decoder)
    return paths if all(path.is_file() for path in paths) else None


def _wide(image: Image, box: assist.Box) -> tuple[int, int, int, int]:
    return assist.with_margin(box, image.size_wh)


def _region(store: Store, image: Image, box: tuple[int, int, int, int]) -> assist.Region:
    short_side = math.ceil(min(image.size_wh) * assist.region_scale(box))
    return assist.cut(_photo(store, image, short_side), image.size_wh, box)


def _photo(store: Store, image: Image, short_side: int) -> Pixels:
    """Give a photo with at least this short side; the ones used last stay for a while."""
    now = time.monotonic()
    for sha256 in [key for key, (used, _) in _photos.items() if now - used > KEPT_SECONDS]:
        del _photos[sha256]
    known = _photos.pop(image.sha256, None)
    if known is None or min(known[1].shape[:2]) < min(short_side, *image.size_wh):
        key, _ = images.rendition(store, image.id, "full")
        known = now, decode_rgb(store.blobs.get(key), at_least=max(short_side, 1))
    _photos[image.sha256] = now, known[1]
    while sum(pixels.nbytes for _, pixels in _photos.values()) > KEPT_BYTES and _photos:
        _photos.popitem(last=False)
    return known[1]


def _to_json(ops: tuple[PolygonOp, ...]) -> list[dict[str, Any]]:
    if not ops:
        return []
    short = tuple(PolygonOp(_rounded(op.points_xy), op.is_subtract) for op in ops)
    return annotation_to_json(Annotation("", 1, short))["ops"]


def _rounded(points_xy: Sequence[Point]) -> tuple[Point, ...]:
    return tuple((round(x, 2), round(y, 2)) for x, y in points_xy)
