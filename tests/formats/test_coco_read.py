"""Reading COCO folders as tools write them, and as they should not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as pycoco

from core.domain.errors import FormatError
from core.domain.labels import PolygonOp, RleOp
from core.formats import coco_read
from core.formats.source import SourceDataset
from core.imaging.masks import rasterise
from tests.formats.builders import DENT, SQUARE, annotation, coco, image_record, one_image_coco, photo, put

SCRATCH = {"id": 2, "name": "scratch", "supercategory": ""}


def square_mask() -> np.ndarray:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 5:15] = 1
    return mask


def compressed() -> dict[str, Any]:
    code = pycoco.encode(np.asfortranarray(square_mask()))
    return {"size": [30, 40], "counts": code["counts"].decode()}


def uncompressed() -> dict[str, Any]:
    pixels = square_mask().ravel(order="F")
    bounds = np.flatnonzero(np.diff(pixels, prepend=0, append=1 - pixels[-1]))
    return {"size": [30, 40], "counts": np.diff(bounds, prepend=0).tolist()}


def reasons(dataset: SourceDataset) -> list[str]:
    return [f"{refusal.file}: {refusal.reason}" for refusal in dataset.refused]


def test_a_roboflow_folder_gives_the_split_by_folder(folder: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        put(folder / split / "a.jpg", photo(number))
        content = coco([image_record(0, "a.jpg")], [annotation(0, 0, [SQUARE])])
        put(folder / split / "_annotations.coco.json", content)

    dataset = coco_read.read(folder)

    assert [(i.name, i.split) for i in dataset.images] == [
        ("test/a.jpg", "test"),
        ("train/a.jpg", "train"),
        ("valid/a.jpg", "valid"),
    ]
    assert all(len(i.annotations) == 1 and i.is_labelled for i in dataset.images)
    assert dataset.refused == ()


@pytest.mark.parametrize(
    ("json_path", "photo_path", "file_name", "split"),
    [
        ("annotations.json", "JPEGImages/a.jpg", "a.jpg", None),
        ("trainingset/annotations.json", "trainingset/JPEGImages/a.jpg", "a.jpg", "train"),
        ("testset/annotations.json", "testset/JPEGImages/a.jpg", "JPEGImages/a.jpg", "test"),
        ("annotations/instances_val2017.json", "images/a.jpg", "a.jpg", "valid"),
        ("annotations/instances.json", "val2017/a.jpg", "a.jpg", "valid"),
        ("result.json", "images/a.jpg", "..\\..\\data\\images\\a.jpg", None),
        ("result.json", "images/a.jpg", "/mnt/data/images/a.jpg", None),
        ("vintage/annotations.json", "vintage/a.jpg", "a.jpg", None),
    ],
)
def test_photos_are_found_where_tools_put_them(
    folder: Path, json_path: str, photo_path: str, file_name: str, split: str | None
) -> None:
    put(folder / photo_path, photo())
    put(folder / json_path, coco([image_record(1, file_name)], []))

    dataset = coco_read.read(folder)

    assert [(i.name, i.split) for i in dataset.images] == [(photo_path, split)]


def test_polygons_and_both_run_length_codes_mix_in_a_file_and_in_an_annotation(folder: Path) -> None:
    segmentations = [[SQUARE], compressed(), uncompressed(), [SQUARE, compressed()], SQUARE]
    dataset = coco_read.read(one_image_coco(folder, *segmentations))

    ops = [a.ops for a in dataset.images[0].annotations]

    assert dataset.refused == ()
    assert [[type(op) for op in part] for part in ops] == [
        [PolygonOp],
        [RleOp],
        [RleOp],
        [PolygonOp, RleOp],
        [PolygonOp],
    ]
    for part in ops:
        assert np.array_equal(rasterise(part, (30, 40)), square_mask().astype(bool))


def test_several_polygons_of_an_annotation_are_joined(folder: Path) -> None:
    second = [20.0, 5.0, 30.0, 5.0, 30.0, 15.0, 20.0, 15.0]
    dataset = coco_read.read(one_image_coco(folder, [SQUARE, second]))

    (only,) = dataset.images[0].annotations

    assert rasterise(only.ops, (30, 40)).sum() == 200


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        ([[1, 1, 2, 2]], "A polygon has 2 points; it needs at least 3."),
        ([[1, 1, 2, 2, 3, 3, 4]], "A polygon has 7 numbers; x and y must come in pairs."),
        ([[1, 1, 2, 2, 3, float("nan")]], "A polygon has a point that is not a number,"),
        ([[1, 1, 2, 2, 3, float("inf")]], "A polygon has a point that is not a number,"),
        ([[1, 1, 2, 2, 3, 10**400]], "or absurdly far away."),
        ([[1, 1, "2", 2, 3, 3]], "A polygon must be a list of numbers"),
        ([SQUARE, [1, 1]], "A polygon has 1 points; it needs at least 3."),
        ([], "It has no outline and no mask."),
        (None, "It has no outline and no mask."),
        ({"size": [30, 41], "counts": "abc"}, "Its mask is 41 x 30 pixels, but its image 40 x 30."),
        ({"size": [30], "counts": "abc"}, "A run-length code needs a size"),
        ({"size": [30, 40]}, "A run-length code needs a size"),
        ({"size": [30, 40], "counts": [5, 5]}, "do not add up"),
        ({"size": [30, 40], "counts": [5.5, -3]}, "must be whole numbers"),
        ({"size": [30, 40], "counts": 7}, "must be a text or a list of numbers"),
    ],
)
def test_a_faulty_annotation_is_refused_and_the_others_stay(
    folder: Path, segmentation: Any, fault: str
) -> None:
    dataset = coco_read.read(one_image_coco(folder, [SQUARE], segmentation))

    (refusal,) = dataset.refused

    assert len(dataset.images[0].annotations) == 1
    assert dataset.images[0].is_labelled
    assert refusal.file == "a.jpg"
    assert refusal.reason.startswith("Annotation 2: ")
    assert fault in refusal.reason


def test_an_image_whose_annotations_are_all_faulty_is_not_taken_for_undamaged(folder: Path) -> None:
    dataset = coco_read.read(one_image_coco(folder, [[1, 1, 2, 2]]))

    assert not dataset.images[0].is_labelled


def test_an_image_without_annotations_is_labelled_as_undamaged(folder: Path) -> None:
    dataset = coco_read.read(one_image_coco(folder))

    assert dataset.images[0].is_labelled
    assert dataset.images[0].annotations == ()


def test_placeholder_categories_are_left_out_and_ids_are_kept(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    categories = [
        {"id": 0, "name": "car", "supercategory": "none"},
        {"id": 3, "name": "_background_", "supercategory": "car"},
        {"id": 4, "name": "Body", "supercategory": ""},
        {"id": 7, "name": "dent", "supercategory": "Body"},
        {"id": 9, "name": "glass", "supercategory": "Body"},
    ]
    put(folder / "x.json", coco([image_record(1, "a.jpg")], [annotation(1, 1, [SQUARE], 7)], categories))

    dataset = coco_read.read(folder)

    assert [(c.name, c.wanted_id) for c in dataset.categories] == [("dent", 7), ("glass", 9)]
    assert any("“car” is a placeholder" in note for note in dataset.notes)


def test_a_category_zero_with_annotations_is_a_class(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    categories = [{"id": 0, "name": "dent"}, {"id": 1, "name": "scratch"}]
    put(folder / "x.json", coco([image_record(1, "a.jpg")], [annotation(1, 1, [SQUARE], 0)], categories))

    dataset = coco_read.read(folder)

    assert [(c.name, c.wanted_id) for c in dataset.categories] == [("dent", None), ("scratch", 1)]
    assert dataset.images[0].annotations[0].category == "dent"


def test_files_that_number_their_categories_differently_are_joined_by_name(folder: Path) -> None:
    numbered = {"train": (DENT, SCRATCH), "valid": ({"id": 2, "name": "Dent"}, {"id": 1, "name": "scratch"})}
    for number, (split, categories) in enumerate(numbered.items()):
        put(folder / split / "a.jpg", photo(number))
        records = [annotation(1, 1, [SQUARE], categories[0]["id"])]
        put(folder / split / "x.json", coco([image_record(1, "a.jpg")], records, categories))

    dataset = coco_read.read(folder)

    assert [(c.name, c.wanted_id) for c in dataset.categories] == [("dent", 1), ("scratch", 2)]
    assert [i.annotations[0].category.casefold() for i in dataset.images] == ["dent", "dent"]


def test_duplicate_names_in_different_folders_are_different_images(folder: Path) -> None:
    put(folder / "a/1.jpg", photo(1))
    put(folder / "b/1.jpg", photo(2))
    records = [image_record(1, "b/1.jpg"), image_record(2, "a/1.jpg")]
    put(folder / "annotations.json", coco(records, [annotation(1, 1, [SQUARE])]))

    dataset = coco_read.read(folder)

    assert [(i.name, len(i.annotations)) for i in dataset.images] == [("b/1.jpg", 1), ("a/1.jpg", 0)]


def test_a_name_that_may_mean_two_photos_is_refused(folder: Path) -> None:
    put(folder / "photos/a/1.jpg", photo(1))
    put(folder / "photos/b/1.jpg", photo(2))
    put(folder / "annotations.json", coco([image_record(1, "1.jpg")], []))

    dataset = coco_read.read(folder)

    assert dataset.images == ()
    assert "may mean photos/a/1.jpg or photos/b/1.jpg" in reasons(dataset)[0]


def test_missing_photos_are_refused_one_by_one(folder: Path) -> None:
    one_image_coco(folder)
    records = [image_record(n, name) for n, name in enumerate(("a.jpg", "b.jpg", "../../etc/passwd"))]
    put(folder / "_annotations.coco.json", coco(records, []))

    dataset = coco_read.read(folder)

    assert [i.name for i in dataset.images] == ["a.jpg"]
    assert [r.file for r in dataset.refused] == ["b.jpg", "../../etc/passwd"]
    assert all("names this photo, but it is not there" in r.reason for r in dataset.refused)


def test_a_photo_in_two_annotation_files_keeps_the_first_labels(folder: Path) -> None:
    one_image_coco(folder, [SQUARE])
    put(folder / "copy.json", coco([image_record(1, "a.jpg")], []))

    dataset = coco_read.read(folder)

    assert [len(i.annotations) for i in dataset.images] == [1]
    assert "_annotations.coco.json has it already" in dataset.refused[0].reason


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "This is no valid json"),
        ('{"images": [], "annotations": [', "This is no valid json"),
        ("[1, 2]", "it has no list “images”"),
        ('{"images": [], "categories": []}', "it has no list “annotations”"),
        ('{"images": [1], "annotations": [], "categories": []}', "“images” holds something that is not"),
        ("[" * 100_000, "This is no valid json"),
    ],
)
def test_a_json_that_is_no_coco_names_itself_and_its_fault(folder: Path, content: str, fault: str) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "labels/annotations.json", content)

    with pytest.raises(FormatError, match=f"labels/annotations.json: .*{fault}"):
        coco_read.read(folder)


def test_a_broken_json_beside_a_good_one_is_refused_alone(folder: Path) -> None:
    one_image_coco(folder, [SQUARE])
    put(folder / "test/_annotations.coco.json", '{"images": [], "annotations": [')
    put(folder / "claims.json", json.dumps({"valid": []}))

    dataset = coco_read.read(folder)

    assert len(dataset.images) == 1
    assert [r.file for r in dataset.refused] == ["test/_annotations.coco.json"]
    assert "claims.json is no COCO file and was left aside." in dataset.notes


def test_annotations_of_unknown_images_and_categories_are_refused(folder: Path) -> None:
    one_image_coco(folder)
    records = [annotation(1, 1, [SQUARE], 5), annotation(2, 99, [SQUARE]), annotation(3, 1, [SQUARE], [])]
    put(folder / "_annotations.coco.json", coco([image_record(1, "a.jpg")], records))

    dataset = coco_read.read(folder)

    assert reasons(dataset) == [
        "a.jpg: Annotation 1: The file lists no category 5.",
        "a.jpg: Annotation 3: The file lists no category [].",
        "_annotations.coco.json: 1 annotations belong to images that the file does not list.",
    ]


def test_categories_without_a_usable_id_or_name_are_refused(folder: Path) -> None:
    one_image_coco(folder)
    categories = [DENT, {"id": 2, "name": " "}, {"id": "3", "name": "x"}, {"id": 1, "name": "twice"}]
    put(folder / "_annotations.coco.json", coco([image_record(1, "a.jpg")], [], categories))

    dataset = coco_read.read(folder)

    assert [c.name for c in dataset.categories] == ["dent"]
    assert len(dataset.refused) == 3


def test_photos_that_no_annotation_file_names_are_counted_in_a_note(folder: Path) -> None:
    one_image_coco(folder)
    put(folder / "more/b.jpg", photo(1))

    dataset = coco_read.read(folder)

    assert any(note.startswith("1 photos are in no annotation file") for note in dataset.notes)


def test_strokes_in_the_extension_count_only_while_the_mask_is_the_same(folder: Path) -> None:
    ops = [{"kind": "polygon", "points": [[5, 5], [15, 5], [15, 15], [5, 15]], "subtract": False}]
    wrong = [{"kind": "polygon", "points": [[0, 0], [15, 5], [15, 15], [5, 15]], "subtract": False}]
    put(folder / "a.jpg", photo())
    records = [
        annotation(1, 1, compressed(), maskwright={"ops": ops}),
        annotation(2, 1, compressed(), maskwright={"ops": wrong}),
        annotation(3, 1, compressed(), maskwright={"ops": "nonsense"}),
    ]
    put(folder / "x.json", coco([image_record(1, "a.jpg")], records))

    dataset = coco_read.read(folder)

    kinds = [type(a.ops[0]) for a in dataset.images[0].annotations]
    assert kinds == [PolygonOp, RleOp, RleOp]
