"""Annotations and their JSON form."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import FormatError
from core.domain.labels import (
    MAX_OPS,
    PALETTE,
    Annotation,
    BrushOp,
    Category,
    PolygonOp,
    RleOp,
    Source,
    annotation_from_json,
    annotation_to_json,
)

NUMBERS = st.floats(-1e6, 1e6)
POINTS = st.tuples(NUMBERS, NUMBERS)
OPS = st.one_of(
    st.builds(PolygonOp, st.lists(POINTS, min_size=3, max_size=6).map(tuple), st.booleans()),
    st.builds(
        BrushOp,
        st.lists(POINTS, min_size=1, max_size=6).map(tuple),
        st.floats(0, 10_000, exclude_min=True),
        st.booleans(),
    ),
    st.builds(
        RleOp, st.tuples(st.integers(1, 9999), st.integers(1, 9999)), st.text(max_size=9), st.booleans()
    ),
)
ANNOTATIONS = st.builds(
    Annotation,
    id=st.text(max_size=64),
    category_id=st.integers(1, 10**6),
    ops=st.lists(OPS, min_size=1, max_size=4).map(tuple),
    source=st.sampled_from(Source),
    author=st.text(max_size=80),
    note=st.text(max_size=80),
)
SQUARE = {"kind": "polygon", "points": [[0, 0], [4, 0], [4, 4]]}
PLAIN = {"id": "a", "category_id": 1, "ops": [SQUARE]}


@given(ANNOTATIONS)
def test_an_annotation_survives_json(annotation: Annotation) -> None:
    text = json.dumps(annotation_to_json(annotation))

    assert annotation_from_json(json.loads(text)) == annotation


def test_source_author_and_subtract_may_be_left_out() -> None:
    annotation = annotation_from_json(PLAIN)

    assert annotation.source is Source.DRAWN
    assert annotation.author == ""
    assert annotation.ops[0].is_subtract is False


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {},
        {**PLAIN, "category_id": "two"},
        {**PLAIN, "ops": None},
        {**PLAIN, "ops": []},
        {**PLAIN, "ops": ["polygon"]},
        {**PLAIN, "ops": [{"kind": "star"}]},
        {**PLAIN, "ops": [{"points": [[0, 0]]}]},
        {**PLAIN, "ops": [{"kind": "polygon", "points": [[0, 0], [1, 1]]}]},
        {**PLAIN, "ops": [{"kind": "polygon", "points": [[0, 0], [1, 1], [2]]}]},
        {**PLAIN, "ops": [{"kind": "polygon", "points": [[0, 0], [1, 1], [2, math.nan]]}]},
        {**PLAIN, "ops": [{"kind": "brush", "points": [[0, 0]]}]},
        {**PLAIN, "ops": [{"kind": "brush", "points": [[0, 0]], "radius": 0}]},
        {**PLAIN, "ops": [{"kind": "brush", "points": [], "radius": 2}]},
        {**PLAIN, "ops": [{"kind": "rle", "size": [4], "counts": "1"}]},
        {**PLAIN, "source": "guessed"},
        {**PLAIN, "note": "n" * 1001},
    ],
)
def test_a_broken_annotation_is_refused(value: object) -> None:
    with pytest.raises(FormatError):
        annotation_from_json(value)


@pytest.mark.parametrize("radius", [0, -1, math.nan, math.inf, 10_001])
def test_a_brush_needs_a_sensible_radius(radius: float) -> None:
    with pytest.raises(FormatError, match="radius"):
        BrushOp(((0, 0),), radius)


def test_an_annotation_cannot_have_endless_strokes() -> None:
    stroke = BrushOp(((0, 0),), 1)

    with pytest.raises(FormatError, match=str(MAX_OPS)):
        Annotation("a", 1, (stroke,) * (MAX_OPS + 1))


@pytest.mark.parametrize(
    ("category_id", "name", "color"),
    [
        (0, "dent", "#E69F00"),
        (1, "  ", "#E69F00"),
        (1, "x" * 81, "#E69F00"),
        (1, "dent", "red"),
        (1, "dent", "#E69F0"),
    ],
)
def test_a_broken_category_is_refused(category_id: int, name: str, color: str) -> None:
    with pytest.raises(FormatError):
        Category(category_id, name, color)


def test_the_palette_has_twenty_different_valid_colours() -> None:
    categories = [Category(i, "x", color) for i, color in enumerate(PALETTE, start=1)]

    assert len({category.color.lower() for category in categories}) == 20
