"""The sample project: drawn photos of painted car panels, with their damage labelled.

Nothing is copied from a real photo. A panel is a tilted, curved surface that mirrors a sky, a skyline
and the ground; creases and dents change its tilt, so that reflections bend as they do on real paint.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import Op
from core.imaging import sample_damage
from core.imaging.sample_damage import Damage, Field, Spot, over, smooth_noise

CATEGORIES = (sample_damage.SCRATCH, sample_damage.DENT, sample_damage.PAINT_LOSS)
CLEAN_EVERY = 10

_Part = tuple[Field, Field]  # something over the paint: cover (H, W) 0..1, colour (H, W, 3)

PAINTS = (
    (0.86, 0.86, 0.84),  # white
    (0.63, 0.65, 0.67),  # silver
    (0.27, 0.29, 0.32),  # graphite
    (0.07, 0.07, 0.08),  # black
    (0.56, 0.07, 0.09),  # red
    (0.10, 0.23, 0.48),  # blue
    (0.09, 0.27, 0.21),  # green
    (0.71, 0.63, 0.51),  # sand
    (0.75, 0.34, 0.10),  # orange
    (0.30, 0.45, 0.55),  # steel blue
)


@dataclass(frozen=True)
class SamplePanel:
    """One drawn photo, uint8 (H, W, 3), and its regions: (category's name, ops), in painting order."""

    rgb: NDArray[np.uint8] = field(repr=False)
    regions: tuple[tuple[str, tuple[Op, ...]], ...]


@dataclass(frozen=True)
class _Body:
    """The undamaged panel: upward tilt (H, W), paint colour, and the parts that lie over the paint."""

    tilt: Field
    paint: Field
    parts: tuple[_Part, ...]
    is_paint: NDArray[np.bool_]


def draw_panel(index: int, seed: int, size_wh: tuple[int, int] = (640, 480)) -> SamplePanel:
    """Draw one panel; the same arguments always give the same one.

    Args:
        index: which of the series, 0 and up. One in ten has no damage.
        seed: which series.
        size_wh: width and height in pixels, 128 or more each.
    """
    rng = np.random.default_rng([seed, index])
    size_hw, unit = (size_wh[1], size_wh[0]), min(size_wh[1], size_wh[0] * 0.75) / 480
    body = _body(rng, size_hw, PAINTS[(index * 3 + seed) % len(PAINTS)], unit)
    damages, depth = _damage(rng, index, body, unit)
    rgb = _lit(rng, body, depth, unit)
    for cover, color in body.parts:
        rgb = over(rgb, color, cover)
    for damage in damages:
        if damage.category == sample_damage.SCRATCH:
            rgb = sample_damage.paint_scratch(rng, rgb, damage, unit)
        elif damage.category == sample_damage.PAINT_LOSS:
            rgb = sample_damage.paint_paint_loss(rng, rgb, damage, unit)
    return SamplePanel(_photographed(rng, rgb), tuple((d.category, d.ops) for d in damages))


def _damage(rng: np.random.Generator, index: int, body: _Body, unit: float) -> tuple[list[Damage], Field]:
    size_hw = body.tilt.shape
    depth = np.zeros(size_hw, np.float32)
    if index % CLEAN_EVERY == CLEAN_EVERY - 3:
        return [], depth
    names = [CATEGORIES[index % 3], *rng.permutation(CATEGORIES)]
    damages: list[Damage] = []
    free = body.is_paint.copy()
    for name in names[: rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.3, 0.1])]:
        spot = _spot(rng, free, rng.uniform(68, 100) * unit * (1.3 if name == sample_damage.SCRATCH else 1))
        if spot is None:
            continue
        center = round(spot.center_xy[0]), round(spot.center_xy[1])
        taken = cv2.circle(np.zeros(size_hw, np.uint8), center, round(spot.radius * 0.95), 1, -1)
        free &= taken == 0
        if name == sample_damage.DENT:
            damage, pressed = sample_damage.dent(rng, spot, size_hw)
            depth += pressed
        elif name == sample_damage.SCRATCH:
            damage = sample_damage.scratch(rng, spot, unit)
        else:
            damage = sample_damage.paint_loss(rng, spot, size_hw, unit)
        damages.append(damage)
    return damages, depth


def _spot(rng: np.random.Generator, free: NDArray[np.bool_], radius: float) -> Spot | None:
    """Choose a place on free paint; a smaller one where there is little room."""
    padded = np.pad(free.astype(np.uint8), 1)
    room = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    radius = min(radius, float(room.max()) * 0.98)
    if radius < 0.08 * free.shape[0]:
        return None
    rows, columns = np.nonzero(room >= radius)
    choice = int(rng.integers(rows.size))
    return Spot((float(columns[choice]), float(rows[choice])), radius)


def _lit(rng: np.random.Generator, body: _Body, depth: Field, unit: float) -> Field:
    """Light the paint: diffuse light from above, and the surroundings mirrored in the clear coat."""
    height, width = body.tilt.shape
    down, across = np.gradient(cv2.GaussianBlur(depth, (0, 0), 2 * unit))
    tilt = body.tilt - 0.9 * down  # a dent's upper half faces the ground, its lower half the sky
    glow = smooth_noise(rng, (height, width), 2.2)
    turn = np.linspace(-1, 1, width, dtype=np.float32) * rng.uniform(-0.35, 0.35)
    diffuse = np.clip(0.72 + 0.5 * tilt + 0.38 * across + 0.10 * glow + 0.2 * turn, 0.12, 1.25)
    mirrored = _surroundings(rng, tilt + 0.05 * glow, across)
    luminance = float(body.paint.mean())
    gloss = 0.36 - 0.18 * luminance
    return (body.paint * diffuse[..., None] * (1 - 0.5 * gloss) + mirrored * gloss).astype(np.float32)


def _surroundings(rng: np.random.Generator, tilt: Field, across: Field) -> Field:
    """Colour seen in the direction a surface mirrors: sky above the skyline, dark below it, ground."""
    width = tilt.shape[1]
    skyline = np.cumsum(rng.normal(0, 0.022, width // 8))
    skyline = skyline - np.linspace(skyline[0], skyline[-1], skyline.size)
    blocks = np.repeat(rng.uniform(-0.05, 0.07, 14), skyline.size // 14 + 1)[: skyline.size]
    line = cv2.resize((skyline * 0.5 + blocks).astype(np.float32)[None], (width, 1))
    line = cv2.GaussianBlur(line, (0, 0), width / 60)
    columns = np.arange(width, dtype=np.float32)[None] + across * 0.35 * width
    shifted = np.interp(columns, np.arange(width), line[0])
    up = (tilt - shifted).astype(np.float32)
    is_sky = 1 / (1 + np.exp(-up / 0.028))
    sky = np.clip(1.05 - 0.45 * up, 0.5, 1.05)[..., None] * np.array([0.90, 0.96, 1.04], np.float32)
    ground = np.clip(0.12 - 0.42 * up, 0.10, 0.42)[..., None] * np.array([1.0, 0.97, 0.92], np.float32)
    return (ground + (sky - ground) * is_sky[..., None]).astype(np.float32)


def _body(
    rng: np.random.Generator, size_hw: tuple[int, int], color: tuple[float, float, float], unit: float
) -> _Body:
    """Shape a panel: a door or a wing, a window above, the road below."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32)
    paint = np.clip(np.array(color) * rng.normal(1, 0.03, 3), 0.04, 0.92).astype(np.float32)
    slant = rng.uniform(-0.05, 0.05)
    level = (y + slant * (x - width / 2)) / height  # 0 at the top, 1 at the bottom, along the body
    tilt = 0.50 - 1.0 * level + 0.05 * np.sin(x / width * 3 + rng.uniform(0, 6))
    waist, sill = rng.uniform(0.07, 0.17), rng.uniform(0.90, 1.0)
    for at, strength in ((rng.uniform(0.28, 0.42), 0.34), (rng.uniform(0.66, 0.80), -0.22)):
        tilt += _crease(level, at, strength * rng.uniform(0.6, 1.2))
    parts = [_window(rng, level, waist), _trim(level, waist, unit), _road(rng, level, sill)]
    is_left = bool(rng.random() < 0.5)
    if rng.random() < 0.45:
        parts += _wheel(rng, size_hw, paint, is_left=is_left, unit=unit)
        parts += _gap(size_hw, level, (waist, sill), 0.66 if is_left else 0.34, rng, unit)
    else:
        at = rng.uniform(0.12, 0.22) if is_left else rng.uniform(0.78, 0.88)
        parts += _gap(size_hw, level, (waist, sill), at, rng, unit)
        parts += _handle(size_hw, paint, at + (0.13 if is_left else -0.13), waist + 0.13, unit)
    covered = np.max([cover for cover, _ in parts], axis=0)
    kernel = np.ones((5, 5), np.uint8)
    is_paint = cv2.erode((covered < 0.02).astype(np.uint8), kernel).astype(bool)
    return _Body(tilt.astype(np.float32), paint, tuple(parts), is_paint)


def _crease(level: Field, at: float, strength: float) -> Field:
    """A pressed line: the tilt swings up just above it and down just below, fading out on both sides."""
    away = level - at
    return (-strength * np.tanh(away / 0.012) * np.exp(-np.abs(away) / 0.10)).astype(np.float32)


def _window(rng: np.random.Generator, level: Field, waist: float) -> _Part:
    """A strip of side window: dark glass that mirrors trees and a bright sky, out of focus."""
    height = level.shape[0]
    up = np.clip((waist - level) / waist, 0, 1)
    trees = smooth_noise(rng, level.shape, 9) + 0.6 * smooth_noise(rng, level.shape, 22)
    is_sky = 1 / (1 + np.exp(-(up - 0.45 + 0.5 * trees) / 0.12))
    glass = 0.09 + 0.05 * up + (0.20 + 0.2 * float(rng.random())) * is_sky
    return _soft(waist - level, 1.2 / height), _tinted(glass, (0.88, 0.98, 1.06))


def _trim(level: Field, waist: float, unit: float) -> _Part:
    """The rubber strip and the bright moulding under the window."""
    away = (level - waist) * level.shape[0] / unit
    bright = np.clip(away - 0.5, 0, 1) * np.clip(1.0 - 0.14 * (away - 1.5), 0, 1)
    return _soft(5.5 * unit - np.abs(away) * unit, 1.5), _tinted(0.05 + 0.62 * bright, (1, 1, 1))


def _road(rng: np.random.Generator, level: Field, sill: float) -> _Part:
    """Below the sill: its shadow, then asphalt."""
    below = np.clip((level - sill) / 0.06, 0, 1)
    grain = smooth_noise(rng, level.shape, 200) * 0.05
    color = 0.06 + (0.30 + grain) * below**1.5
    return _soft(level - sill, 1.2 / level.shape[0]), _tinted(color, (1, 0.99, 0.97))


def _gap(
    size_hw: tuple[int, int],
    level: Field,
    span: tuple[float, float],
    at: float,
    rng: np.random.Generator,
    unit: float,
) -> list[_Part]:
    """The seam between two panels: a dark line with a bright edge beside it."""
    height, width = size_hw
    x = np.arange(width, dtype=np.float32)[None]
    middle = (span[0] + span[1]) / 2
    bow = rng.uniform(-0.06, 0.06) * (level - middle) ** 2 + rng.uniform(-0.03, 0.03) * (level - middle)
    away = (x - (at + bow) * width) / unit
    is_body = ((level > span[0]) & (level < span[1])).astype(np.float32)
    dark = (np.clip(2.6 - np.abs(away), 0, 1) * is_body).astype(np.float32)
    bright = (0.4 * np.clip(2.0 - np.abs(away - 4), 0, 1) * is_body).astype(np.float32)
    shape = (height, width, 3)
    return [(bright, np.full(shape, 0.85, np.float32)), (dark, np.full(shape, 0.03, np.float32))]


def _handle(size_hw: tuple[int, int], paint: Field, at: float, level: float, unit: float) -> list[_Part]:
    """A door handle over its recess, lit from above."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = (x - at * width) / unit, (y - level * height) / unit
    recess = (0.75 * np.exp(-(np.hypot(dx / 34, (dy - 3) / 17) ** 4))).astype(np.float32)
    bar = np.hypot(np.maximum(np.abs(dx) - 33, 0), dy)
    cover = np.clip(9.5 - bar, 0, 1).astype(np.float32)
    shade = np.clip(0.85 - dy * 0.055, 0.25, 1.4)[..., None]
    glint = (0.5 * np.exp(-(((dy + 4) / 2.0) ** 2)))[..., None]
    shadow = np.clip(1 - np.hypot(np.maximum(np.abs(dx) - 33, 0), dy - 7) / 13, 0, 1).astype(np.float32)
    return [
        (recess, (paint * (0.42 + 0.02 * np.clip(dy, -8, 20))[..., None]).astype(np.float32)),
        (0.7 * shadow, np.zeros((height, width, 3), np.float32)),
        (cover, (paint * shade + glint).astype(np.float32)),
    ]


def _wheel(
    rng: np.random.Generator, size_hw: tuple[int, int], paint: Field, *, is_left: bool, unit: float
) -> list[_Part]:
    """A wheel in its arch at the lower corner."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32)
    center = (rng.uniform(0.10, 0.2) if is_left else rng.uniform(0.8, 0.9)) * width, 1.02 * height
    dx, dy = (x - center[0]) / unit, (y - center[1]) / unit
    away, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    arch, tyre, rim = 200.0, 176.0, 124.0
    spokes = np.cos(angle * 5 + rng.uniform(0, 6)) - 0.25 + 18 / np.maximum(away, 18)
    silver = 0.66 - 0.22 * away / rim + 0.12 * np.sin(angle * 2 + 1)
    metal = 0.06 + (silver - 0.06) * (1 / (1 + np.exp(-spokes * 14)))
    metal = np.where(away > rim - 10, silver + 0.12, metal) - 0.3 * np.exp(-(((away - 24) / 3) ** 2))
    rubber = 0.085 + 0.05 * np.exp(-(((away - 160) / 9) ** 2)) - 0.03 * np.sin(away * 0.9)
    color = rubber + (metal - rubber) * np.clip(rim - away, 0, 1)
    color = np.where(away > tyre, 0.025, color) * np.clip(1.0 + dy / 500, 0.45, 1)
    lip = (0.8 * np.clip(5.0 - np.abs(away - arch - 4), 0, 1)).astype(np.float32)
    lip_color = paint * (0.75 - dy / 400)[..., None] + 0.12
    disc = np.clip(arch - away, 0, 1).astype(np.float32)
    return [
        (lip, np.clip(lip_color, 0, 1).astype(np.float32)),
        (disc, np.repeat(color.astype(np.float32)[..., None], 3, axis=2)),
    ]


def _tinted(grey: NDArray[np.floating], tint: tuple[float, float, float]) -> Field:
    return (grey[..., None] * np.array(tint)).astype(np.float32)


def _soft(signed: Field, width: float) -> Field:
    return np.clip(0.5 + signed / width, 0, 1).astype(np.float32)


def _photographed(rng: np.random.Generator, rgb: Field) -> NDArray[np.uint8]:
    """What the camera adds: vignette, white balance, a little blur and noise."""
    height, width = rgb.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = (1 - 0.16 * (x**2 + y**2) ** 1.2)[..., None]
    balance = 1 + rng.normal(0, 0.018, 3)
    exposed = cv2.GaussianBlur((rgb * (1.12 * vignette) * balance).astype(np.float32), (0, 0), 0.6)
    toned = np.clip(exposed, 0, None)
    toned = toned / (1 + 0.18 * np.maximum(toned - 0.75, 0) * 4)  # highlights roll off
    grain = rng.normal(0, rng.uniform(0.006, 0.012), rgb.shape)
    return np.clip(np.rint((toned + grain) * 255), 0, 255).astype(np.uint8)
