"""The click tool with tiny files that have the inputs and outputs of SAM and SAM 2."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.errors import FormatError, NotFound
from core.inference import sam
from tests.inference.sam_files import SIDE, write_decoder, write_encoder

WIDE_WH = (128, 64)  # twice as wide as high: SAM pads it below, SAM 2 squeezes it


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    """Start and leave with no file open."""
    sam.close_sam()
    yield
    sam.close_sam()


def photo() -> NDArray[np.uint8]:
    """Dark on the left, bright on the right quarter."""
    rgb = np.full((WIDE_WH[1], WIDE_WH[0], 3), 40, np.uint8)
    rgb[:, 96:] = 220
    return rgb


def reader(calls: list[int]) -> Callable[[], NDArray[np.uint8]]:
    def read() -> NDArray[np.uint8]:
        calls.append(1)
        return photo()

    return read


def pair(folder: Path, layout: str, *, is_raw: bool = False, has_size: bool = True) -> sam.Sam:
    encoder = write_encoder(folder / "encoder.onnx", layout=layout, is_raw=is_raw)
    return sam.open_sam(encoder, write_decoder(folder / "decoder.onnx", layout=layout, has_size=has_size))


@pytest.mark.parametrize(
    ("layout", "is_raw", "has_size"),
    [("sam", False, True), ("sam", False, False), ("sam2", False, True), ("sam2", False, False)],
)
def test_a_click_finds_what_is_as_bright_in_either_layout(
    tmp_path: Path, layout: str, is_raw: bool, has_size: bool
) -> None:
    model = pair(tmp_path, layout, is_raw=is_raw, has_size=has_size)

    bright = sam.segment_clicks(model, "a", photo, WIDE_WH, [((110.0, 30.0), True)])
    dark = sam.segment_clicks(model, "a", photo, WIDE_WH, [((20.0, 30.0), True)])

    assert model.layout == layout
    assert bright.shape == dark.shape == (SIDE // 2, SIDE)
    above = slice(0, -4)  # the last rows blend with the square's padding
    assert bright[above, 51:].all() and not bright[above, :46].any()
    assert dark[above, :45].all() and not dark[above, 50:].any()


@pytest.mark.parametrize("layout", ["sam", "sam2"])
def test_without_a_click_the_photo_is_looked_at_for_the_first_one(tmp_path: Path, layout: str) -> None:
    model, calls = pair(tmp_path, layout), list[int]()

    nothing = sam.segment_clicks(model, "a", reader(calls), WIDE_WH, [])
    found = sam.segment_clicks(model, "a", reader(calls), WIDE_WH, [((110.0, 30.0), True)])

    assert nothing.shape == found.shape and not nothing.any() and found.any()
    assert calls == [1]


def test_an_encoder_that_takes_plain_pixels_is_given_them(tmp_path: Path) -> None:
    model = pair(tmp_path, "sam", is_raw=True, has_size=False)
    asked: list[int] = []

    features = sam._features(model, "a", reader(asked), WIDE_WH)

    assert model.is_raw
    assert model.side == sam.SIDE  # such a file says nothing of its size
    values = features["image_embeddings"]
    assert values.shape == (1, 1, 64, 128)
    assert (values.min(), values.max()) == (40, 220)


def test_a_photo_is_looked_at_once_and_only_the_last_few_are_remembered(tmp_path: Path) -> None:
    model = pair(tmp_path, "sam")
    asked: list[int] = []
    clicks = [((110.0, 30.0), True)]

    for _ in range(3):
        sam.segment_clicks(model, "first", reader(asked), WIDE_WH, clicks)
    assert len(asked) == 1
    for number in range(sam.MAX_KEPT):
        sam.segment_clicks(model, f"other {number}", reader(asked), WIDE_WH, clicks)
    sam.segment_clicks(model, "first", reader(asked), WIDE_WH, clicks)

    assert len(asked) == 1 + sam.MAX_KEPT + 1


def test_a_pair_stays_open_until_a_file_is_replaced(tmp_path: Path) -> None:
    model = pair(tmp_path, "sam")
    paths = tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"

    assert sam.open_sam(*paths) is model
    write_encoder(paths[0], layout="sam2")
    write_decoder(paths[1], layout="sam2")
    assert sam.open_sam(*paths).layout == "sam2"


def test_files_that_do_not_fit_are_a_sentence_each(tmp_path: Path) -> None:
    encoder, decoder = write_encoder(tmp_path / "e.onnx"), write_decoder(tmp_path / "d.onnx")
    second = write_decoder(tmp_path / "d2.onnx", layout="sam2")
    odd = write_decoder(tmp_path / "odd.onnx", extra="text_prompt")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")

    with pytest.raises(NotFound, match=r"nowhere\.onnx is not there"):
        sam.open_sam(tmp_path / "nowhere.onnx", decoder)
    with pytest.raises(FormatError, match=r"broken\.onnx is not an ONNX model"):
        sam.open_sam(encoder, broken)
    with pytest.raises(FormatError, match=r"e\.onnx is not a decoder of SAM or SAM 2"):
        sam.open_sam(encoder, encoder)
    with pytest.raises(FormatError, match=r"e\.onnx is not the encoder that d2\.onnx needs"):
        sam.open_sam(encoder, second)
    with pytest.raises(FormatError, match="asks for what no SAM decoder does: text_prompt"):
        sam.open_sam(encoder, odd)


def test_files_that_fit_by_name_but_not_by_size_are_a_sentence_at_the_first_click(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "e.onnx", names=("anything",), is_coloured=True)
    model = sam.open_sam(encoder, write_decoder(tmp_path / "d.onnx"))

    with pytest.raises(FormatError, match=r"e\.onnx and d\.onnx do not work together"):
        sam.segment_clicks(model, "a", photo, WIDE_WH, [((5.0, 0.5), True)])


def test_sides_are_rounded_as_sam_rounds_them() -> None:
    assert sam.reduced_wh((4000, 3000)) == (1024, 768)
    assert sam.reduced_wh((3000, 4001)) == (768, 1024)
    assert sam.reduced_wh((20_000, 1000)) == (1024, 51)
    assert sam.reduced_wh((20_000, 1)) == (1024, 1)
