"""NumPy archives: arrays told by shape and type, never unpickled."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import FormatError
from core.domain.labels import PolygonOp
from core.domain.mask_classes import parse_meanings
from core.formats import npz
from core.formats.ingest import import_path
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage
from core.imaging.masks import rasterise
from core.storage.store import Store
from tests.formats.builders import SIZE_WH, photo, put
from tests.formats.test_index_masks import HW, TWO, label_map_of

NAMED = parse_meanings("0=background,1=dent,2=rust")
NUMBERS = {"dent": 1, "rust": 2}
RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (2, *HW, 3), np.uint8)
MASKS = np.stack([TWO, np.zeros(HW, np.uint8)])


def packed(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def pixels(image: SourceImage) -> np.ndarray:
    with Image.open(io.BytesIO(image.read())) as opened:
        return np.asarray(opened)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (PHOTOS, MASKS),
        (PHOTOS, MASKS[..., None].astype(np.int64)),
        (PHOTOS, np.eye(3, dtype=np.uint8)[MASKS]),
        (PHOTOS, np.eye(3, dtype=np.float32)[MASKS]),
        (PHOTOS, MASKS.astype(np.float64)),
        (PHOTOS.astype(np.float32), MASKS),
        (PHOTOS / 255, MASKS),
        (PHOTOS[..., 0], MASKS),
        (PHOTOS[..., :1], MASKS),
    ],
)
def test_images_and_masks_arrive_exactly_in_every_shape(
    folder: Path, images: np.ndarray, masks: np.ndarray
) -> None:
    put(folder / "mars.npz", packed(X=images, y=masks))

    dataset = npz.read_named(folder, NAMED)

    assert [i.name for i in dataset.images] == ["mars_00000.png", "mars_00001.png"]
    assert np.array_equal(label_map_of(dataset.images[0], NUMBERS), TWO)
    assert (dataset.images[1].annotations, dataset.images[1].is_labelled) == ((), True)
    expected = PHOTOS if images.ndim == 4 and images.shape[3] == 3 else PHOTOS[..., 0]
    assert np.array_equal(pixels(dataset.images[1]), expected[1])


def test_splits_are_paired_by_what_their_names_share(folder: Path) -> None:
    arrays = {"X_train": PHOTOS, "X_test": PHOTOS[::-1], "y_train": MASKS, "y_test": MASKS[::-1]}
    put(folder / "set.npz", packed(**arrays))

    dataset = npz.read_named(folder, NAMED)

    assert [(i.split, len(i.annotations)) for i in dataset.images] == [
        ("test", 0),
        ("test", 3),
        ("train", 3),
        ("train", 0),
    ]


def test_grey_images_and_masks_of_one_shape_are_told_by_their_names(folder: Path) -> None:
    put(folder / "a.npz", packed(masks=MASKS, images=PHOTOS[..., 1]))

    (image, _) = npz.read_named(folder, NAMED).images

    assert np.array_equal(pixels(image), PHOTOS[0, ..., 1])


def test_objects_are_never_unpickled(folder: Path, store: Store, project_id: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "sprung",)

    put(folder / "evil.npz", packed(images=PHOTOS, masks=MASKS, extra=np.array([Trap()], dtype=object)))

    with pytest.raises(FormatError, match=r"evil\.npz: Its array “extra” holds Python objects"):
        import_path(store, project_id, folder, format="npz")
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"no zip", "It is no NumPy archive, or it is damaged"),
        (packed(images=PHOTOS), r"It holds images uint8 \(2, 30, 40, 3\); wanted are"),
        (packed(images=PHOTOS, masks=MASKS[:1]), "wanted are images"),
        (packed(images=PHOTOS, masks=MASKS)[:-300], "It is no NumPy archive, or it is damaged"),
    ],
)
def test_an_archive_without_images_and_masks_says_what_it_holds(
    folder: Path, content: bytes, fault: str
) -> None:
    put(folder / "a.npz", content)

    assert not npz.detect(folder)
    with pytest.raises(FormatError, match=fault):
        npz.read_named(folder, NAMED)


def test_a_mask_that_holds_no_whole_numbers_is_refused_alone(folder: Path) -> None:
    masks = MASKS.astype(np.float32)
    masks[0] += 0.5
    put(folder / "a.npz", packed(images=PHOTOS, masks=masks))

    dataset = npz.read_named(folder, NAMED)

    assert [(r.file, r.reason) for r in dataset.refused] == [
        ("a.npz, mask 0", "A mask's values must be whole numbers from 0 to 255.")
    ]
    assert [i.is_labelled for i in dataset.images] == [False, True]


def test_an_array_larger_than_it_may_be_is_not_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "a.npz", packed(images=PHOTOS, masks=MASKS))
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 1000)

    with pytest.raises(FormatError, match="more than 100 arrays or 20 GB"):
        npz.read_named(folder, NAMED)


def test_what_is_written_is_read_back_with_its_names(tmp_path: Path) -> None:
    square = PolygonOp(((5, 5), (15, 5), (15, 15), (5, 15)))
    drawn = (SourceAnnotation("rust", (square,)),)
    read = lambda: photo(1, kind="PNG")  # noqa: E731
    dataset = SourceDataset(
        (SourceCategory("dent", 3), SourceCategory("rust", 5)),
        (
            SourceImage("a.png", read, "train", drawn, True, SIZE_WH),
            SourceImage("b.png", lambda: photo(2, (50, 20), "PNG"), "test", (), True, (50, 20)),
        ),
    )

    npz.write_dataset(dataset, tmp_path)
    after = npz.read(tmp_path)

    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["test_50x20_001.npz", "train_40x30_001.npz"]
    by_name = {image.name: image for image in after.images}
    assert {name: image.split for name, image in by_name.items()} == {"a.png": "train", "b.png": "test"}
    assert np.array_equal(rasterise(by_name["a.png"].annotations[0].ops, HW), rasterise((square,), HW))
    assert np.array_equal(pixels(by_name["a.png"]), np.asarray(Image.open(io.BytesIO(read()))))
    assert [a.category for a in by_name["a.png"].annotations] == ["rust"]
    assert by_name["b.png"].is_labelled
    with np.load(tmp_path / "train_40x30_001.npz", allow_pickle=False) as arrays:
        assert arrays["class_names"].tolist() == ["background", "dent", "rust"]
        assert arrays["masks"].max() == 5


def test_nothing_stays_on_the_disk_while_the_images_are_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    put(folder / "a.npz", packed(images=PHOTOS, masks=MASKS))

    dataset = npz.read_named(folder, NAMED)

    assert not list(tmp_path.glob("arrays-*"))
    assert np.array_equal(pixels(dataset.images[0]), PHOTOS[0])
