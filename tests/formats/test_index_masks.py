"""Masks whose numbers or colours are classes: how they are paired, named, read and written."""

import base64
import io
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import AppError, FormatError
from core.domain.labels import PolygonOp, RleOp
from core.domain.mask_classes import Meaning, parse_meanings
from core.formats import index_masks, masks
from core.formats.ingest import import_path
from core.formats.mask_values import MAX_REGIONS
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage
from core.imaging.masks import encode_rle, rasterise
from core.imaging.reading import decode_rgb
from core.storage.store import Store
from tests.formats.builders import SIZE_WH, mask_png, photo, put

HW = (30, 40)
NAMED = parse_meanings("0=background,1=dent,2=rust,255=ignore")


def index_map(**squares: tuple[int, int, int]) -> np.ndarray:
    """Make a map of 0; each square is (value, x, y), 6 pixels wide and high."""
    values = np.zeros(HW, np.uint8)
    for value, x, y in squares.values():
        values[y : y + 6, x : x + 6] = value
    return values


TWO = index_map(a=(1, 2, 2), b=(2, 20, 2), c=(1, 20, 20))


def palette_png(values: np.ndarray, colors: Mapping[int, tuple[int, int, int]]) -> bytes:
    table = np.zeros((256, 3), np.uint8)
    for index, color in colors.items():
        table[index] = color
    image = Image.fromarray(values, "L")
    image.putpalette(table.tobytes(), "RGB")
    return encoded(image)


def painted(values: np.ndarray, colors: Mapping[int, tuple[int, int, int]]) -> np.ndarray:
    rgb = np.zeros((*values.shape, 3), np.uint8)
    for index, color in colors.items():
        rgb[values == index] = color
    return rgb


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def label_map_of(image: SourceImage, numbers: Mapping[str, int]) -> np.ndarray:
    values = np.zeros(HW, np.uint8)
    for annotation in image.annotations:
        values[rasterise(annotation.ops, HW)] = numbers[annotation.category]
    return values


def put_pair(folder: Path, mask: bytes, name: str = "a", seed: int = 0) -> None:
    put(folder / f"images/{name}.jpg", photo(seed))
    put(folder / f"masks/{name}.png", mask)


def test_each_connected_region_of_a_class_becomes_an_annotation(folder: Path) -> None:
    put_pair(folder, mask_png(TWO))

    dataset = index_masks.read_named(folder, NAMED)

    (image,) = dataset.images
    assert [a.category for a in image.annotations] == ["dent", "dent", "rust"]
    assert np.array_equal(label_map_of(image, {"dent": 1, "rust": 2}), TWO)
    assert (image.is_labelled, image.drawn_size_wh) == (True, SIZE_WH)
    assert [(c.name, c.wanted_id) for c in dataset.categories] == [("dent", 1), ("rust", 2), ("ignore", None)]


def test_specks_beyond_fifty_stay_together_so_that_the_list_of_objects_can_be_used(folder: Path) -> None:
    values = np.zeros(HW, np.uint8)
    values[::3, ::3] = 1
    values[9:12, 9:12] = 1
    put_pair(folder, mask_png(values))

    (image,) = index_masks.read_named(folder, NAMED).images

    assert len(image.annotations) == MAX_REGIONS + 1
    assert np.array_equal(label_map_of(image, {"dent": 1}), values)


def test_what_is_ignored_is_one_annotation_and_background_is_none(folder: Path) -> None:
    put_pair(folder, mask_png(index_map(a=(255, 2, 2), b=(255, 20, 20))))
    put_pair(folder, mask_png(np.zeros(HW, np.uint8)), "b", 1)

    dataset = index_masks.read_named(folder, NAMED)

    assert [[a.category for a in image.annotations] for image in dataset.images] == [["ignore"], []]
    assert [image.is_labelled for image in dataset.images] == [True, True]
    assert "Class to ignore" in dataset.notes[0]


def test_a_palette_picture_gives_its_indices_and_the_names_of_its_colours(folder: Path) -> None:
    colors = {1: (128, 0, 0), 2: (0, 128, 0)}
    put_pair(folder, palette_png(TWO, colors))
    put(folder / "label_colors.txt", "0 0 0\tVoid\n128 0 0\tdent\n0 128 0\trust\n")

    dataset = index_masks.read(folder)

    (image,) = dataset.images
    assert np.array_equal(label_map_of(image, {"void": 0, "dent": 1, "rust": 2, "Void": 0}), TWO)


def test_camvid_s_colours_are_named_by_its_list(folder: Path) -> None:
    colors = {0: (0, 0, 0), 1: (64, 0, 128), 2: (128, 128, 128)}
    put(folder / "701_StillsRaw_full/0001.png", photo(1, kind="PNG"))
    put(folder / "LabeledApproved_full/0001_L.png", encoded(Image.fromarray(painted(TWO, colors))))
    put(folder / "label_colors.txt", "64 0 128\tCar\n128 128 128\tSky\n0 0 0\tVoid\n")

    assert index_masks.detect(folder)
    dataset = index_masks.read(folder)

    (image,) = dataset.images
    assert image.name == "701_StillsRaw_full/0001.png"
    drawn = label_map_of(image, {"Car": 1, "Sky": 2, "Void": 0})
    assert np.array_equal(drawn, TWO)
    assert {v.key: v.meaning.color for v in index_masks.find(folder)}["#400080"] == "#400080"


def test_cityscapes_label_ids_are_read_and_its_other_pictures_are_not(folder: Path) -> None:
    values = np.where(TWO == 1, 26, 7).astype(np.uint8)
    values[:2] = 0
    base = "train/aachen/aachen_000000_000019"
    put(folder / f"leftImg8bit/{base}_leftImg8bit.png", photo(1, kind="PNG"))
    put(folder / f"gtFine/{base}_gtFine_labelIds.png", mask_png(values))
    put(folder / f"gtFine/{base}_gtFine_color.png", photo(2, kind="PNG"))
    put(folder / f"gtFine/{base}_gtFine_instanceIds.png", mask_png(values))

    dataset = index_masks.read(folder)

    (image,) = dataset.images
    assert image.split == "train"
    assert np.array_equal(label_map_of(image, {"car": 26, "road": 7, "void": 0}), values)
    assert dataset.refused == ()


def test_the_road_set_holds_its_class_in_the_red_channel(folder: Path) -> None:
    rgb = np.zeros((*HW, 3), np.uint8)
    rgb[..., 0] = np.where(TWO == 1, 10, 7)
    put(folder / "CameraRGB/1.png", photo(1, kind="PNG"))
    put(folder / "CameraSeg/1.png", encoded(Image.fromarray(rgb)))

    (image,) = index_masks.read(folder).images

    assert np.array_equal(label_map_of(image, {"vehicles": 10, "roads": 7}), rgb[..., 0])


@pytest.mark.parametrize(
    ("photo_path", "mask_path"),
    [
        ("train/a.jpg", "trainannot/a.png"),
        ("train/a.jpg", "train/a_mask.png"),
        ("images/train/a.jpg", "labels/train/a.png"),
        ("x/photos/a.jpg", "x/gt/a_label.png"),
    ],
)
def test_masks_are_found_in_other_layouts(folder: Path, photo_path: str, mask_path: str) -> None:
    put(folder / photo_path, photo())
    put(folder / mask_path, mask_png(TWO))

    (image,) = index_masks.read_named(folder, NAMED).images

    assert (image.name, len(image.annotations)) == (photo_path, 3)


def test_roboflow_s_class_table_names_the_values(folder: Path) -> None:
    put(folder / "train/a.jpg", photo())
    put(folder / "train/a_mask.png", mask_png(TWO))
    put(folder / "train/_classes.csv", "Pixel Value, Class\n0, background\n1, dent\n2, rust\n")

    (image,) = index_masks.read(folder).images

    assert (image.split, [a.category for a in image.annotations]) == ("train", ["dent", "dent", "rust"])


def test_values_without_names_are_listed_and_how_to_name_them(folder: Path) -> None:
    put_pair(folder, mask_png(TWO))

    with pytest.raises(FormatError, match=r"0 \(91\.0%\), 1 \(6\.0%\), 2 \(3\.0%\).*--classes 0=background"):
        index_masks.read(folder)


def test_sixteen_bit_numbers_are_read_exactly(folder: Path) -> None:
    put_pair(folder, encoded(Image.fromarray(TWO.astype(np.uint16) * 300)))

    found = index_masks.find(folder)
    dataset = index_masks.read_named(folder, parse_meanings("0=background,300=dent,600=rust"))

    assert [value.key for value in found] == ["0", "300", "600"]
    assert np.array_equal(label_map_of(dataset.images[0], {"dent": 1, "rust": 2}), TWO)
    assert [c.wanted_id for c in dataset.categories] == [None, None]


def test_numbers_of_four_bits_are_not_widened(folder: Path) -> None:
    packed = TWO[:, ::2] << 4 | TWO[:, 1::2]
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = {
        b"IHDR": SIZE_WH[0].to_bytes(4) + SIZE_WH[1].to_bytes(4) + bytes((4, 0, 0, 0, 0)),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks.items():
        png += len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)
    put_pair(folder, png)

    assert [value.key for value in index_masks.find(folder)] == ["0", "1", "2"]


def test_a_value_that_is_asked_about_comes_with_a_picture_of_it(folder: Path) -> None:
    put_pair(folder, mask_png(index_map(a=(1, 2, 2))))
    put_pair(folder, mask_png(index_map(a=(1, 2, 2), b=(2, 30, 20), c=(1, 20, 2))), "b", 1)

    found = {value.key: value for value in index_masks.find(folder)}

    picture = decode_rgb(base64.b64decode(found["2"].example.removeprefix("data:image/jpeg;base64,")))
    assert max(picture.shape) <= 96
    assert picture.mean() < decode_rgb(photo(1)).mean() / 2  # the little that is marked is bright
    put(folder / "classes.csv", "value,name\n0,background\n1,dent\n2,rust\n")
    assert {value.example for value in index_masks.find(folder)} == {""}


def test_colours_that_jpeg_has_blurred_are_snapped_to_the_nearest_class(folder: Path) -> None:
    big = np.kron(TWO, np.ones((7, 7), np.uint8))
    colors = {0: (0, 0, 0), 1: (200, 0, 0), 2: (0, 0, 200)}
    put(folder / "images/a.jpg", photo(size_wh=(280, 210)))
    rgb = Image.fromarray(painted(big, colors))
    put(folder / "labels/a.jpg", encoded(rgb, "JPEG", quality=60, subsampling=0))

    found = [value for value in index_masks.find(folder) if value.share > 0.01]
    meanings = {v.key: Meaning(n) for v, n in zip(found, ("ground", "dent", "rust"), strict=True)}
    (image,) = (dataset := index_masks.read_named(folder, meanings)).images

    drawn = np.zeros(big.shape, np.uint8)
    for annotation in image.annotations:
        drawn[rasterise(annotation.ops, big.shape)] = {"ground": 0, "dent": 1, "rust": 2}[annotation.category]
    assert (drawn == big).mean() > 0.98
    assert any("as JPEG makes them" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        (mask_png(index_map(a=(7, 2, 2))), "values to which no meaning was given: 7"),
        (encoded(Image.fromarray(painted(TWO, {1: (9, 200, 9)}))), "holds colours, where others"),
        (b"no picture", "The file is no image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_and_its_photo_stays_unlabelled(
    folder: Path, mask: bytes, fault: str
) -> None:
    put_pair(folder, mask)

    dataset = index_masks.read_named(folder, NAMED)

    (refusal,) = dataset.refused
    assert (refusal.file, dataset.images[0].is_labelled) == ("masks/a.png", False)
    assert fault in refusal.reason


def test_a_mask_without_a_photo_is_refused_and_a_photo_without_a_mask_is_unlabelled(folder: Path) -> None:
    put_pair(folder, mask_png(TWO))
    put(folder / "masks/lost.png", mask_png(TWO))
    put(folder / "images/bare.jpg", photo(2))

    dataset = index_masks.read_named(folder, NAMED)

    assert [r.file for r in dataset.refused] == ["masks/lost.png"]
    assert {i.name: i.is_labelled for i in dataset.images} == {"images/a.jpg": True, "images/bare.jpg": False}
    assert dataset.notes[-1].startswith("1 photos have no mask")


def test_a_mask_of_another_size_than_its_photo_is_refused_by_the_import(
    store: Store, project_id: str, folder: Path
) -> None:
    put(folder / "images/a.jpg", photo(size_wh=(80, 60)))
    put(folder / "masks/a.png", mask_png(TWO))
    put(folder / "classes.csv", "value,name\n0,background\n1,dent\n2,rust\n")

    report = import_path(store, project_id, folder)

    assert report.images["unsplit"] == 1
    assert "were drawn on a picture of 40 x 30 pixels" in report.refused[0].reason


def test_photos_in_the_masks_place_are_no_masks(folder: Path) -> None:
    put(folder / "images/a.jpg", photo(0, (320, 240)))
    put(folder / "labels/a.jpg", photo(1, (320, 240)))

    with pytest.raises(FormatError, match="they look like photos"):
        index_masks.find(folder)


def test_numbers_of_objects_are_more_than_classes_can_be(folder: Path) -> None:
    put_pair(folder, encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(HW))))

    with pytest.raises(FormatError, match="more than the 255 that classes can have"):
        index_masks.find(folder)


@pytest.mark.parametrize(
    ("values", "is_index"),
    [
        ((TWO > 0).astype(np.uint8), False),
        ((TWO > 0).astype(np.uint8) * 255, False),
        (TWO, True),
        (index_map(a=(1, 2, 2), b=(255, 20, 2)), True),
        (index_map(a=(40, 2, 2), b=(80, 20, 2), c=(120, 20, 20)), True),
        (painted(TWO, {1: (255, 255, 0), 2: (255, 255, 0)}), False),
        (painted(TWO, {1: (255, 255, 0), 2: (0, 255, 0)}), True),
    ],
)
def test_masks_of_one_object_are_told_from_masks_of_classes(
    folder: Path, values: np.ndarray, is_index: bool
) -> None:
    put_pair(folder, encoded(Image.fromarray(values)))

    assert (masks.detect(folder), index_masks.detect(folder)) == (not is_index, is_index)


def test_soft_edges_make_no_classes(folder: Path) -> None:
    disc = np.hypot(*(np.mgrid[:60, :80] - np.array([30, 40])[:, None, None]))
    put(folder / "images/a.jpg", photo(size_wh=(80, 60)))
    put(folder / "masks/a.png", mask_png(np.clip(255 - (disc - 20) * 120, 0, 255).astype(np.uint8)))
    ramp = np.tile(np.linspace(0, 255, 40), (30, 1)).astype(np.uint8)

    assert (masks.detect(folder), index_masks.detect(folder)) == (True, False)
    put(folder / "masks/a.png", mask_png(ramp))
    assert index_masks.detect(folder)


def written(name: str, seed: int, *annotations: SourceAnnotation, split: str | None = None) -> SourceImage:
    return SourceImage(name, lambda: photo(seed), split, annotations, True, SIZE_WH)  # type: ignore[arg-type]


def test_what_is_written_is_read_back_as_the_same_picture(tmp_path: Path) -> None:
    noise = RleOp(HW, encode_rle(np.random.default_rng(0).random(HW) > 0.7))
    square = PolygonOp(((5, 5), (15, 5), (15, 15), (5, 15)))
    drawn = (SourceAnnotation("rust", (noise,)), SourceAnnotation("dent", (square,)))
    dataset = SourceDataset(
        (SourceCategory("dent", 3), SourceCategory("rust", 900), SourceCategory("void", 4)),
        (
            written("a.jpg", 1, *drawn, split="train"),
            written("b.jpg", 2, split="test"),
            written("c.jpg", 3, SourceAnnotation("void", (square,))),
        ),
    )

    index_masks.write_dataset(dataset, tmp_path, {"dent": "#112233"})
    after = index_masks.read(tmp_path)

    numbers = index_masks.class_numbers(dataset)
    assert numbers == {"dent": 3, "rust": 1, "void": 4}
    before = sorted(dataset.images, key=lambda i: photo_key(i))
    for one, other in zip(before, sorted(after.images, key=lambda i: photo_key(i)), strict=True):
        assert np.array_equal(label_map_of(one, numbers), label_map_of(other, numbers))
        assert (other.split, other.is_labelled) == (one.split, True)
    assert {v.key: v.meaning.color for v in index_masks.find(tmp_path)}["3"] == "#112233"
    with Image.open(tmp_path / "train/masks/a.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[9:12] == [0x11, 0x22, 0x33]  # type: ignore[index]


def photo_key(image: SourceImage) -> bytes:
    return image.read()


def test_more_classes_than_a_byte_can_number_are_refused(tmp_path: Path) -> None:
    categories = tuple(SourceCategory(f"c{n}") for n in range(255))

    with pytest.raises(AppError, match="A mask can number 254 classes"):
        index_masks.write_dataset(SourceDataset(categories, ()), tmp_path / "x", {})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("text", ["", "1", "x=dent", "1=", "-1=dent", f"1={'x' * 81}"])
def test_meanings_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_meanings(text)


def test_meanings_tell_roles_by_their_names() -> None:
    meanings = parse_meanings("0=Background, 1=Paint loss,255=Void")

    assert meanings == {
        "0": Meaning("Background", "background"),
        "1": Meaning("Paint loss"),
        "255": Meaning("Void", "ignore"),
    }
