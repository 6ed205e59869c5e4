"""A quick sketch over a predicted photo, with streamlit-drawable-canvas: colour means class."""

import math

import streamlit as st
from streamlit_drawable_canvas import st_canvas

from core.domain.labels import BrushOp, Category, PolygonOp
from core.services.home import Store
from core.services.prediction import PhotoPrediction, overlay_jpeg

ROUND = "sketch_round"  # raised after a save: the next sketch begins on an empty canvas
SIDE = 900  # the picture's long side on screen, in CSS pixels


def sketch_strokes(
    store: Store, found: PhotoPrediction, categories: list[Category]
) -> tuple[list[PolygonOp | BrushOp], list[int]]:
    """Draw the canvas; give the strokes in the photo's pixels and the category id of each."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = [category.name for category in categories]
        name = st.segmented_control("Class", names, default=names[0], key="sketch_class") or names[0]
        mode = st.segmented_control("Tool", ["Brush", "Polygon"], default="Brush", key="sketch_tool")
        width = st.slider("Brush width", 4, 80, 24, key="sketch_width", width=220)
    category = next(category for category in categories if category.name == name)
    scale = min(1.0, SIDE / max(found.size_wh))
    size = (round(found.size_wh[0] * scale), round(found.size_wh[1] * scale))
    result = st_canvas(
        background_image=_background(found.full_mask, store, found),
        drawing_mode="polygon" if mode == "Polygon" else "freedraw",
        stroke_color=category.color,
        fill_color=f"{category.color}88",
        stroke_width=2 if mode == "Polygon" else width,
        width=size[0],
        height=size[1],
        key=f"sketch_{found.full_mask}_{st.session_state.get(ROUND, 0)}",
    )
    return read_strokes(result.json_data, scale, {c.color.upper(): c.category_id for c in categories})


@st.cache_data(max_entries=4)
def _background(full_mask: str, _store: Store, _found: PhotoPrediction) -> bytes:
    return overlay_jpeg(_store, _found)


def read_strokes(
    scene: dict | None, scale: float, category_ids: dict[str, int]
) -> tuple[list[PolygonOp | BrushOp], list[int]]:
    """Read Fabric's scene into strokes in image pixels.

    Fabric keeps a shape's points as they were drawn and its centre as ``left, top``: a shape that was
    moved lies off its points by the difference of the two centres.

    Args:
        scene: what st_canvas gives; None before the first stroke.
        scale: canvas pixels per image pixel.
        category_ids: by stroke colour, upper case.
    """
    strokes: list[PolygonOp | BrushOp] = []
    found: list[int] = []
    for shape in (scene or {}).get("objects", []):
        category_id = category_ids.get(str(shape.get("stroke", "")).upper()[:7])
        kind = str(shape.get("type", "")).lower()
        points = _path_points(shape) if kind == "path" else _polygon_points(shape)
        if category_id is None or not points:
            continue
        placed = tuple((x / scale, y / scale) for x, y in _placed(shape, points))
        if kind == "path":
            strokes.append(BrushOp(placed, max(0.5, shape["strokeWidth"] / 2 / scale)))
        elif len(placed) >= 3:
            strokes.append(PolygonOp(placed))
        else:
            continue
        found.append(category_id)
    return strokes, found


def _path_points(shape: dict) -> list[tuple[float, float]]:
    """Take the end point of each command of a Fabric path: M x y, L x y, Q cx cy x y."""
    commands = [command for command in shape.get("path", []) if len(command) >= 3]
    return [(float(command[-2]), float(command[-1])) for command in commands]


def _polygon_points(shape: dict) -> list[tuple[float, float]]:
    return [(float(point["x"]), float(point["y"])) for point in shape.get("points", [])]


def _placed(shape: dict, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if shape.get("originX") != "center" or shape.get("originY") != "center":
        return points
    x0, y0 = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    angle = math.radians(float(shape.get("angle", 0)))
    sin, cos = math.sin(angle), math.cos(angle)
    placed: list[tuple[float, float]] = []
    for x, y in points:
        dx = (x - x0) * float(shape.get("scaleX", 1)) * (-1 if shape.get("flipX") else 1)
        dy = (y - y0) * float(shape.get("scaleY", 1)) * (-1 if shape.get("flipY") else 1)
        placed.append((shape["left"] + dx * cos - dy * sin, shape["top"] + dx * sin + dy * cos))
    return placed
