"""Random changes of a training image and its labels: one warp and one pass over the colours per image.

Nothing here loads torch, so a page can show what the network will see.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import IGNORED

CROPS_AROUND_DAMAGE = 0.5  # share of crops that are cut around a pixel of damage, where there is any
MIN_BLUR, MAX_BLUR = 0.002, 0.006  # standard deviation, of the side
MIN_JPEG_QUALITY, MAX_JPEG_QUALITY = 30, 90
_GRID_CELLS = 4  # per side
_GRID_SHIFT = 0.04  # of the side, by which a knot of the grid moves at most: a sixth of a cell
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# What the colours of ImageNet's photos vary along, and by how much on the scale 0..1.
# Source: Krizhevsky 2012, section 4.1; the figures as in facebook/fb.resnet.torch.
_LIGHT_DIRECTIONS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_LIGHT_VALUES = np.array([0.2175, 0.0188, 0.0045])
_NO_MAP: Any = None  # cv2.remap takes a second map, or None where the first holds x and y

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class AugmentationSpec:
    """One policy: how it is shown and what it changes at random. Ranges are (least, most)."""

    title: str
    flip: float = 0.0  # chance to be mirrored, left to right
    vertical_flip: float = 0.0  # chance to be mirrored, top to bottom; for views from above only
    quarter_turns: bool = False  # any of four; for views from above only
    rotation: float = 0.0  # degrees at most, either way
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 1.0  # at most, of the width and inversely of the height, or the other way round
    shift: float = 0.0  # of the side, at most
    grid: float = 0.0  # chance to be bent: the knots of a coarse grid move
    contrast: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0  # at most, of 255
    saturation: tuple[float, float] = (1.0, 1.0)  # 0 is grey
    lighting: float = 0.0  # standard deviation along the directions in which photos' colours vary
    blur: float = 0.0  # chance
    jpeg: float = 0.0  # chance to be compressed once more

    @functools.cached_property
    def moves(self) -> bool:
        """Whether pixels change their places."""
        return any(getattr(self, name) != getattr(AUGMENTATIONS["none"], name) for name in _MOVES)

    @functools.cached_property
    def recolours(self) -> bool:
        """Whether light or colour change."""
        return any(getattr(self, name) != getattr(AUGMENTATIONS["none"], name) for name in _COLOURS)


_MOVES = ("flip", "vertical_flip", "quarter_turns", "rotation", "scale", "stretch", "shift", "grid")
_COLOURS = ("contrast", "brightness", "saturation", "lighting")

AUGMENTATIONS: dict[str, AugmentationSpec] = {
    "none": AugmentationSpec("None"),
    "flips": AugmentationSpec("Mirrored only", flip=0.5),
    "standard": AugmentationSpec(
        "Standard: mirrored, turned, scaled, brighter or darker",
        flip=0.5,
        rotation=10,
        scale=(0.75, 1.25),
        shift=0.06,
        contrast=(0.75, 1.25),
        brightness=25.5,
    ),
    "photo": AugmentationSpec(
        "Photo only: light, colour, blur, JPEG; nothing moves",
        contrast=(0.75, 1.25),
        brightness=25.5,
        saturation=(0.5, 1.5),
        lighting=0.5,
        blur=0.2,
        jpeg=0.3,
    ),
    "strong": AugmentationSpec(
        "Strong: standard and photo with wider ranges, stretched and bent",
        flip=0.5,
        rotation=20,
        scale=(0.6, 1.5),
        stretch=1.25,
        shift=0.1,
        grid=0.3,
        contrast=(0.6, 1.4),
        brightness=40,
        saturation=(0.3, 1.7),
        lighting=0.5,
        blur=0.2,
        jpeg=0.3,
    ),
    "overhead": AugmentationSpec(
        "From above: no side is up (roads, ground, roofs, surfaces)",
        flip=0.5,
        vertical_flip=0.5,
        quarter_turns=True,
        rotation=45,
        scale=(0.75, 1.25),
        shift=0.06,
        contrast=(0.75, 1.25),
        brightness=25.5,
        saturation=(0.7, 1.3),
    ),
}
"""The policies there are. Keys are in databases and checkpoints: never rename one."""


@dataclass(frozen=True)
class Sample:
    """One training image.

    image: uint8 (S, S, 3) RGB. labels: uint8 (S, S) class indices, 255 is IGNORED. instances: uint8
    (S, S), 0 where there is no region, else its number; None where the network tells none apart.
    """

    image: Pixels = field(repr=False)
    labels: Pixels = field(repr=False)
    instances: Pixels | None = field(default=None, repr=False)


def is_damage(labels: Pixels) -> NDArray[np.bool_]:
    """Tell which pixels are of a class: neither background nor ignored."""
    return (labels != 0) & (labels != IGNORED)


def mirror_table(mirrored: Sequence[int]) -> Pixels | None:
    """Turn what ``mirrored_classes`` gives into a table of all 256 labels; None where none changes."""
    if list(mirrored) == list(range(len(mirrored))):
        return None
    table = np.arange(256, dtype=np.uint8)
    table[: len(mirrored)] = mirrored
    return table


def shrink(sample: Sample, side: int) -> Sample:
    """Bring a sample to a smaller side: the image by area mean, the rest by nearest neighbour."""
    if side == len(sample.labels):
        return sample

    def resize(pixels: Pixels, filter_: int) -> Pixels:
        return np.asarray(cv2.resize(pixels, (side, side), interpolation=filter_), np.uint8)

    return _each(sample, resize, cv2.INTER_AREA, cv2.INTER_NEAREST_EXACT)


def augment(
    sample: Sample,
    spec: AugmentationSpec,
    rng: np.random.Generator,
    *,
    crop: int = 0,
    mirror: Pixels | None = None,
) -> Sample:
    """Change a sample as the policy says and cut a random square out of it.

    What comes in from outside is the mirrored border. Labels and instances move by nearest neighbour,
    so no new index can appear.

    Args:
        sample: is not changed, but may be given back as it is.
        rng: all randomness.
        crop: side of the square, at most the image's; 0: all of it. Half of the crops of an image with
            damage (CROPS_AROUND_DAMAGE) have a random pixel of it in their middle half, as far as the
            image's border allows and unless that pixel was moved out of the picture.
        mirror: uint8 (256), the class that each class becomes where the picture is mirrored (an odd
            number of flips); None: all stay.
    """
    side = len(sample.labels)
    crop = crop or side
    moved, is_mirrored = sample, False
    if spec.moves or crop < side:
        matrix = _warp_matrix(side, spec, rng) if spec.moves else np.eye(2, 3)
        is_mirrored = bool(matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0])
        if crop < side:
            matrix[:, 2] += matrix[:, :2] @ _crop_corner(sample.labels, matrix, crop, rng)
        is_bent = spec.grid > 0 and rng.random() < spec.grid
        moved = _bent(sample, matrix, crop, rng) if is_bent else _warped(sample, matrix, crop)
    labels = moved.labels
    if is_mirrored and mirror is not None:
        labels = np.asarray(cv2.LUT(labels, mirror), np.uint8)
    return Sample(_developed(moved.image, spec, rng), labels, moved.instances)


def _warp_matrix(side: int, spec: AugmentationSpec, rng: np.random.Generator) -> Matrix:
    """Give the matrix (2, 3) from output pixels to input pixels, both about the image's centre."""
    flip_x = -1.0 if rng.random() < spec.flip else 1.0
    angle = math.radians(rng.uniform(-spec.rotation, spec.rotation))
    zoom = 1 / rng.uniform(*spec.scale)
    shift = rng.uniform(-spec.shift, spec.shift, size=2) * side
    flip_y = -1.0 if spec.vertical_flip and rng.random() < spec.vertical_flip else 1.0
    angle += rng.integers(4) * math.pi / 2 if spec.quarter_turns else 0.0
    wide = math.exp(rng.uniform(-1, 1) * math.log(spec.stretch)) if spec.stretch > 1 else 1.0
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    turn = np.array([[flip_x * cos / wide, -flip_x * sin * wide], [flip_y * sin / wide, flip_y * cos * wide]])
    centre = np.full(2, (side - 1) / 2)
    return np.column_stack([turn, centre + shift - turn @ centre])


def _crop_corner(labels: Pixels, matrix: Matrix, crop: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose the top left pixel (x, y) of a crop in the warped image."""
    side = len(labels)
    corner = rng.integers(0, side - crop + 1, size=2)
    if rng.random() >= CROPS_AROUND_DAMAGE:
        return corner
    damage = np.flatnonzero(is_damage(labels))
    if damage.size == 0:
        return corner
    row, column = divmod(int(rng.choice(damage)), side)
    centre = np.linalg.solve(matrix[:, :2], np.array([column, row]) - matrix[:, 2])
    if not ((centre > -0.5) & (centre < side - 0.5)).all():
        return corner  # it was shifted out of the picture
    within = rng.uniform(0.25, 0.75, size=2) * crop
    return np.rint(centre - within).clip(0, side - crop).astype(np.int64)


def _warped(sample: Sample, matrix: Matrix, side: int) -> Sample:
    def warp(pixels: Pixels, filter_: int, border: int) -> Pixels:
        flags = filter_ | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(pixels, matrix, (side, side), flags=flags, borderMode=border)
        return np.asarray(warped, np.uint8)

    return _moved(sample, warp)


def _bent(sample: Sample, matrix: Matrix, side: int, rng: np.random.Generator) -> Sample:
    """Warp as ``_warped`` does, from places that a smooth random field has moved."""
    knots = rng.uniform(-_GRID_SHIFT, _GRID_SHIFT, (_GRID_CELLS + 1, _GRID_CELLS + 1, 2)) * side
    field_xy = cv2.resize(knots.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    places = cv2.transform(_places(side) + field_xy, matrix)

    def remap(pixels: Pixels, filter_: int, border: int) -> Pixels:
        bent = cv2.remap(pixels, places, _NO_MAP, filter_, borderMode=border)
        return np.asarray(bent, np.uint8)

    return _moved(sample, remap)


def _moved(sample: Sample, move: Callable[[Pixels, int, int], Pixels]) -> Sample:
    """Apply ``move(pixels, filter, border)`` to all of a sample; what comes in from outside is mirrored.

    But for regions: a mirrored part would move its region's centre out of it, so it is part of none.
    """
    instances = sample.instances
    if instances is not None:
        instances = move(instances, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    return Sample(
        move(sample.image, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101),
        move(sample.labels, cv2.INTER_NEAREST, cv2.BORDER_REFLECT_101),
        instances,
    )


def _each(sample: Sample, change: Callable[[Pixels, int], Pixels], smooth: int, nearest: int) -> Sample:
    """Apply ``change(pixels, filter)`` to the image with one filter, to the rest with another."""
    instances = None if sample.instances is None else change(sample.instances, nearest)
    return Sample(change(sample.image, smooth), change(sample.labels, nearest), instances)


@functools.lru_cache(maxsize=8)
def _places(side: int) -> NDArray[np.float32]:
    """Give the place (x, y) of each pixel, (side, side, 2)."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    return np.stack([columns, rows], axis=-1)


def _developed(image: Pixels, spec: AugmentationSpec, rng: np.random.Generator) -> Pixels:
    """Change light and colour, blur, compress: all that leaves pixels where they are."""
    if spec.recolours:
        image = _recoloured(image, spec, rng)
    if spec.blur and rng.random() < spec.blur:
        sigma = rng.uniform(MIN_BLUR, MAX_BLUR) * len(image)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    if spec.jpeg and rng.random() < spec.jpeg:
        image = _compressed(image, int(rng.integers(MIN_JPEG_QUALITY, MAX_JPEG_QUALITY + 1)))
    return image


def _recoloured(image: Pixels, spec: AugmentationSpec, rng: np.random.Generator) -> Pixels:
    gain = rng.uniform(*spec.contrast)
    offset = 127.5 * (1 - gain) + rng.uniform(-spec.brightness, spec.brightness)
    if spec.saturation == (1.0, 1.0) and not spec.lighting:
        table = np.rint(gain * np.arange(256) + offset).clip(0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(image, table), np.uint8)
    saturation = rng.uniform(*spec.saturation)
    light = 255 * _LIGHT_DIRECTIONS @ (rng.normal(0, spec.lighting, 3) * _LIGHT_VALUES)
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    return np.asarray(cv2.transform(image, np.column_stack([gain * mix, offset + light])), np.uint8)


def _compressed(image: Pixels, quality: int) -> Pixels:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "what was just encoded can be decoded"
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
