"""Pascal VOC: classes and objects by their numbers, the lists, and 255."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import FormatError
from core.domain.images import ImageFilter
from core.domain.labels import PolygonOp
from core.domain.mask_classes import parse_meanings
from core.formats import index_masks, voc
from core.formats.ingest import import_path, ingest
from core.formats.registry import FORMATS, seen_in
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage
from core.imaging.masks import rasterise
from core.storage import annotations, images, projects
from core.storage.store import Store
from tests.formats.builders import SIZE_WH, mask_png, photo, put
from tests.formats.test_index_masks import HW, TWO, encoded, palette_png

ROOT = "VOCdevkit/VOC2012"
VOC = {n: tuple(bytes.fromhex(color[1:])) for n, color in enumerate(voc.voc_palette())}


def put_voc(
    folder: Path, classes: np.ndarray, objects: np.ndarray | None = None, name: str = "2007_1"
) -> None:
    put(folder / ROOT / f"JPEGImages/{name}.jpg", photo(len(name)))
    put(folder / ROOT / f"SegmentationClass/{name}.png", palette_png(classes, VOC))
    if objects is not None:
        put(folder / ROOT / f"SegmentationObject/{name}.png", palette_png(objects, VOC))


def test_the_palette_is_voc_s() -> None:
    palette = voc.voc_palette()

    assert palette[:5] == ["#000000", "#800000", "#008000", "#808000", "#000080"]
    assert (palette[20], palette[255]) == ("#004080", "#e0e0c0")
    assert len(set(palette)) == 256


def test_voc_s_classes_are_known_and_its_rim_is_kept_to_be_ignored(folder: Path) -> None:
    classes = np.where(TWO == 1, 7, np.where(TWO == 2, 15, 0)).astype(np.uint8)
    classes[28:] = 255
    put_voc(folder, classes)

    dataset = voc.read(folder)

    (image,) = dataset.images
    assert [a.category for a in image.annotations] == ["car", "car", "person", "void"]
    assert np.array_equal(rasterise(image.annotations[3].ops, HW), classes == 255)
    assert [(c.name, c.wanted_id) for c in dataset.categories] == [("car", 7), ("person", 15), ("void", None)]


def test_an_object_stays_one_whatever_parts_it_has_and_touching_ones_stay_two(folder: Path) -> None:
    classes = np.zeros(HW, np.uint8)
    classes[2:8, 2:14] = 7
    classes[20:26, 2:8] = 7
    objects = np.zeros(HW, np.uint8)
    objects[2:8, 2:8] = objects[20:26, 2:8] = 1
    objects[2:8, 8:14] = 2
    put_voc(folder, classes, objects)

    (image,) = voc.read(folder).images

    assert len(image.annotations) == 2
    for number, drawn in enumerate(image.annotations, start=1):
        assert np.array_equal(rasterise(drawn.ops, HW), objects == number)


def test_lists_tell_the_split_and_which_photos_without_a_mask_are_meant(folder: Path) -> None:
    for name in ("a", "bb", "ccc"):
        put_voc(folder, TWO, name=name)
    put(folder / ROOT / "JPEGImages/dddd.jpg", photo(4))
    put(folder / ROOT / "JPEGImages/eeeee.jpg", photo(5))
    put(folder / ROOT / "ImageSets/Segmentation/train.txt", "a\n")
    put(folder / ROOT / "ImageSets/Segmentation/val.txt", "bb\n")
    put(folder / ROOT / "ImageSets/Segmentation/trainval.txt", "a\nbb\n")
    put(folder / ROOT / "ImageSets/Segmentation/test.txt", "dddd\n")

    dataset = voc.read(folder)

    assert {Path(i.name).stem: (i.split, i.is_labelled) for i in dataset.images} == {
        "a": ("train", True),
        "bb": ("valid", True),
        "ccc": (None, True),
        "dddd": ("test", False),
    }
    assert dataset.notes == ("1 photos have no mask and are in no list; they were left out.",)


def test_numbers_that_are_not_voc_s_have_to_be_named(folder: Path) -> None:
    put(folder / "JPEGImages/a.jpg", photo())
    put(folder / "SegmentationClass/a.png", mask_png(TWO))

    with pytest.raises(FormatError, match="--classes 0=background,1=NAME1"):
        voc.read(folder)

    dataset = voc.read_named(folder, parse_meanings("0=background,1=dent,2=rust"))
    assert [a.category for a in dataset.images[0].annotations] == ["dent", "dent", "rust"]


def test_cvat_s_label_map_names_the_colours(folder: Path) -> None:
    put(folder / "JPEGImages/a.jpg", photo())
    rgb = np.zeros((*HW, 3), np.uint8)
    rgb[TWO == 1] = (250, 50, 83)
    rgb[TWO == 2] = (1, 2, 3)
    put(folder / "SegmentationClass/a.png", encoded(Image.fromarray(rgb)))
    classes = "background:0,0,0::\ndent:250,50,83::\nrust:1,2,3::\n"
    put(folder / "labelmap.txt", "# label:color_rgb:parts:actions\n" + classes)

    dataset = voc.read(folder)

    assert [a.category for a in dataset.images[0].annotations] == ["dent", "dent", "rust"]


def test_a_mask_without_a_photo_is_refused(folder: Path) -> None:
    put_voc(folder, TWO)
    put(folder / ROOT / "SegmentationClass/lost.png", palette_png(TWO, VOC))

    dataset = voc.read(folder)

    assert [(r.file, r.reason) for r in dataset.refused] == [
        (f"{ROOT}/SegmentationClass/lost.png", "There is no photo of this name in JPEGImages.")
    ]


def test_only_voc_is_seen_in_voc(folder: Path) -> None:
    put_voc(folder, TWO)

    (seen,) = seen_in(folder)

    assert seen.format == "voc"
    assert seen.sentence == "Pascal VOC (JPEGImages and SegmentationClass): 1 photo, 1 mask."
    assert not index_masks.detect(folder)


@pytest.mark.parametrize("with_split", [True, False])
def test_visible_objects_survive_a_round_trip_through_a_project(
    store: Store, project_id: str, tmp_path: Path, with_split: bool
) -> None:
    under = PolygonOp(((2, 2), (20, 2), (20, 20), (2, 20)))
    over = PolygonOp(((10, 10), (30, 10), (30, 25), (10, 25)))
    hole = PolygonOp(((14, 14), (18, 14), (18, 18), (14, 18)), is_subtract=True)
    drawn = (SourceAnnotation("dent", (under,)), SourceAnnotation("dent", (over, hole)))
    split = "valid" if with_split else None
    taken = SourceImage("a.jpg", lambda: photo(1), split, drawn, True, SIZE_WH)
    bare = SourceImage("b.jpg", lambda: photo(2), None, (), True, SIZE_WH)
    ingest(store, project_id, SourceDataset((SourceCategory("dent", 3),), (taken, bare)))
    other = projects.create(store, "copy").id

    FORMATS["voc"].write(store, project_id, tmp_path / "out")  # type: ignore[misc]
    report = import_path(store, other, tmp_path / "out")

    assert report.refused == ()
    listed = {i.name: i for i in images.list_page(store, other, ImageFilter())}
    image = listed["JPEGImages/a.jpg"]
    assert image.split == split and listed["JPEGImages/b.jpg"].is_labelled
    masks = [rasterise(a.ops, HW) for a in annotations.current(store, image.id).annotations]
    upper = rasterise((over, hole), HW)
    assert len(masks) == 2
    assert np.array_equal(masks[0], rasterise((under,), HW) & ~upper)
    assert np.array_equal(masks[1], upper)
    with Image.open(tmp_path / "out/SegmentationClass/a.png") as mask:
        assert (mask.mode, mask.getpalette()[:6]) == ("P", [0, 0, 0, 128, 0, 0])  # type: ignore[index]
