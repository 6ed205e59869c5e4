"""YOLO segmentation is read and written; holes and parts survive in its single polygons."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycoco

from core.domain.errors import FormatError
from core.domain.labels import MAX_POINTS, ImageState, Op, PolygonOp, RleOp
from core.formats import photos, yolo
from core.formats.ingest import import_path
from core.formats.regions import one_outline
from core.formats.source import SourceDataset
from core.imaging.masks import decode_rle, encode_rle, mask_to_ops, rasterise
from core.storage.store import Store
from tests.formats.builders import photo, put
from tests.formats.drawn import (
    FAR,
    HOLE,
    SIZE_HW,
    SQUARE,
    STROKE,
    areas,
    check_replacing,
    damage,
    files_in,
    kept,
    labelled,
    masks_of,
    noise,
)

# After https://docs.ultralytics.com/datasets/segment/: a photo of 40 x 30, a square of 10 x 10 pixels.
SQUARE_LINE = "0 0.125 0.166667 0.375 0.166667 0.375 0.5 0.125 0.5"
NAMES = "path: ../data\ntrain: images/train\nval: images/val\nnames:\n  0: dent\n  1: rust\n"


def one_photo(folder: Path, *lines: str, names: str | None = NAMES) -> Path:
    put(folder / "images/train/a.jpg", photo())
    put(folder / "labels/train/a.txt", "\n".join(lines) + "\n")
    if names is not None:
        put(folder / "data.yaml", names)
    return folder


def test_the_layout_is_the_one_that_training_tools_expect(tmp_path: Path) -> None:
    yolo.write_dataset(damage(with_splits=True), tmp_path)

    assert files_in(tmp_path) == [
        "data.yaml",
        "test/images/c.jpg",
        "test/labels/c.txt",
        "train/images/1.jpg",
        "train/labels/1.txt",
        "unsplit/images/1.jpg",
        "unsplit/labels/1.txt",
        "valid/images/größe 1.jpg",
        "valid/labels/größe 1.txt",
    ]
    assert pyyaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8")) == {
        "path": ".",
        "train": "train/images",
        "val": "valid/images",
        "test": "test/images",
        "nc": 3,
        "names": {0: "dent", 1: "Kratzer & Riß", 2: "rust"},
    }
    lines = (tmp_path / "train/labels/1.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "0"]
    assert lines[2] == "0 0.50000000 0.16666667 0.75000000 0.16666667 0.75000000 0.50000000"
    assert (tmp_path / "valid/labels/größe 1.txt").read_bytes() == b""


def test_a_drawn_polygon_keeps_its_points_and_photos_can_be_left_out(tmp_path: Path) -> None:
    source = SourceDataset(damage().categories, (labelled("a.jpg", 1, ("dent", (SQUARE,))),))

    yolo.write_dataset(source, tmp_path, with_photos=False)

    assert files_in(tmp_path) == ["data.yaml", "labels/a.txt"]
    put(tmp_path / "images/a.jpg", photo(1))
    (op,) = yolo.read(tmp_path).images[0].annotations[0].ops
    assert isinstance(op, PolygonOp)
    assert np.allclose(op.points_xy, SQUARE.points_xy, atol=1e-6)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, numpy 2
@pytest.mark.parametrize("ops", [(SQUARE, HOLE), (SQUARE, FAR), (STROKE,), (SQUARE, FAR, STROKE, HOLE)])
def test_one_outline_has_the_same_pixels_for_coco_and_nearly_the_same_for_others(ops: tuple[Op, ...]) -> None:
    mask = rasterise(ops, SIZE_HW)

    outline = one_outline(ops, SIZE_HW, lambda point: point)

    assert outline is not None
    (code,) = pycoco.frPyObjects([[value for point in outline for value in point]], *SIZE_HW)
    assert np.array_equal(pycoco.decode(code).astype(bool), mask)
    # Ultralytics fills with OpenCV, on whole pixels and with the outline, so the bridges show.
    filled = np.zeros(SIZE_HW, np.uint8)
    cv2.fillPoly(filled, [np.array(outline).astype(np.int32)], 1)
    assert iou(filled.astype(bool), mask) > 0.85


POINTS = st.tuples(st.floats(-9, 49, width=32), st.floats(-9, 39, width=32))
POLYGONS = st.builds(PolygonOp, st.lists(POINTS, min_size=3, max_size=7).map(tuple), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(POLYGONS, min_size=1, max_size=6).map(tuple))
def test_any_region_has_the_same_pixels_as_one_written_outline(ops: tuple[Op, ...]) -> None:
    def written(point: tuple[float, float]) -> tuple[float, float]:
        return round(point[0] / 40, 8) * 40, round(point[1] / 30, 8) * 30

    mask = rasterise(ops, SIZE_HW)
    outline = one_outline(ops, SIZE_HW, written)

    if outline is None:
        assert not mask.any()
    else:
        read = PolygonOp(tuple(written(point) for point in outline))
        assert np.array_equal(rasterise([read], SIZE_HW), mask)


def test_an_outline_of_too_many_points_gives_up_its_finest_detail_only() -> None:
    is_pinhole = np.random.default_rng(0).random((700, 700)) < 0.06
    whole = np.zeros((700, 700), np.bool_)
    whole[50:650, 50:650] = True
    op = RleOp((700, 700), encode_rle(whole & ~is_pinhole))
    assert sum(len(part.points_xy) for part in mask_to_ops(whole & ~is_pinhole, 0)) > MAX_POINTS

    outline = one_outline([op], (700, 700), lambda point: point)

    assert outline is not None
    assert iou(rasterise([PolygonOp(outline)], (700, 700)), whole) > 0.999


def test_published_lines_become_regions(folder: Path) -> None:
    one_photo(folder, SQUARE_LINE, "", "1 0.5 0.5 0.25 0.2", "1 0.5 0.5 0.25 0.2 0.87")

    (image,) = yolo.read(folder).images

    assert yolo.detect(folder)
    assert (image.name, image.split, image.is_labelled) == ("images/train/a.jpg", "train", True)
    assert areas(image) == [("dent", 100), ("rust", 60), ("rust", 60)]
    assert "2 boxes were taken as rectangles" in yolo.read(folder).notes[0]
    assert [c.name for c in yolo.read(folder).categories] == ["dent", "rust"]


@pytest.mark.parametrize(
    ("photo_at", "label_at"),
    [
        ("a.jpg", "a.txt"),
        ("images/a.jpg", "labels/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("obj_train_data/a.jpg", "obj_train_data/a.txt"),
        ("images/images/a.jpg", "images/labels/a.txt"),
    ],
)
def test_label_files_are_found_beside_photos_and_in_labels(
    folder: Path, photo_at: str, label_at: str
) -> None:
    put(folder / photo_at, photo())
    put(folder / label_at, SQUARE_LINE)
    put(folder / "classes.txt", "dent\nrust\n")

    (image,) = yolo.read(folder).images

    assert yolo.detect(folder)
    assert areas(image) == [("dent", 100)]


def test_no_label_file_is_unlabelled_and_an_empty_one_is_no_damage(folder: Path) -> None:
    one_photo(folder)
    put(folder / "images/val/b.jpg", photo(1))
    put(folder / "labels/val/gone.txt", SQUARE_LINE)

    dataset = yolo.read(folder)

    assert [(i.name, i.split, i.is_labelled) for i in dataset.images] == [
        ("images/train/a.jpg", "train", True),
        ("images/val/b.jpg", "valid", False),
    ]
    assert [(r.file, r.reason) for r in dataset.refused] == [
        ("labels/val/gone.txt", "There is no photo of this name.")
    ]


def test_the_yaml_says_the_split_whatever_the_folders_are_called(folder: Path) -> None:
    one_photo(folder, SQUARE_LINE, names="names: [dent]\ntrain: ./images/night\nval: images/train\n")

    assert yolo.read(folder).images[0].split == "valid"


def test_coordinates_are_those_of_the_upright_photo(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    put(folder / "a.jpg", photo(exif=exif))
    put(folder / "a.txt", "0 0 0 1 0 1 0.5 0 0.5")

    (image,) = yolo.read(folder).images

    assert image.drawn_size_wh == (30, 40)
    assert image.annotations[0].ops == (PolygonOp(((0, 0), (30, 0), (30, 20), (0, 20))),)


def test_what_leaves_the_photo_is_clipped_and_what_lies_outside_is_refused(
    store: Store, project_id: str, folder: Path
) -> None:
    one_photo(folder, "0 0.75 0.5 1.25 0.5 1.25 1.5 0.75 1.5", "0 1.1 0.1 1.2 0.1 1.2 0.2")

    report = import_path(store, project_id, folder)

    ((_, _, state, masks),) = kept(store, project_id)
    assert state is ImageState.DONE
    assert len(masks) == 1
    assert decode_rle(masks[0][1], SIZE_HW).sum() == 150
    assert [r.reason for r in report.refused] == ["Line 2: It covers no pixel of the photo."]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2 0 0 1 0 1 1", "no class 2; 2 are listed"),
        ("-1 0 0 1 0 1 1", "no class number"),
        ("0.5 0 0 1 0 1 1", "no class number"),
        ("dent 0 0 1 0 1 1", "“dent” is not a number"),
        ("0 0 0 1", "3 numbers after the class"),
        ("0 0 0 1 0 1 1 1", "must come in pairs"),
        ("0 0 0 nan 0 1 1", "not a number, or absurdly far away"),
        ("0 0 0 1e400 0 1 1", "not a number, or absurdly far away"),
        ("0 12 8 300 8 300 200", "no shares of the width and height"),
        ("0 0 0 x 0 1 1", "“x” is not a number"),
    ],
)
def test_a_bad_line_is_refused_alone(folder: Path, line: str, fault: str) -> None:
    one_photo(folder, SQUARE_LINE, line)

    dataset = yolo.read(folder)

    assert areas(dataset.images[0]) == [("dent", 100)]
    assert [r.file for r in dataset.refused] == ["labels/train/a.txt"]
    assert dataset.refused[0].reason.startswith("Line 2: ")
    assert fault in dataset.refused[0].reason


def test_a_photo_with_bad_lines_only_is_not_taken_for_one_without_damage(folder: Path) -> None:
    one_photo(folder, "9 0 0 1 0 1 1")

    assert not yolo.read(folder).images[0].is_labelled


@pytest.mark.parametrize("content", [b"\xff\xfe0 \x80\x81", b"0 0 0 1 0 1 1 \x93"])
def test_a_label_file_that_is_no_text_is_refused_and_its_photo_stays(folder: Path, content: bytes) -> None:
    one_photo(folder, SQUARE_LINE)
    put(folder / "images/train/b.jpg", photo(1))
    put(folder / "labels/train/b.txt", content)

    dataset = yolo.read(folder)

    assert [(i.name, i.is_labelled) for i in dataset.images][1] == ("images/train/b.jpg", False)
    assert "no text in UTF-8" in dataset.refused[0].reason


def test_classes_without_a_list_go_by_their_numbers(folder: Path) -> None:
    one_photo(folder, "3 0 0 1 0 1 1", names=None)

    dataset = yolo.read(folder)

    assert [c.name for c in dataset.categories] == ["class 3"]
    assert "go by their numbers" in dataset.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        "names: [dent\n",
        "- just\n- a list\n",
        "a: &a [*a]\n",
        "\x00",
        "a: &a [dent]\nnames: [*a]\n",  # nine levels of that would be written out as gigabytes
        "a: &a {0: dent}\nnames: {<<: [*a, *a]}\n",
    ],
)
def test_a_yaml_that_lists_no_names_is_left_aside(folder: Path, names: str) -> None:
    one_photo(folder, SQUARE_LINE, names=names)

    assert [c.name for c in yolo.read(folder).categories] == ["class 0"]


def test_keypoints_and_folders_without_labels_are_refused(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "readme.txt", "0 0 0 1 0 1 1")
    with pytest.raises(FormatError, match="No photo has a text file"):
        yolo.read(folder)
    assert not yolo.detect(folder)

    one_photo(folder, SQUARE_LINE, names=NAMES + "kpt_shape: [17, 3]\n")
    with pytest.raises(FormatError, match="keypoints"):
        yolo.read(folder)


def test_photos_with_captions_are_no_yolo(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "a.txt", "a dented car door, 2 scratches")

    assert not yolo.detect(folder)
    assert photos.detect(folder)


def test_noise_survives_as_one_polygon(tmp_path: Path) -> None:
    source = SourceDataset(damage().categories, (labelled("a.jpg", 1, ("dent", (noise(),))),))

    yolo.write_dataset(source, tmp_path)
    (image,) = yolo.read(tmp_path).images

    assert len((tmp_path / "labels/a.txt").read_text().splitlines()) == 1
    assert np.array_equal(masks_of(image)[0][1], rasterise([noise()], SIZE_HW))


def test_an_export_replaces_an_earlier_one_but_no_labels_from_elsewhere(tmp_path: Path) -> None:
    check_replacing(yolo.write_dataset, tmp_path, "data.yaml", NAMES)
