"""VIA's json files are read, of version 1 and 2 and with any attribute as the class, and written."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.domain.errors import FormatError
from core.formats import via
from tests.formats.builders import photo, put
from tests.formats.drawn import areas, check_replacing, damage, files_in, masks_of

SQUARE = {"name": "polygon", "all_points_x": [5, 15, 15, 5], "all_points_y": [5, 5, 15, 15]}


def region(shape: object = SQUARE, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes or {"class": "dent"}}


def entry(*regions: Any, filename: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"filename": filename, "size": 1234, "regions": list(regions), "file_attributes": {}} | more


def project(*entries: Any, **attributes: Any) -> str:
    """A project as VIA 2 saves it."""
    metadata = {f"{e['filename']}{number}": e for number, e in enumerate(entries)}
    return json.dumps(
        {
            "_via_settings": {"ui": {}, "core": {}, "project": {"name": "cars"}},
            "_via_img_metadata": metadata,
            "_via_attributes": {"region": attributes, "file": {}},
            "_via_data_format_version": "2.0.10",
            "_via_image_id_list": list(metadata),
        }
    )


def one_photo(folder: Path, *regions: Any, **attributes: Any) -> Path:
    put(folder / "a.jpg", photo())
    put(folder / "via.json", project(entry(*regions), **attributes))
    return folder


def dropdown(**options: str) -> dict[str, Any]:
    return {"type": "dropdown", "description": "", "options": options, "default_options": {}}


def test_a_written_project_has_what_via_looks_for(tmp_path: Path) -> None:
    via.write_dataset(damage(with_splits=True), tmp_path)

    content = json.loads((tmp_path / "train/via_project.json").read_text(encoding="utf-8"))
    (key,) = content["_via_image_id_list"]
    (first, _, last) = content["_via_img_metadata"][key]["regions"]
    assert key == f"1.jpg{(tmp_path / 'train/1.jpg').stat().st_size}"
    assert first["shape_attributes"]["name"] == "polygon"
    assert last["shape_attributes"] == {
        "name": "polygon",
        "all_points_x": [20, 30, 30],
        "all_points_y": [5, 5, 15],
    }
    assert last["region_attributes"] == {"class": "dent"}
    assert list(content["_via_attributes"]["region"]["class"]["options"]) == ["dent", "Kratzer & Riß", "rust"]
    undamaged = json.loads((tmp_path / "valid/via_project.json").read_text(encoding="utf-8"))
    assert [e["file_attributes"] for e in undamaged["_via_img_metadata"].values()] == [{"no damage": "yes"}]
    assert "unsplit/via_project.json" in files_in(tmp_path)


def test_published_shapes_become_regions(folder: Path) -> None:
    one_photo(
        folder,
        region(),
        region({"name": "rect", "x": 5, "y": 5, "width": 10, "height": 4}),
        region({"name": "circle", "cx": 20, "cy": 15, "r": 5.5}),
        region({"name": "ellipse", "cx": 20, "cy": 15, "rx": 12, "ry": 6}),
        region({"name": "ellipse", "cx": 20, "cy": 15, "rx": 12, "ry": 6, "theta": math.pi / 2}),
        region({"name": "polyline", "all_points_x": [5, 15, 15, 5, 5], "all_points_y": [5, 5, 15, 15, 5]}),
    )

    (image,) = via.read(folder).images

    assert via.detect(folder)
    rows, columns = np.mgrid[:30, :40] + 0.5
    masks = [mask for _, mask in masks_of(image)]
    assert [int(mask.sum()) for mask in (masks[0], masks[1], masks[5])] == [100, 40, 100]
    assert np.array_equal(masks[2], (columns - 20) ** 2 + (rows - 15) ** 2 <= 5.5**2)
    lying = ((columns - 20) / 12) ** 2 + ((rows - 15) / 6) ** 2
    standing = ((columns - 20) / 6) ** 2 + ((rows - 15) / 12) ** 2
    for mask, distance in ((masks[3], lying), (masks[4], standing)):
        assert mask[distance < 0.9].all()
        assert not mask[distance > 1.1].any()


def test_annotations_only_and_version_1_are_read(folder: Path) -> None:
    put(folder / "a.jpg", photo(1))
    put(folder / "b.jpg", photo(2))
    put(folder / "a.json", json.dumps({"a.jpg1234": entry(region())}))
    put(folder / "b.json", json.dumps({"b": entry(filename="b.jpg") | {"regions": {"0": region()}}}))

    dataset = via.read(folder)

    assert via.detect(folder)
    assert [(image.name, areas(image)) for image in dataset.images] == [
        ("a.jpg", [("dent", 100)]),
        ("b.jpg", [("dent", 100)]),
    ]


@pytest.mark.parametrize(
    ("values", "attributes", "category"),
    [
        ({"damage kind": "dent"}, {}, "dent"),
        ({"label": "dent", "note": "left door"}, {}, "dent"),
        ({"part": "door", "kind": "dent"}, {"kind": dropdown(dent="", rust="")}, "dent"),
        ({"kind": "1", "note": "x"}, {"kind": dropdown(**{"1": "dent", "2": "rust"})}, "dent"),
        ({"kind": {"dent": True, "rust": False}}, {"kind": dropdown(dent="", rust="")}, "dent"),
        (
            {"part": "1", "type": "2"},
            {"part": dropdown(**{"1": "door"}), "type": dropdown(**{"2": "dent"})},
            "dent",
        ),
    ],
)
def test_the_class_is_the_attribute_with_options_or_the_only_or_usual_one(
    folder: Path, values: dict[str, Any], attributes: dict[str, Any], category: str
) -> None:
    one_photo(folder, region(SQUARE, **values), **attributes)

    assert areas(via.read(folder).images[0]) == [(category, 100)]


def test_options_are_categories_even_if_nothing_shows_them(folder: Path) -> None:
    one_photo(folder, region(SQUARE, kind="rust"), kind=dropdown(dent="", rust=""))

    assert [category.name for category in via.read(folder).categories] == ["dent", "rust"]


def test_attributes_that_leave_the_class_open_are_asked_about(folder: Path) -> None:
    one_photo(folder, region(SQUARE, part="door", colour="red"))

    with pytest.raises(FormatError, match=r"via.json: any of the region attributes part, colour may be"):
        via.read(folder)


def test_regions_without_any_attribute_are_damage(folder: Path) -> None:
    one_photo(folder, {"shape_attributes": SQUARE, "region_attributes": {}})

    dataset = via.read(folder)

    assert areas(dataset.images[0]) == [("damage", 100)]
    assert "their class is “damage”" in dataset.notes[0]


def test_a_photo_without_regions_is_unlabelled_unless_it_says_no_damage(folder: Path) -> None:
    for number, name in enumerate("abcd"):
        put(folder / f"{name}.jpg", photo(number))
    entries = [
        entry(region()),
        entry(filename="b.jpg"),
        entry(filename="c.jpg", file_attributes={"No damage": "yes"}),
        entry(filename="d.jpg", file_attributes={"state": "no damage"}),
    ]
    put(folder / "via.json", project(*entries))

    dataset = via.read(folder)

    assert [image.is_labelled for image in dataset.images] == [True, False, True, True]
    assert "1 photos in via.json have no regions" in dataset.notes[0]


def test_a_photo_beside_another_file_of_labels_is_never_taken_by_its_name_alone(folder: Path) -> None:
    put(folder / "train/a.jpg", photo(1))
    put(folder / "train/via.json", project(entry(region())))
    put(folder / "test/via.json", project(entry(region(), region())))

    dataset = via.read(folder)

    assert [(image.name, areas(image)) for image in dataset.images] == [("train/a.jpg", [("dent", 100)])]
    assert [r.reason for r in dataset.refused] == ["test/via.json names this photo, but it is not there."]


def test_photos_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    put(folder / "x/a.jpg", photo(1))
    put(folder / "y/a.jpg", photo(2))
    put(folder / "via.json", project(entry(region(), filename="y/a.jpg"), entry(filename="/z/a.jpg")))

    dataset = via.read(folder)

    assert [image.name for image in dataset.images] == ["y/a.jpg"]
    assert [(r.file, "not there" in r.reason) for r in dataset.refused] == [("/z/a.jpg", True)]


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}), "2 points"),
        (region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}), "3 values of x"),
        (region({"name": "polygon", "all_points_x": "123", "all_points_y": [1, 2, 3]}), "is not a list"),
        (
            region({"name": "polygon", "all_points_x": [1, 2, float("nan")], "all_points_y": [1, 2, 3]}),
            "number",
        ),
        (region({"name": "polyline", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]}), "no area"),
        (region({"name": "polyline", "all_points_x": [1, 9, 9, 1], "all_points_y": [1, 1, 9, 9]}), "no area"),
        (region({"name": "point", "cx": 1, "cy": 1}), "no area"),
        (region({"name": "circle", "cx": 1, "cy": 1, "r": 0}), "radius"),
        (region({"name": "circle", "cx": 1, "cy": 1, "r": 1e8}), "radius"),
        (region({"name": "ellipse", "cx": 1, "cy": 1, "rx": 3, "ry": -1}), "radii"),
        (region({"name": "rect", "x": 1, "y": 1, "width": None, "height": 2}), "not a number"),
        (region({"name": "star"}), "no shape “star”"),
        (region(None), "not an object"),
        ("text", "not an object"),
        ({"shape_attributes": SQUARE, "region_attributes": {}}, "names no class"),
        (region(SQUARE, **{"class": {"dent": True, "rust": True}}), "names no class"),
    ],
)
def test_a_bad_region_is_refused_alone(folder: Path, bad: Any, fault: str) -> None:
    one_photo(folder, region(), bad)

    dataset = via.read(folder)

    assert areas(dataset.images[0]) == [("dent", 100)]
    assert [r.file for r in dataset.refused] == ["a.jpg"]
    assert dataset.refused[0].reason.startswith("Region 2: ")
    assert fault in dataset.refused[0].reason


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"_via_img_metadata": {', "no valid json"),
        (b'{"_via_img_metadata": []}', "is not an object"),
        (b'{"_via_img_metadata": {"a": 3}}', "no file of VIA's"),
        (b'{"x": {"filename": "a.jpg", "regions": [], "file_attributes": {}}, "y": 1}', "no file of VIA's"),
        (b'{"_via_img_metadata": "\xff"}', "no valid json"),
    ],
)
def test_a_bad_file_is_refused_alone_with_its_fault(folder: Path, content: bytes, fault: str) -> None:
    one_photo(folder, region())
    put(folder / "bad.json", content)

    dataset = via.read(folder)

    assert [image.name for image in dataset.images] == ["a.jpg"]
    assert [r.file for r in dataset.refused] == ["bad.json"]
    assert fault in dataset.refused[0].reason


def test_an_entry_whose_regions_are_no_list_is_refused_alone(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "b.jpg", photo(1))
    bad = entry(filename="b.jpg") | {"regions": 5}
    put(folder / "via.json", project(entry(region()), bad))

    dataset = via.read(folder)

    assert [(image.name, len(image.annotations)) for image in dataset.images] == [("a.jpg", 1)]
    assert [(refusal.file, "is not a list" in refusal.reason) for refusal in dataset.refused] == [
        ("b.jpg", True)
    ]


def test_other_json_and_via_3_are_named(folder: Path) -> None:
    put(folder / "a.json", '{"images": [], "annotations": [], "categories": []}')
    assert not via.detect(folder)
    with pytest.raises(FormatError, match="no file of VIA's"):
        via.read(folder)

    put(folder / "a.json", '{"project": {}, "view": {}, "metadata": {}, "attribute": {}}')
    with pytest.raises(FormatError, match="VIA 3; export its annotations as COCO"):
        via.read(folder)


def test_an_export_replaces_an_earlier_one_but_no_labels_from_elsewhere(tmp_path: Path) -> None:
    check_replacing(via.write_dataset, tmp_path, "via_project.json", project(entry(region())))
