"""labelme's json files are read and written; a json may bring its photo along."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import FormatError, ImageError
from core.domain.labels import ImageState, PolygonOp
from core.formats import labelme
from core.formats.ingest import import_path
from core.imaging.masks import decode_rle
from core.storage.store import Store
from tests.formats.builders import mask_png, photo, put
from tests.formats.drawn import FAR, SIZE_HW, SQUARE, areas, check_replacing, damage, files_in, kept, masks_of

SQUARE_POINTS = [[5, 5], [15.0, 5], [15, 15], [5, 15]]


def shape(label: object = "dent", points: object = SQUARE_POINTS, **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}} | more


def document(*shapes: Any, **more: Any) -> str:
    """A file as labelme 5 writes it."""
    return json.dumps(
        {
            "version": "5.4.1",
            "flags": {},
            "shapes": list(shapes),
            "imagePath": "a.jpg",
            "imageData": None,
            "imageHeight": 30,
            "imageWidth": 40,
        }
        | more
    )


def one_photo(folder: Path, *shapes: Any, **more: Any) -> Path:
    put(folder / "a.jpg", photo())
    put(folder / "a.json", document(*shapes, **more))
    return folder


def test_polygons_stay_polygons_parts_share_a_group_and_holes_become_a_mask(tmp_path: Path) -> None:
    labelme.write_dataset(damage(with_splits=True), tmp_path)

    content = json.loads((tmp_path / "train/1.json").read_text())
    assert [(s["shape_type"], s["group_id"], s["label"]) for s in content["shapes"]] == [
        ("mask", None, "dent"),
        ("polygon", 2, "Kratzer & Riß"),
        ("polygon", 2, "Kratzer & Riß"),
        ("polygon", None, "dent"),
    ]
    assert content["shapes"][0]["points"] == [[5.0, 5.0], [14.0, 14.0]]
    with Image.open(io.BytesIO(base64.b64decode(content["shapes"][0]["mask"]))) as picture:
        assert np.asarray(picture).shape == (10, 10)
        assert int(np.asarray(picture).sum()) == 100 - 16
    assert (content["imagePath"], content["imageWidth"], content["imageHeight"]) == ("1.jpg", 40, 30)
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8") == "dent\nKratzer & Riß\nrust\n"
    assert "valid/größe 1.json" in files_in(tmp_path)


def test_published_shapes_become_regions(folder: Path) -> None:
    picture = base64.b64encode(mask_png(np.array([[1, 0, 1], [1, 1, 1]], np.uint8))).decode()
    one_photo(
        folder,
        shape(),
        shape("rust", [[15, 15], [5, 5]], shape_type="rectangle"),
        shape("rust", [[5, 5], [15, 5], [15, 15], [5, 15]], shape_type="rectangle"),
        shape("hail", [[20, 15], [20, 20]], shape_type="circle"),
        shape("dent", [[10, 20], [12, 21]], shape_type="mask", mask=picture),
        {"label": "dent", "points": SQUARE_POINTS},
    )

    (image,) = labelme.read(folder).images

    assert labelme.detect(folder)
    rows, columns = np.mgrid[:30, :40] + 0.5
    in_circle = (columns - 20) ** 2 + (rows - 15) ** 2 <= 25
    assert areas(image) == [
        ("dent", 100),
        ("rust", 100),
        ("rust", 100),
        ("hail", int(in_circle.sum())),
        ("dent", 5),
        ("dent", 100),
    ]
    assert np.array_equal(masks_of(image)[3][1], in_circle)
    assert np.argwhere(masks_of(image)[4][1]).tolist() == [[20, 10], [20, 12], [21, 10], [21, 11], [21, 12]]


def test_a_group_is_one_region_and_a_group_of_two_labels_is_two(folder: Path) -> None:
    far = [list(point) for point in FAR.points_xy]
    one_photo(
        folder,
        shape(group_id=1),
        shape("rust", group_id=1),
        shape(points=far, group_id=1),
        shape(points=far, group_id=2),
    )

    (image,) = labelme.read(folder).images

    assert [(a.category, len(a.ops)) for a in image.annotations] == [("dent", 2), ("rust", 1), ("dent", 1)]
    assert image.annotations[0].ops == (SQUARE, FAR)


def test_no_shapes_mean_no_damage_and_set_flags_are_told(folder: Path) -> None:
    one_photo(folder, flags={"blurred": True, "night": False})

    dataset = labelme.read(folder)

    assert [(i.is_labelled, i.annotations) for i in dataset.images] == [(True, ())]
    assert dataset.notes == ("1 files set flags, which were not taken.",)


@pytest.mark.parametrize(
    ("image_path", "photo_at"),
    [
        ("a.jpg", "sub/a.jpg"),
        ("..\\images\\a.jpg", "images/a.jpg"),
        ("/home/me/car/a.jpg", "sub/a.jpg"),
        ("renamed.jpg", "sub/a.jpg"),
    ],
)
def test_the_photo_is_found_by_its_path_or_beside_the_json(
    folder: Path, image_path: str, photo_at: str
) -> None:
    put(folder / photo_at, photo())
    put(folder / "sub/a.json", document(shape(), imagePath=image_path))

    (image,) = labelme.read(folder).images

    assert image.name == photo_at


def test_the_photo_in_the_json_counts_only_where_there_is_no_other(
    store: Store, project_id: str, folder: Path
) -> None:
    inside = base64.b64encode(photo(7)).decode()
    put(folder / "a.jpg", photo(1))
    put(folder / "a.json", document(shape(), imageData=inside))
    put(folder / "val/b.json", document(shape(), imagePath="..\\b.jpg", imageData=inside))

    dataset = labelme.read(folder)
    report = import_path(store, project_id, folder)

    assert [(i.name, i.split, i.read()) for i in dataset.images] == [
        ("a.jpg", None, photo(1)),
        ("val/b.jpg", "valid", photo(7)),
    ]
    assert report.refused == ()
    assert [state for _, _, state, _ in kept(store, project_id)] == [ImageState.DONE, ImageState.DONE]


@pytest.mark.parametrize("inside", ["no base64!", "aGVsbG8=", ""])
def test_a_damaged_photo_in_the_json_is_refused_as_any_other(
    store: Store, project_id: str, folder: Path, inside: str
) -> None:
    one_photo(folder, shape())
    put(folder / "b.json", document(shape(), imagePath="b.jpg", imageData=inside))

    report = import_path(store, project_id, folder)

    assert [r.file for r in report.refused] == ["b.jpg"]
    assert len(kept(store, project_id)) == 1


def test_a_photo_in_the_json_is_bounded_like_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder / "b.json", document(shape(), imageData=base64.b64encode(photo()).decode()))
    monkeypatch.setattr(labelme, "MAX_FILE_BYTES", 100)

    with pytest.raises(ImageError, match="larger than a photo may be"):
        labelme.read(folder).images[0].read()


def test_labels_of_another_picture_size_are_refused_as_a_whole(
    store: Store, project_id: str, folder: Path
) -> None:
    one_photo(folder, shape(), imageWidth=80, imageHeight=60)

    report = import_path(store, project_id, folder)

    assert "drawn on a picture of 80 x 60" in report.refused[0].reason
    assert kept(store, project_id)[0][2] is ImageState.UNLABELLED


def test_a_mask_that_leaves_the_photo_is_clipped(store: Store, project_id: str, folder: Path) -> None:
    picture = base64.b64encode(mask_png(np.ones((10, 10), np.uint8))).decode()
    one_photo(
        folder,
        shape(points=[[-5, -6], [4, 3]], shape_type="mask", mask=picture),
        shape(points=[[38, 28], [47, 37]], shape_type="mask", mask=picture),
        shape(points=[[90, 90], [99, 99]], shape_type="mask", mask=picture),
    )

    report = import_path(store, project_id, folder)

    ((_, _, _, masks),) = kept(store, project_id)
    assert [int(decode_rle(code, SIZE_HW).sum()) for _, code in masks] == [5 * 4, 2 * 2]
    assert [r.reason for r in report.refused] == ["Shape 3: It covers no pixel of the photo."]


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (shape(points=[[1, 1], [2, 2]]), "2 points"),
        (shape(points=[[1, 1], [2, 2], [3]]), "not a pair"),
        (shape(points=[[1, 1], [2, 2], [3, "x"]]), "not a number"),
        (shape(points=[[1, 1], [2, 2], [3, float("nan")]]), "not a number"),
        (shape(points=[[1, 1], [2, 2], [3, 10**400]]), "not a number"),
        (shape(points=[[1, 1], [2, 2], [3, True]]), "not a number"),
        (shape(points=None), "is not a list"),
        (shape(label=""), "needs a name"),
        (shape(label=None), "needs a name"),
        (shape(label="x" * 81), "needs a name"),
        (shape(points=[[1, 1]], shape_type="point"), "no area"),
        (shape(points=[[1, 1], [9, 9], [20, 9]], shape_type="linestrip"), "no area"),
        (shape(points=[[1, 1], [1, 1]], shape_type="circle"), "radius"),
        (shape(shape_type="spiral"), "no shape type “spiral”"),
        (shape(shape_type="mask", points=[[1, 1], [2, 2]], mask="@@"), "no base64"),
        (shape(shape_type="mask", points=[[1, 1], [2, 2]], mask="aGVsbG8="), "no image"),
        (shape(shape_type="mask", points=[[1, 1], [2, 2]]), "needs two corners and its picture"),
        ("no object", "needs a name"),
    ],
)
def test_a_bad_shape_is_refused_alone(folder: Path, bad: object, fault: str) -> None:
    one_photo(folder, shape(), bad)

    dataset = labelme.read(folder)

    assert areas(dataset.images[0]) == [("dent", 100)]
    assert [r.file for r in dataset.refused] == ["a.json"]
    assert dataset.refused[0].reason.startswith("Shape 2: ")
    assert fault in dataset.refused[0].reason


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"shapes": [], "imagePath": "b.jpg"', "no valid json"),
        (b'{"shapes": 3, "imagePath": "b.jpg"}', "“shapes” is not a list"),
        (b'{"shapes": [], "imagePath": "gone.jpg"}', "it is not there"),
        (b'{"shapes": [], "imagePath": "a.jpg"}', "a.json has it already"),
        (b'{"shapes": [], "imagePath": "../../etc/passwd"}', "it is not there"),
        (b'{"shapes": [], "imagePath": "b\xff.jpg"}', "no valid json"),
        (
            b'{"shapes": [], "imagePath": "b.jpg", "imageWidth": 99999, "imageHeight": 99999}',
            "larger than any",
        ),
        (b'{"shapes": [], "imagePath": "x.jpg", "imageData": "aGVsbG8="}', "no imageWidth"),
        (b'"shapes" "imagePath"' + b"[" * 100_000, "no valid json"),
    ],
)
def test_a_bad_file_is_refused_alone_with_its_fault(folder: Path, content: bytes, fault: str) -> None:
    one_photo(folder, shape())
    put(folder / "bad.json", content)

    dataset = labelme.read(folder)

    assert [image.name for image in dataset.images] == ["a.jpg"]
    assert [r.file for r in dataset.refused] == ["bad.json"]
    assert fault in dataset.refused[0].reason


def test_a_file_that_is_too_large_is_refused_unread(folder: Path) -> None:
    one_photo(folder, shape())
    with put(folder / "big.json", b'{"shapes": [], "imagePath": "b.jpg"').open("ab") as file:
        file.truncate(512 * 1024**2 + 1)  # takes no room on the disk

    assert [(r.file, "larger than 512 MB" in r.reason) for r in labelme.read(folder).refused] == [
        ("big.json", True)
    ]


def test_another_tool_s_json_is_no_labelme(folder: Path) -> None:
    put(folder / "a.json", '{"images": [], "annotations": [], "categories": []}')

    assert not labelme.detect(folder)
    with pytest.raises(FormatError, match=r"a.json: This is no file of labelme's"):
        labelme.read(folder)
    (folder / "a.json").unlink()
    with pytest.raises(FormatError, match="no json file"):
        labelme.read(folder)


@pytest.mark.parametrize(
    "stated", [{}, {"imageWidth": None, "imageHeight": None}, {"imageWidth": 40, "imageHeight": True}]
)
def test_a_file_without_a_size_takes_the_photo_s(folder: Path, stated: dict[str, Any]) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "a.json", json.dumps({"shapes": [shape()], "imagePath": "a.jpg"} | stated))

    (image,) = labelme.read(folder).images

    assert image.drawn_size_wh == (40, 30)
    assert isinstance(image.annotations[0].ops[0], PolygonOp)


def test_an_export_replaces_an_earlier_one_but_no_labels_from_elsewhere(tmp_path: Path) -> None:
    check_replacing(labelme.write_dataset, tmp_path, "1.json", document(shape()))
