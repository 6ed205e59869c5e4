"""What is written is read back, through every format that writes; other tools read it as well."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from core.domain.errors import AppError, NotEnoughLabels, StorageError
from core.domain.images import ImageFilter
from core.domain.labels import Annotation, BrushOp, Category, Op, PolygonOp, RleOp
from core.formats import coco, coco_read, masks
from core.formats.export import LISTING, file_names, writes
from core.formats.ingest import import_path, ingest
from core.formats.registry import FORMATS
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage, list_files
from core.imaging.masks import encode_rle, label_map, rasterise
from core.storage import images, projects
from core.storage.store import Store
from tests.formats.builders import photo, put
from tests.formats.drawn import damage, kept

SIZE_WH = (40, 30)
SQUARE = PolygonOp(((5.25, 5), (15, 5), (15, 15.125), (5, 15)))
HOLE = PolygonOp(((8, 8), (12, 8), (12, 12), (8, 12)), is_subtract=True)
FAR = PolygonOp(((20, 5), (30, 5), (30, 15)))
STROKE = BrushOp(((3, 20), (30, 25)), 2.5)


def exact_rle() -> RleOp:
    marked = np.random.default_rng(0).random((30, 40)) > 0.7
    return RleOp((30, 40), encode_rle(marked))


def labelled(name: str, seed: int, *ops: tuple[Op, ...], split: str | None = None) -> SourceImage:
    drawn = tuple(SourceAnnotation("dent" if n % 2 == 0 else "paint loss/old", o) for n, o in enumerate(ops))
    read = partial(photo, seed, SIZE_WH)
    return SourceImage(name, read, split, drawn, is_labelled=True, drawn_size_wh=SIZE_WH)  # type: ignore[arg-type]


def dataset(*, with_splits: bool) -> SourceDataset:
    split = {"a": "train", "b": "test"} if with_splits else {}
    return SourceDataset(
        categories=(
            SourceCategory("dent", 3),
            SourceCategory("paint loss/old", 5),
            SourceCategory("rust", 8),
        ),
        images=(
            labelled("a/1.jpg", 1, (SQUARE,), (SQUARE, FAR), (exact_rle(),), split=split.get("a")),
            labelled("b/1.jpg", 2, (SQUARE, HOLE), (STROKE,), split=split.get("b")),
            labelled("Hagel & Co/größe 1.JPG", 3),
            labelled("c/1.jpg", 4, (STROKE, replace(STROKE, is_subtract=True, radius=1)), (FAR,)),
        ),
    )


@pytest.mark.parametrize("with_splits", [True, False])
@pytest.mark.parametrize("name", [name for name, spec in FORMATS.items() if spec.write and spec.is_exact])
def test_a_project_written_and_imported_again_has_the_same_labels(
    store: Store, project_id: str, tmp_path: Path, name: str, with_splits: bool
) -> None:
    ingest(store, project_id, dataset(with_splits=with_splits))
    other = projects.create(store, "copy").id

    FORMATS[name].write(store, project_id, tmp_path / "out")
    report = import_path(store, other, tmp_path / "out")

    assert report.refused == ()
    assert kept(store, other) == kept(store, project_id)
    assert len(kept(store, other)) == 4


@pytest.mark.parametrize("with_splits", [True, False])
def test_coco_keeps_strokes_names_and_ids_exactly(tmp_path: Path, with_splits: bool) -> None:
    before = dataset(with_splits=with_splits)

    coco.write_dataset(before, tmp_path)
    after = coco_read.read(tmp_path)

    assert after.categories == before.categories
    assert sorted(after.images, key=lambda i: i.name) == sorted(before.images, key=lambda i: i.name)
    assert after.refused == ()


def test_masks_keep_run_length_masks_exactly(tmp_path: Path) -> None:
    before = labelled("a.jpg", 1, (exact_rle(),), (exact_rle(),))

    masks.write_dataset(SourceDataset((), (before,)), tmp_path)
    (after,) = masks.read(tmp_path).images

    assert after.annotations == before.annotations


def test_masks_of_photos_whose_names_begin_alike_stay_apart(tmp_path: Path) -> None:
    names = ["a.jpg", "a__dent__1.jpg", "a_.jpg", "a_dent.jpg", "x/a.jpg", "A.JPG"]
    before = [labelled(name, n, *[(exact_rle(),)] * n) for n, name in enumerate(names)]

    masks.write_dataset(SourceDataset((), tuple(before)), tmp_path)
    after = masks.read(tmp_path)

    assert after.refused == ()
    assert sorted(len(image.annotations) for image in after.images) == list(range(6))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, numpy 2
def test_pycocotools_loads_the_file_and_gives_the_same_masks_areas_and_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = dataset(with_splits=False)
    coco.write_dataset(source, tmp_path)

    loaded = COCO(str(tmp_path / "annotations.json"))
    capsys.readouterr()

    drawn = [(a, i) for i in source.images for a in i.annotations]
    assert len(loaded.anns) == len(drawn) == 7
    for record, (annotation, _) in zip(loaded.anns.values(), drawn, strict=True):
        mask = rasterise(annotation.ops, (30, 40))
        rows, columns = np.nonzero(mask)
        assert np.array_equal(loaded.annToMask(record).astype(bool), mask)
        assert record["area"] == mask.sum()
        left, top = columns.min(), rows.min()
        assert record["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]


def test_polygons_stay_polygons_only_where_they_say_the_same(tmp_path: Path) -> None:
    coco.write_dataset(dataset(with_splits=False), tmp_path)

    document = json.loads((tmp_path / "annotations.json").read_text())

    kinds = [type(record["segmentation"]).__name__ for record in document["annotations"]]
    assert kinds == ["list", "list", "dict", "dict", "dict", "dict", "list"]
    extended = ["maskwright" in record for record in document["annotations"]]
    assert extended == [False, False, False, True, True, True, False]
    assert len({record["id"] for record in document["annotations"]}) == 7


def test_roboflow_s_layout_is_written_where_there_are_splits(tmp_path: Path) -> None:
    coco.write_dataset(dataset(with_splits=True), tmp_path)

    assert all_files(tmp_path) == [
        ".maskwright-export",
        "test/1.jpg",
        "test/_annotations.coco.json",
        "train/1.jpg",
        "train/_annotations.coco.json",
        "unsplit/1.jpg",
        "unsplit/_annotations.coco.json",
        "unsplit/größe 1.jpg",
    ]


@pytest.mark.parametrize("name", ["coco", "masks"])
def test_photos_can_be_left_out(store: Store, project_id: str, tmp_path: Path, name: str) -> None:
    ingest(store, project_id, dataset(with_splits=False))

    FORMATS[name].write(store, project_id, tmp_path / "out", with_photos=False)

    written = {path.suffix for path in list_files(tmp_path / "out")}
    assert written == ({".json"} if name == "coco" else {".png"})


@pytest.mark.parametrize("name", ["coco", "masks"])
def test_nothing_labelled_or_a_file_in_the_way_is_refused(
    store: Store, project_id: str, tmp_path: Path, name: str
) -> None:
    ingest(store, project_id, SourceDataset((), (SourceImage("a.jpg", partial(photo, 1)),)))

    with pytest.raises(NotEnoughLabels, match="Label a photo first"):
        FORMATS[name].write(store, project_id, tmp_path / "out")
    ingest(store, project_id, dataset(with_splits=False))
    with pytest.raises(AppError, match="is a file"):
        FORMATS[name].write(store, project_id, put(tmp_path / "taken", b""))


def test_a_rotated_photo_is_written_upright(store: Store, project_id: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = replace(labelled("a.jpg", 1, (SQUARE,)), read=partial(photo, 1, (40, 30), exif=exif))
    ingest(
        store,
        project_id,
        SourceDataset((SourceCategory("dent"),), (replace(turned, drawn_size_wh=(30, 40)),)),
    )

    writes(coco.write_dataset)(store, project_id, tmp_path / "out")

    with Image.open(tmp_path / "out/a.jpg") as written:
        assert (written.size, written.getexif().get(0x0112)) == ((30, 40), None)


@pytest.mark.parametrize("name", ["coco", "masks"])
@pytest.mark.parametrize(
    ("came_as", "kind", "goes_as", "written_kind"),
    [
        ("q.png", "PNG", "q.png", "PNG"),
        ("q.webp", "WEBP", "q.jpg", "JPEG"),
        ("q.tiff", "TIFF", "q.jpg", "JPEG"),
        ("q.HEIC", "HEIF", "q.jpg", "JPEG"),
        ("q.png", "JPEG", "q.jpg", "JPEG"),
        ("q.jpg", "PNG", "q.png", "PNG"),
        ("q.JPEG", "JPEG", "q.jpeg", "JPEG"),
    ],
)
def test_a_written_photo_s_name_says_what_it_is(
    store: Store,
    project_id: str,
    tmp_path: Path,
    name: str,
    came_as: str,
    kind: str,
    goes_as: str,
    written_kind: str,
) -> None:
    source = replace(labelled(came_as, 1, (SQUARE,)), read=partial(photo, 1, SIZE_WH, kind))
    ingest(store, project_id, SourceDataset((SourceCategory("dent"),), (source,)))

    FORMATS[name].write(store, project_id, tmp_path / "out")

    with Image.open(tmp_path / "out" / ("images" if name == "masks" else "") / goes_as) as written:
        assert written.format == written_kind
    if name == "coco":
        assert [image.name for image in coco_read.read(tmp_path / "out").images] == [came_as]


def all_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("again", ["coco", "masks"])
@pytest.mark.parametrize("first", ["coco", "masks"])
def test_an_export_replaces_an_earlier_one_and_leaves_other_files(
    store: Store, project_id: str, tmp_path: Path, first: str, again: str
) -> None:
    ingest(store, project_id, dataset(with_splits=False))
    out = tmp_path / "out"
    FORMATS[first].write(store, project_id, out)
    put(out / "notes.txt", b"mine")
    put(out / "mine.jpg", photo(9))
    for number, image in enumerate(images.list_page(store, project_id, ImageFilter())):
        images.set_split(store, [image.id], "valid")
        if number == 0:
            images.delete(store, [image.id])

    FORMATS[again].write(store, project_id, out)

    FORMATS[again].write(store, project_id, tmp_path / "new")
    assert all_files(out) == sorted([*all_files(tmp_path / "new"), "mine.jpg", "notes.txt"])


def test_an_export_without_photos_never_removes_photos(store: Store, project_id: str, tmp_path: Path) -> None:
    ingest(store, project_id, dataset(with_splits=False))
    put(tmp_path / "out/a_1.jpg", b"the user's own")

    for _ in range(2):
        writes(coco.write_dataset)(store, project_id, tmp_path / "out", with_photos=False)

    assert (tmp_path / "out/a_1.jpg").read_bytes() == b"the user's own"


def test_an_export_whose_list_is_gone_is_replaced_as_well(
    store: Store, project_id: str, tmp_path: Path
) -> None:
    ingest(store, project_id, dataset(with_splits=False))
    writes(coco.write_dataset)(store, project_id, tmp_path)
    (tmp_path / LISTING).unlink()
    everything = images.list_page(store, project_id, ImageFilter())
    images.set_split(store, [image.id for image in everything], "train")

    writes(coco.write_dataset)(store, project_id, tmp_path)

    assert not (tmp_path / "annotations.json").exists()
    assert len(coco_read.read(tmp_path).images) == 4


def test_an_export_that_broke_off_is_replaced_by_the_next(tmp_path: Path) -> None:
    def unreadable() -> bytes:
        raise StorageError("The disk is gone.")

    whole = dataset(with_splits=False)
    broken = replace(whole, images=(*whole.images[:3], replace(whole.images[3], read=unreadable)))
    with pytest.raises(StorageError):
        masks.write_dataset(broken, tmp_path)
    assert len(masks.read(tmp_path).images) == 3

    masks.write_dataset(replace(whole, images=whole.images[3:]), tmp_path)

    assert [image.name for image in masks.read(tmp_path).images] == ["images/1.jpg"]


@pytest.mark.parametrize("name", ["coco", "masks"])
@pytest.mark.parametrize(
    "foreign", ["instances.json", "train/_annotations.coco.json", "masks/a__dent__1.png"]
)
def test_a_folder_with_annotations_from_elsewhere_is_refused_and_left_as_it_is(
    store: Store, project_id: str, tmp_path: Path, name: str, foreign: str
) -> None:
    ingest(store, project_id, dataset(with_splits=False))
    put(tmp_path / "out" / foreign, '{"images": [], "annotations": [], "categories": []}')

    with pytest.raises(AppError, match=rf"annotations that come from elsewhere \({foreign}\)"):
        FORMATS[name].write(store, project_id, tmp_path / "out")

    assert all_files(tmp_path / "out") == [foreign]


def test_a_list_of_an_earlier_export_cannot_name_files_outside_of_it(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside.jpg", b"mine")
    put(tmp_path / "out" / LISTING, f"../outside.jpg\n{outside}\n")

    coco.write_dataset(dataset(with_splits=False), tmp_path / "out")

    assert outside.read_bytes() == b"mine"


def named(*names: str) -> list[str]:
    return file_names([SourceImage(name, bytes) for name in names])


def test_a_long_name_leaves_room_for_what_a_format_appends() -> None:
    (name,) = named("车" * 150 + ".jpg")

    assert name == "车" * 40 + ".jpg"


def test_equal_stems_get_their_folder_as_a_prefix() -> None:
    assert named("a/1.jpg", "b/1.jpg", "2.png") == ["a_1.jpg", "b_1.jpg", "2.png"]
    assert named("x/a/1.jpg", "y/a/1.jpg") == ["x_a_1.jpg", "y_a_1.jpg"]
    assert named("1.jpg", "1.png", "1.JPG") == ["1.jpg", "1-2.png", "1-3.jpg"]
    assert named("../../etc/passwd", "..", "a\\b:c.jpg", ".x.jpg") == [
        "passwd.jpg",
        "photo.jpg",
        "b_c.jpg",
        "x.jpg",
    ]


@given(st.lists(st.text(alphabet="a1_./\\- A", min_size=1, max_size=12), max_size=8))
def test_file_names_are_always_unique_and_stay_in_their_folder(names: list[str]) -> None:
    given_names = named(*names)

    assert len({name.rpartition(".")[0].casefold() for name in given_names}) == len(names)
    assert not any(set(name) & set("/\\:") or name.startswith(".") or "__" in name for name in given_names)


POINTS = st.tuples(
    st.floats(-20, 60, allow_nan=False, width=32), st.floats(-20, 50, allow_nan=False, width=32)
)
OPS = st.one_of(
    st.builds(PolygonOp, st.lists(POINTS, min_size=3, max_size=6).map(tuple), st.booleans()),
    st.builds(BrushOp, st.lists(POINTS, min_size=1, max_size=4).map(tuple), st.floats(0.5, 9), st.booleans()),
    st.builds(exact_rle),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(OPS, min_size=1, max_size=4).map(tuple), max_size=4))
def test_any_strokes_survive_coco(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[Op, ...]]
) -> None:
    visible = [ops for ops in drawn if rasterise(ops, (30, 40)).any()]
    folder = tmp_path_factory.mktemp("coco")
    source = SourceDataset(
        (SourceCategory("dent", 1), SourceCategory("paint loss/old", 2)), (labelled("a.jpg", 1, *visible),)
    )

    coco.write_dataset(source, folder)

    assert coco_read.read(folder).images == source.images


def test_predictions_become_one_annotation_for_each_class_and_region(tmp_path: Path) -> None:
    classes = (Category(4, "dent", "#E69F00"), Category(7, "scratch", "#56B4E9"))
    painted = np.zeros((30, 40), np.uint8)
    painted[2:6, 2:6] = 1
    painted[20:25, 30:40] = 1
    painted[2:6, 6:9] = 2

    document = coco.prediction_document([("a.jpg", painted, classes), ("b.jpg", painted * 0, classes)])

    assert [(a["category_id"], a["area"], a["bbox"]) for a in document["annotations"]] == [
        (4, 16, [2, 2, 4, 4]),
        (4, 50, [30, 20, 10, 5]),
        (7, 12, [6, 2, 3, 4]),
    ]
    assert [c["id"] for c in document["categories"]] == [4, 7]
    put(tmp_path / "a.jpg", photo(1))
    put(tmp_path / "b.jpg", photo(2))
    put(tmp_path / "p.json", json.dumps(document))
    read = coco_read.read(tmp_path)
    ids = {"dent": 1, "scratch": 2}
    again = [Annotation("x", ids[a.category], a.ops) for a in read.images[0].annotations]
    assert np.array_equal(label_map(again, {1: 1, 2: 2}, (30, 40)), painted)


@pytest.mark.parametrize("with_splits", [True, False])
@pytest.mark.parametrize(
    ("name", "keeps_unused_classes"),
    [("yolo", True), ("via", True), ("cvat", True), ("labelme", False), ("label_studio", False)],
)
def test_what_is_hard_to_write_is_recognised_and_has_the_same_masks(
    store: Store, project_id: str, tmp_path: Path, name: str, keeps_unused_classes: bool, with_splits: bool
) -> None:
    ingest(store, project_id, damage(with_splits=with_splits))
    copy = projects.create(store, "copy").id

    FORMATS[name].write(store, project_id, tmp_path / "out")
    report = import_path(store, copy, tmp_path / "out")

    assert report.refused == ()
    assert kept(store, copy) == kept(store, project_id)
    if keeps_unused_classes:
        assert report.categories == ("dent", "Kratzer & Riß", "rust")
