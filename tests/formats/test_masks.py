"""Reading mask pictures beside photos."""

from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import FormatError
from core.formats import masks
from core.imaging.masks import rasterise
from tests.formats.builders import mask_png, photo, put

DOT = [(3, 4)]


def test_a_label_studio_export_is_paired_by_task_number(folder: Path) -> None:
    put(folder / "images/5.jpg", photo(5))
    put(folder / "images/15.jpg", photo(15))
    put(folder / "masks/task-5-annotation-19-by-1-tag-Severe Damages-0.png", mask_png(DOT))
    put(folder / "masks/task-5-annotation-19-by-1-tag-Small dent-1.png", mask_png([(1, 1)]))
    put(folder / "masks/task-15-annotation-20-by-1-tag-No Damage-0.png", mask_png([]))

    dataset = masks.read(folder)

    by_name = {image.name: image for image in dataset.images}
    assert [a.category for a in by_name["images/5.jpg"].annotations] == ["Severe Damages", "Small dent"]
    assert by_name["images/15.jpg"].annotations == ()
    assert by_name["images/15.jpg"].is_labelled
    assert [c.name for c in dataset.categories] == ["Severe Damages", "Small dent"]
    assert dataset.notes == ("Labelled as without damage, as their masks' class says: images/15.jpg.",)
    assert dataset.refused == ()


@pytest.mark.parametrize(
    ("mask_name", "category"),
    [
        ("car_1.png", "damage"),
        ("car_1_mask.png", "damage"),
        ("car_1_dent.png", "dent"),
        ("car_1_paint loss.png", "paint loss"),
        ("car_1__dent.png", "dent"),
        ("car_1__paint_loss__3.png", "paint_loss"),
        ("car_1__a%2Fb__1.png", "a/b"),
    ],
)
def test_a_mask_name_tells_photo_and_class(folder: Path, mask_name: str, category: str) -> None:
    put(folder / "images/car.jpg", photo(0))
    put(folder / "images/car_1.jpg", photo(1))
    put(folder / "masks" / mask_name, mask_png(DOT))

    dataset = masks.read(folder)

    assert [[a.category for a in image.annotations] for image in dataset.images] == [[], [category]]
    assert [image.is_labelled for image in dataset.images] == [False, True]


def test_soft_edges_are_cut_at_128_and_zero_one_masks_are_understood(folder: Path) -> None:
    soft = np.zeros((30, 40), np.uint8)
    soft[0, :3] = (127, 128, 255)
    binary = np.zeros((30, 40), np.uint8)
    binary[5:7, 5:7] = 1
    for name, values in {"soft": soft, "binary": binary}.items():
        put(folder / f"images/{name}.jpg", photo(len(name)))
        put(folder / f"masks/{name}.png", mask_png(values))

    dataset = masks.read(folder)

    found = {image.name: rasterise(image.annotations[0].ops, (30, 40)) for image in dataset.images}
    assert np.array_equal(found["images/soft.jpg"], soft >= 128)
    assert np.array_equal(found["images/binary.jpg"], binary == 1)


def test_the_number_in_the_name_is_the_painting_order(folder: Path) -> None:
    put(folder / "images/a.jpg", photo())
    for number, category in ((10, "scratch"), (2, "dent")):
        put(folder / f"masks/a__{category}__{number}.png", mask_png(DOT))

    dataset = masks.read(folder)

    assert [a.category for a in dataset.images[0].annotations] == ["dent", "scratch"]


def test_splits_come_from_folders_and_pairs_stay_within_them(folder: Path) -> None:
    for number, split in enumerate(("train", "test")):
        put(folder / split / "images/a.jpg", photo(number))
        put(folder / split / "masks" / f"a_{split}ed.png", mask_png(DOT))

    dataset = masks.read(folder)

    assert [(i.split, i.annotations[0].category) for i in dataset.images] == [
        ("test", "tested"),
        ("train", "trained"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.png", mask_png([]), "The mask is empty."),
        ("a.png", mask_png(np.full((30, 40), 7, np.uint8)), "The mask's highest value is 7"),
        ("a.png", b"no picture", "The file is no image"),
        ("b.png", mask_png(DOT), "There is no photo whose name"),
        ("task-3-annotation-1-by-1-tag-x-0.png", mask_png(DOT), "There is no photo 3"),
        (f"a_{'x' * 81}.png", mask_png(DOT), "A category needs a name of 1 to 80"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_and_its_photo_stays_unlabelled(
    folder: Path, name: str, content: bytes, fault: str
) -> None:
    put(folder / "images/a.jpg", photo())
    put(folder / "masks" / name, content)

    dataset = masks.read(folder)

    (refusal,) = dataset.refused
    assert refusal.file == f"masks/{name}"
    assert fault in refusal.reason
    assert [image.is_labelled for image in dataset.images] == [False]


def test_a_folder_without_masks_or_photos_is_refused(folder: Path) -> None:
    put(folder / "images/a.jpg", photo())

    with pytest.raises(FormatError, match="no mask pictures"):
        masks.read(folder)

    put(folder / "only/masks/a.png", mask_png(DOT))
    with pytest.raises(FormatError, match="no photos beside"):
        masks.read(folder / "only")
