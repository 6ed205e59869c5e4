"""Label Studio's json is read, long and short, with its brush masks, and written."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.domain.errors import FormatError
from core.domain.labels import ImageState
from core.formats import label_studio
from core.formats.brush_rle import decode_brush, encode_brush
from core.formats.ingest import import_path
from core.storage.store import Store
from tests.formats.builders import photo, put
from tests.formats.drawn import areas, check_replacing, damage, files_in, kept, masks_of

# A square of 10 x 10 pixels on a photo of 40 x 30, in percent.
SQUARE = [[12.5, 16.666666], [37.5, 16.666666], [37.5, 50], [12.5, 50]]


def result(value: dict[str, Any], kind: str = "polygonlabels", **more: Any) -> dict[str, Any]:
    """A region as Label Studio exports it."""
    return {
        "original_width": 40,
        "original_height": 30,
        "image_rotation": 0,
        "value": value,
        "id": "XSMXwwsaTa",
        "from_name": "tag",
        "to_name": "img",
        "type": kind,
        "origin": "manual",
    } | more


def polygon(label: str = "dent", points: Any = SQUARE, **more: Any) -> dict[str, Any]:
    return result({"points": points, "closed": True, "polygonlabels": [label]}, **more)


def annotation(*results: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": 11,
        "completed_by": 1,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2024-03-09T21:52:49.513742Z",
        "updated_at": "2024-03-09T22:16:08.746926Z",
    } | more


def task(*annotations: Any, image: str = "/data/upload/1/0a1b2c3d-a.jpg", **more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "annotations": list(annotations),
        "file_upload": image.rpartition("/")[2],
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
    } | more


def tasks(*annotations: Any, **more: Any) -> str:
    return json.dumps([task(*annotations, **more)])


def one_photo(folder: Path, *results: Any) -> Path:
    put(folder / "a.jpg", photo())
    put(folder / "project-1.json", json.dumps([task(annotation(*results))]))
    return folder


def bits(*parts: tuple[int, int]) -> list[int]:
    """Pack (number, how many bits) into bytes."""
    text = "".join(f"{number:0{count}b}" for number, count in parts)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


HEAD = ((7, 5), (2, 4), (3, 4), (7, 4), (15, 4))


def test_written_tasks_name_local_files_and_the_interface_names_the_classes(tmp_path: Path) -> None:
    label_studio.write_dataset(damage(with_splits=True), tmp_path)

    (first,) = json.loads((tmp_path / "train/tasks.json").read_text())
    (undamaged,) = json.loads((tmp_path / "valid/tasks.json").read_text())
    kinds = [r["type"] for r in first["annotations"][0]["result"]]
    assert kinds == ["brushlabels", "brushlabels", "polygonlabels"]
    assert first["data"] == {"image": "/data/local-files/?d=train/images/1.jpg"}
    assert undamaged["data"]["image"].endswith(quote("größe 1.jpg"))
    assert undamaged["annotations"][0]["result"] == []
    interface = (tmp_path / "label_config.xml").read_text(encoding="utf-8")
    assert '<Label value="Kratzer &amp; Riß" />' in interface
    assert "unsplit/images/1.jpg" in files_in(tmp_path)


def test_published_regions_become_regions(folder: Path) -> None:
    mask = np.zeros((30, 40), np.bool_)
    mask[3:7, 10:20] = True
    box = {"x": 12.5, "y": 16.666666, "width": 25, "height": 10, "rotation": 0}
    one_photo(
        folder,
        polygon(),
        result(box | {"rectanglelabels": ["rust"]}, "rectanglelabels"),
        result(box | {"rotation": 90, "rectanglelabels": ["rust"]}, "rectanglelabels"),
        result(
            {"x": 50, "y": 50, "radiusX": 30, "radiusY": 20, "rotation": 0, "ellipselabels": ["dent"]},
            "ellipselabels",
        ),
        result({"format": "rle", "rle": encode_brush(mask), "brushlabels": ["hail"]}, "brushlabels"),
    )

    (image,) = label_studio.read(folder).images

    assert label_studio.detect(folder)
    assert areas(image)[:3] == [("dent", 100), ("rust", 30), ("rust", 30)]
    # A rectangle turns around its top left corner (5, 5): clockwise by 90 degrees it lies left of it.
    assert np.argwhere(masks_of(image)[2][1])[[0, -1]].tolist() == [[5, 2], [14, 4]]
    rows, columns = np.mgrid[:30, :40] + 0.5
    distance = ((columns - 20) / 12) ** 2 + ((rows - 15) / 6) ** 2
    assert masks_of(image)[3][1][distance < 0.9].all()
    assert not masks_of(image)[3][1][distance > 1.1].any()
    assert np.array_equal(masks_of(image)[4][1], mask)


def test_the_short_export_is_read_and_the_newest_row_of_a_photo_counts(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    value = {"points": SQUARE, "closed": True, "original_width": 40, "original_height": 30}
    row = {"image": "/data/upload/1/0a1b2c3d-a.jpg", "id": 1, "annotator": 1, "annotation_id": 1}
    rows = [
        row | {"tag": [value | {"polygonlabels": ["rust"]}], "updated_at": "2024-05-01T00:00:00Z"},
        row | {"tag": [value | {"polygonlabels": ["dent"]}], "updated_at": "2024-03-01T00:00:00Z"},
    ]
    put(folder / "min.json", json.dumps(rows))

    dataset = label_studio.read(folder)

    assert label_studio.detect(folder)
    assert [areas(image) for image in dataset.images] == [[("rust", 100)]]
    assert "1 photos in min.json have several annotations" in dataset.notes[0]


def test_old_completions_and_single_tasks_are_read(folder: Path) -> None:
    put(folder / "spacexmoon.jpg", photo())
    old = {
        "completions": [{"result": [{k: v for k, v in polygon().items() if "original" not in k}]}],
        "data": {"image": "https://user.fm/files/v2-90/spacexmoon.jpg"},
        "id": 0,
    }
    put(folder / "completions/0.json", json.dumps(old))

    (image,) = label_studio.read(folder).images

    assert label_studio.detect(folder)
    assert image.drawn_size_wh == (40, 30)
    assert areas(image) == [("dent", 100)]


@pytest.mark.parametrize(
    ("annotations", "category"),
    [
        ([annotation(polygon("a"), ground_truth=True), annotation(polygon("b"))], "a"),
        ([annotation(polygon("a"), updated_at="2025"), annotation(polygon("b"), updated_at="2024")], "a"),
        ([annotation(polygon("a")), annotation(polygon("b"))], "b"),
        ([annotation(polygon("a")), annotation(polygon("b"), was_cancelled=True)], "a"),
    ],
)
def test_of_several_annotators_the_ground_truth_or_the_newest_counts(
    folder: Path, annotations: list[Any], category: str
) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "p.json", json.dumps([task(*annotations)]))

    assert areas(label_studio.read(folder).images[0]) == [(category, 100)]


def test_no_regions_mean_no_damage_and_no_annotation_means_unlabelled(folder: Path) -> None:
    for number, name in enumerate("abc"):
        put(folder / f"{name}.jpg", photo(number))
    tasks = [
        task(annotation()),
        task(image="b.jpg", predictions=[annotation(polygon())]),
        task(annotation(polygon(), was_cancelled=True), image="c.jpg"),
    ]
    put(folder / "p.json", json.dumps(tasks))

    dataset = label_studio.read(folder)

    assert [(i.is_labelled, i.annotations) for i in dataset.images] == [(True, ()), (False, ()), (False, ())]


@pytest.mark.parametrize(
    ("image", "photo_at"),
    [
        ("/data/upload/1/0a1b2c3d-a.jpg", "0a1b2c3d-a.jpg"),
        ("/data/upload/1/0a1b2c3d-a.jpg", "images/a.jpg"),
        ("/data/local-files/?d=cars/day%201/a.jpg", "cars/day 1/a.jpg"),
        ("s3://bucket/cars/a.jpg", "a.jpg"),
        ("https://example.com/x/a.jpg?sig=1%2F2&d=", "x/a.jpg"),
        ("../../a.jpg", "a.jpg"),
    ],
)
def test_the_photo_is_found_with_or_without_what_label_studio_adds(
    folder: Path, image: str, photo_at: str
) -> None:
    put(folder / photo_at, photo())
    put(folder / "export/p.json", json.dumps([task(annotation(polygon()), image=image)]))

    assert [read.name for read in label_studio.read(folder).images] == [photo_at]


def test_a_region_said_twice_counts_once_and_answers_are_told(folder: Path) -> None:
    one_photo(
        folder,
        result({"points": SQUARE, "closed": True}, "polygon", id="one"),
        result({"points": SQUARE, "closed": True, "labels": ["dent"]}, "labels", id="one"),
        result({"choices": ["total loss"]}, "choices", id="two"),
    )

    dataset = label_studio.read(folder)

    assert areas(dataset.images[0]) == [("dent", 100)]
    assert dataset.refused == ()
    assert dataset.notes == ("1 answers in project-1.json are no regions and were not taken.",)


def test_labels_of_another_picture_size_are_refused_as_a_whole(
    store: Store, project_id: str, folder: Path
) -> None:
    one_photo(folder, polygon(original_width=80, original_height=60))

    report = import_path(store, project_id, folder)

    assert "drawn on a picture of 80 x 60" in report.refused[0].reason
    assert kept(store, project_id)[0][2] is ImageState.UNLABELLED


BRUSH = {"format": "rle", "brushlabels": ["dent"]}


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (polygon(points=[[1, 1], [2, 2]]), "2 points"),
        (polygon(points=[[1, 1], [2, 2], [3, 300]]), "no percentages"),
        (polygon(points=[[1, 1], [2, 2], [3, float("nan")]]), "not a number"),
        (polygon(points=[[1, 1], [2, 2], 3]), "not a list"),
        (polygon(label=""), "needs a name"),
        (result({"points": SQUARE}), "0 classes"),
        (result({"points": SQUARE, "polygonlabels": ["dent", "rust"]}), "2 classes"),
        (polygon(image_rotation=90), "drawn on the photo turned"),
        (result({"x": 1, "y": 1, "width": 2, "rectanglelabels": ["dent"]}), "not a number"),
        (result(BRUSH | {"rle": [1, 2, 999]}), "no list of numbers from 0 to 255"),
        (result(BRUSH | {"rle": []}), "ends too early"),
        (result(BRUSH | {"rle": encode_brush(np.ones((3, 3), np.bool_))}), "40 x 30 pixels of its photo"),
        (result(BRUSH | {"rle": encode_brush(np.eye(30, 40) > 0)[:-9]}), "ends too"),
        (result(BRUSH | {"rle": "text"}), "not a list"),
        (
            result(BRUSH | {"rle": bits((4800, 32), *HEAD, (1, 1), (3, 2), (65535, 16), (9, 8))}),
            "more pixels",
        ),
    ],
)
def test_a_bad_region_is_refused_alone(folder: Path, bad: dict[str, Any], fault: str) -> None:
    one_photo(folder, polygon(), bad | {"id": "other"})

    dataset = label_studio.read(folder)

    assert areas(dataset.images[0]) == [("dent", 100)]
    assert [r.file for r in dataset.refused] == ["a.jpg"]
    assert dataset.refused[0].reason.startswith("Region 2: ")
    assert fault in dataset.refused[0].reason


@pytest.mark.parametrize(
    ("content", "file", "fault"),
    [
        ('[{"was_cancelled": 1, "result": [}', "bad.json", "no valid json"),
        ('[{"was_cancelled": 1, "result": []}]', "bad.json", "no file of Label Studio's"),
        ('[3, {"was_cancelled": 1, "result": []}]', "bad.json", "not an object"),
        (tasks(annotation(), image="gone.jpg"), "gone.jpg", "not there"),
        (tasks(annotation(), data={"text": "no photo"}, file_upload=""), "bad.json", "names no photo"),
        (tasks(annotation(result=7), image="b.jpg"), "b.jpg", "“result” is not a list"),
        (tasks(7, x={"was_cancelled": 1, "result": 2}), "bad.json", "not an object"),
        (tasks(annotation(polygon(original_width=10**9)), image="b.jpg"), "b.jpg", "larger than any"),
    ],
)
def test_a_bad_file_or_task_is_refused_alone(folder: Path, content: str, file: str, fault: str) -> None:
    one_photo(folder, polygon())
    put(folder / "b.jpg", photo(1))
    put(folder / "bad.json", content)

    dataset = label_studio.read(folder)

    assert [image.name for image in dataset.images] == ["a.jpg"]
    assert [(r.file, fault in r.reason) for r in dataset.refused] == [(file, True)]


def test_other_json_is_no_label_studio(folder: Path) -> None:
    put(folder / "a.json", '{"images": [], "annotations": [], "categories": []}')

    assert not label_studio.detect(folder)
    with pytest.raises(FormatError, match="no file of Label Studio's"):
        label_studio.read(folder)


def by_the_book(code: list[int]) -> list[int]:
    """Decode the run-length code value by value, as its description says."""
    text = "".join(f"{byte:08b}" for byte in code)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(text[at - count : at], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        is_run = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if is_run else [take(word) for _ in range(length)]
    return values


MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_brush_masks_are_encoded_as_the_code_s_description_says(mask: np.ndarray) -> None:
    code = encode_brush(mask)

    assert by_the_book(code) == np.repeat(mask.ravel(), 4).astype(int).dot(255).tolist()
    assert np.array_equal(decode_brush(code, (mask.shape[1], mask.shape[0])), mask)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 255), min_size=1, max_size=8)), max_size=40))
def test_any_mixture_of_runs_and_single_values_is_decoded(blocks: list[tuple[bool, list[int]]]) -> None:
    parts: list[tuple[int, int]] = []
    values: list[int] = []
    for is_run, words in blocks:
        length = len(words)
        parts += [(is_run, 1), (0, 2), (length - 1, 3)]
        parts += [(words[0], 8)] if is_run else [(word, 8) for word in words]
        values += [words[0]] * length if is_run else words
    missing = -len(values) % 4
    if missing:
        parts += [(1, 1), (0, 2), (missing - 1, 3), (0, 8)]
    values += [0] * missing
    if not values:
        return
    opacity = np.array(values[3::4])

    decoded = decode_brush(bits((len(values), 32), *HEAD, *parts), (len(values) // 4, 1))

    assert decoded[0].tolist() == (opacity >= max(min(int(opacity.max()), 128), 1)).tolist()


def test_a_large_brush_mask_needs_long_runs(tmp_path: Path) -> None:
    mask = np.zeros((600, 800), np.bool_)
    mask[100:500, 3:] = True

    code = encode_brush(mask)

    assert len(code) < 8000
    assert np.array_equal(decode_brush(code, (800, 600)), mask)


def test_an_export_replaces_an_earlier_one_but_no_labels_from_elsewhere(tmp_path: Path) -> None:
    check_replacing(label_studio.write_dataset, tmp_path, "tasks.json", tasks(annotation()))
