"""The damage of the sample photos: scratches, dents and lost paint, as strokes and as pictures.

Pictures are float32 RGB (H, W, 3) in 0..1. Lengths are multiples of a unit, 1 px at 480 px of height.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import BrushOp, Op
from core.imaging.masks import mask_to_ops, rasterise

Field = NDArray[np.float32]

SCRATCH, DENT, PAINT_LOSS = "scratch", "dent", "paint loss"


@dataclass(frozen=True)
class Damage:
    """One region: its category's name, and the strokes that cover it."""

    category: str
    ops: tuple[Op, ...]


@dataclass(frozen=True)
class Spot:
    """Room for one damage: the centre, and how far it may reach."""

    center_xy: tuple[float, float]
    radius: float


def smooth_noise(rng: np.random.Generator, size_hw: tuple[int, int], cells: float) -> Field:
    """Random values of about -1..1 that change smoothly, ``cells`` times over the width."""
    columns = max(2, round(cells))
    rows = max(2, round(cells * size_hw[0] / size_hw[1]))
    coarse = rng.normal(0, 0.5, (rows + 1, columns + 1)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def dent(rng: np.random.Generator, spot: Spot, size_hw: tuple[int, int]) -> tuple[Damage, Field]:
    """Press in an elliptical dent.

    Returns:
        The region, and the depth (H, W) that the surface loses there, in pixels.
    """
    length = spot.radius * rng.uniform(0.85, 1.0)
    breadth = length * rng.uniform(0.55, 0.9)
    turn = rng.uniform(-0.6, 0.6)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    dx, dy = x - spot.center_xy[0], y - spot.center_xy[1]
    along = (dx * np.cos(turn) + dy * np.sin(turn)) / length
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / breadth
    wobble = 1 + 0.12 * smooth_noise(rng, size_hw, 6)
    distance = np.sqrt(along**2 + across**2) * wobble
    depth = np.clip(1 - distance**2, 0, None) ** 1.9 * breadth * rng.uniform(0.38, 0.5)
    ops = mask_to_ops(distance < 0.9, tolerance_px=1.0)
    return Damage(DENT, ops), depth.astype(np.float32)


def scratch(rng: np.random.Generator, spot: Spot, unit: float) -> Damage:
    """Draw one to five nearly parallel curved lines."""
    count = int(rng.integers(3, 7))
    angle = rng.normal(0, 0.35)
    forward = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-forward[1], forward[0]])
    bend = rng.uniform(-0.22, 0.22) * spot.radius
    gap = rng.uniform(8, 13) * unit
    ops: list[Op] = []
    for line in range(count):
        reach = spot.radius * np.array([rng.uniform(-1.0, -0.4), rng.uniform(0.4, 1.0)])
        t = np.linspace(reach[0], reach[1], 24)
        offset = (line - (count - 1) / 2) * gap + bend * (1 - (t / spot.radius) ** 2)
        offset = offset + np.cumsum(rng.normal(0, 0.12 * unit, t.size))
        points = np.array(spot.center_xy) + t[:, None] * forward + offset[:, None] * side
        radius = float(rng.uniform(2.2, 4.0) * unit)
        ops.append(
            BrushOp(tuple((round(float(x), 1), round(float(y), 1)) for x, y in points), round(radius, 1))
        )
    return Damage(SCRATCH, tuple(ops))


def paint_loss(rng: np.random.Generator, spot: Spot, size_hw: tuple[int, int], unit: float) -> Damage:
    """Chip off an irregular patch, with a few flakes beside it."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    dx, dy = (x - spot.center_xy[0]) / spot.radius, (y - spot.center_xy[1]) / spot.radius
    dy = dy * rng.uniform(1.15, 1.7)
    ragged = 0.30 * smooth_noise(rng, size_hw, 14) + 0.16 * smooth_noise(rng, size_hw, 40)
    mask = np.hypot(dx, dy) + ragged + 0.07 * smooth_noise(rng, size_hw, 110) < 0.8
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    large = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 90 * unit**2]
    return Damage(PAINT_LOSS, mask_to_ops(np.isin(parts, large), tolerance_px=0.8))


def paint_scratch(rng: np.random.Generator, rgb: Field, damage: Damage, unit: float) -> Field:
    """Draw a scratch's lines: clear coat broken open, with a fine dark groove along the middle."""
    size_hw = rgb.shape[:2]
    is_dark = float(rgb[rasterise(damage.ops, size_hw)].mean()) < 0.48
    tone = np.array([0.76, 0.75, 0.73] if is_dark else [0.34, 0.33, 0.32], np.float32)
    tone = tone * np.float32(rng.uniform(0.9, 1.1))
    haze = np.zeros(size_hw, np.float32)
    for op in damage.ops:
        assert isinstance(op, BrushOp)
        haze = np.maximum(haze, _line(op, 5 * unit, size_hw))
        wear = np.clip(0.78 + 0.5 * smooth_noise(rng, size_hw, 45), 0.3, 1)
        rgb = over(rgb, tone * 0.25, 0.4 * _line(op, op.radius * 0.9, size_hw, dy=-unit))
        rgb = over(rgb, tone, wear * _line(op, op.radius * 0.8, size_hw))
        rgb = over(rgb, tone * 0.55, 0.6 * wear * _line(op, max(0.5, op.radius * 0.25), size_hw))
    return over(rgb, tone, 0.13 * _blurred(haze, 5 * unit))


def paint_paint_loss(rng: np.random.Generator, rgb: Field, damage: Damage, unit: float) -> Field:
    """Show what lies under the paint: a rim of primer around bare metal that has begun to rust."""
    size_hw = rgb.shape[:2]
    mask = rasterise(damage.ops, size_hw)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    alpha = _blurred(mask, 0.7)
    grain = smooth_noise(rng, size_hw, 150) * 0.05 + smooth_noise(rng, size_hw, 30) * 0.07
    brightness = np.float32(rng.uniform(0.50, 0.66))
    primer = np.array([1.0, 0.985, 0.94], np.float32) * (brightness + 0.6 * grain)[..., None]
    metal = np.array([0.62, 0.63, 0.65], np.float32) * (0.85 + 1.6 * grain)[..., None]
    rust = np.array([0.40, 0.22, 0.12], np.float32) * (0.95 + 4.5 * grain)[..., None]
    rusty = _step(
        smooth_noise(rng, size_hw, 40) + smooth_noise(rng, size_hw, 14) + rng.uniform(-0.2, 0.5), -0.3, 0.6
    )[..., None]
    bare = _step(inside + 9 * unit * smooth_noise(rng, size_hw, 26), 7 * unit, 11 * unit)[..., None]
    ground = primer + (metal + (rust - metal) * rusty - primer) * bare
    shade = cv2.warpAffine(alpha, np.array([[1, 0, 1.5 * unit], [0, 1, 2.0 * unit]]), size_hw[::-1])
    ground = ground * (0.62 + 0.38 * shade[..., None])  # the paint's edge casts a shadow from above
    lip = np.clip(_blurred(alpha, 1.6 * unit) * 2, 0, 1)
    rgb = over(rgb, np.array([0.93, 0.93, 0.92], np.float32), 0.45 * lip * (1 - alpha) * shade)
    return over(rgb, ground.astype(np.float32), alpha)


def _line(op: BrushOp, radius: float, size_hw: tuple[int, int], dy: float = 0.0) -> Field:
    """Coverage 0..1 of a smooth line that tapers towards its ends."""
    cover = np.zeros(size_hw, np.uint8)
    points = np.rint((np.array(op.points_xy) - 0.5 + (0, dy)) * 16).astype(np.int32)
    for part in range(len(points) - 1):
        ends = min(part + 1, len(points) - 1 - part) / 3
        width = max(1, round(2 * radius * min(1.0, 0.45 + 0.55 * ends)))
        cv2.polylines(cover, [points[part : part + 2]], False, 255, width, cv2.LINE_AA, 4)
    return _blurred(cover.astype(np.float32) / 255, 0.6)


def _blurred(values: NDArray[np.generic], sigma: float) -> Field:
    return np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma), np.float32)


def over(rgb: Field, color: Field, alpha: NDArray[np.floating]) -> Field:
    """Lay a colour, (3,) or (H, W, 3), over a picture as far as alpha (H, W) says."""
    weight = alpha.astype(np.float32)[..., None]
    return (rgb + (color - rgb) * weight).astype(np.float32)


def _step(values: NDArray[np.floating], low: float, high: float) -> Field:
    t = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return (t * t * (3 - 2 * t)).astype(np.float32)
