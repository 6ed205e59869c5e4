"""Taking a source into a project: whole images, once, with their labels."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import event

from core.domain.errors import Cancelled, FormatError, NotFound, OutOfReach, UnknownChoice
from core.domain.images import ImageFilter
from core.domain.labels import Annotation, ImageState, PolygonOp, Source
from core.formats import ingest, ready
from core.formats.ingest import import_path
from core.formats.source import SourceDataset, SourceImage, read_photo
from core.storage import annotations, images, projects
from core.storage.store import Store
from tests.formats.builders import (
    DENT,
    SQUARE,
    annotation,
    coco,
    image_record,
    one_image_coco,
    photo,
    put,
    zip_of,
)

Key = tuple[Store, str]

DYING = """
import os, sys
from pathlib import Path
from core.formats.ingest import import_path
from core.storage.settings import Settings
from core.storage.store import open_store

store = open_store(Settings(home=Path(sys.argv[1])))
import_path(store, sys.argv[2], Path(sys.argv[3]), on_progress=lambda done, total: os._exit(9))
"""


@pytest.fixture
def project(store: Store, project_id: str) -> Key:
    return store, project_id


def listed(project: Key) -> list[Any]:
    return images.list_page(*project, ImageFilter())


def test_a_labelled_image_arrives_with_files_split_and_labels(project: Key, folder: Path) -> None:
    one_image_coco(folder / "train", [SQUARE])

    report = import_path(*project, folder, author="Ada")

    (image,) = listed(project)
    (drawn,) = annotations.current(project[0], image.id).annotations
    assert (image.name, image.split, image.state) == ("train/a.jpg", "train", ImageState.DONE)
    assert (image.size_wh, image.rev, image.annotation_count) == ((40, 30), 1, 1)
    assert (drawn.category_id, drawn.source, drawn.author) == (1, Source.IMPORTED, "Ada")
    assert isinstance(drawn.ops[0], PolygonOp)
    key = images.photo_key(image.sha256, "original")
    assert project[0].blobs.get(key) == (folder / "train/a.jpg").read_bytes()
    assert report.to_json() == {
        "images": {"train": 1, "valid": 0, "test": 0, "unsplit": 0},
        "annotations": {"train": 1, "valid": 0, "test": 0, "unsplit": 0},
        "classes": {"dent": 1},
        "categories": ["dent"],
        "refused": [],
        "already_there": 0,
        "notes": [],
    }


def test_the_report_can_be_written_as_json(project: Key, folder: Path) -> None:
    one_image_coco(folder, [[1, 1]])

    report = import_path(*project, folder)

    assert json.loads(json.dumps(report.to_json()))["refused"][0]["file"] == "a.jpg"


def test_importing_twice_changes_nothing(project: Key, folder: Path) -> None:
    one_image_coco(folder, [SQUARE])
    put(folder / "b.jpg", photo(1))
    import_path(*project, folder, format="coco")
    before = listed(project)

    report = import_path(*project, folder, format="coco")

    assert listed(project) == before
    assert sum(report.images.values()) == sum(report.annotations.values()) == 0
    assert (report.already_there, report.classes) == (1, {})
    assert report.notes[-1] == "The labels of 1 photo that was there already stayed as they were."


def test_a_photo_that_is_there_and_brings_no_labels_says_nothing_of_labels(
    project: Key, folder: Path
) -> None:
    one_image_coco(folder / "coco", [SQUARE])
    import_path(*project, folder / "coco")

    report = import_path(*project, folder / "coco" / "a.jpg")

    assert (report.already_there, report.notes) == (1, ())


def test_annotations_are_counted_by_the_projects_name_of_their_class(project: Key, folder: Path) -> None:
    store, project_id = project
    with store.write() as connection:
        projects.add_category(connection, project_id, "Dent")
    for name, seed in (("a.jpg", 1), ("b.jpg", 2)):
        put(folder / name, photo(seed))
    records = [image_record(1, "a.jpg"), image_record(2, "b.jpg")]
    drawn = [annotation(1, 1, [SQUARE], 2), annotation(2, 1, [SQUARE]), annotation(3, 2, [SQUARE])]
    scratch = {"id": 2, "name": "scratch", "supercategory": ""}
    put(folder / "x.json", coco(records, drawn, (DENT, scratch)))

    report = import_path(*project, folder)

    assert list(report.classes.items()) == [("Dent", 2), ("scratch", 1)]


def test_labels_are_added_to_a_photo_that_is_there_without(project: Key, folder: Path) -> None:
    photo_only = put(folder / "plain/a.jpg", photo())
    import_path(*project, photo_only)

    report = import_path(*project, one_image_coco(folder / "coco/valid", [SQUARE]).parent)

    (image,) = listed(project)
    assert (image.state, image.rev, image.split) == (ImageState.DONE, 1, "valid")
    assert (report.images["valid"], report.annotations["valid"], report.already_there) == (1, 1, 0)
    assert report.notes == ("Labels were added to 1 photo that was there without any.",)


def test_labels_that_cannot_be_added_are_reported_and_the_photo_stays_unlabelled(
    project: Key, folder: Path
) -> None:
    import_path(*project, put(folder / "plain/a.jpg", photo()))

    report = import_path(*project, one_image_coco(folder / "coco", [[99.0, 99.0, 120.0, 99.0, 99.0, 120.0]]))

    assert listed(project)[0].state is ImageState.UNLABELLED
    assert report.already_there == 1
    assert [r.reason for r in report.refused] == ["Annotation 1: It covers no pixel of the photo."]


def test_a_split_chosen_before_stays_when_labels_are_added(project: Key, folder: Path) -> None:
    import_path(*project, put(folder / "plain/a.jpg", photo()))
    images.set_split(project[0], [listed(project)[0].id], "test")

    report = import_path(*project, one_image_coco(folder / "coco/train", [SQUARE]).parent)

    assert listed(project)[0].split == "test"
    assert report.images["test"] == 1


def test_a_drawing_in_progress_is_left_alone(project: Key, folder: Path) -> None:
    store, project_id = project
    import_path(*project, put(folder / "plain/a.jpg", photo()))
    (image,) = listed(project)
    with store.write() as connection:
        projects.add_category(connection, project_id, "dent")
    mine = Annotation("mine", 1, (PolygonOp(((1, 1), (9, 1), (9, 9))),))
    annotations.save(store, image.id, [mine], base_rev=0, state=ImageState.IN_PROGRESS)

    report = import_path(*project, one_image_coco(folder / "coco", [SQUARE]))

    assert annotations.current(store, image.id).annotations == (mine,)
    assert report.already_there == 1


def test_the_same_photo_twice_in_one_source(project: Key, folder: Path) -> None:
    put(folder / "plain/a.jpg", photo())
    put(folder / "plain/b.jpg", photo())
    put(folder / "coco/a.jpg", photo(1))
    put(folder / "coco/b.jpg", photo(1))
    records = [image_record(1, "a.jpg"), image_record(2, "b.jpg")]
    put(folder / "coco/x.json", coco(records, [annotation(1, 1, [SQUARE]), annotation(2, 2, [SQUARE])]))

    plain = import_path(*project, folder / "plain")
    labelled = import_path(*project, folder / "coco")

    assert (plain.images["unsplit"], plain.already_there, plain.refused) == (1, 1, ())
    assert labelled.images["unsplit"] == 1
    assert [(r.file, r.reason.split(",")[0]) for r in labelled.refused] == [
        ("b.jpg", "This is the same photo as a.jpg")
    ]


def test_a_photo_belongs_to_each_project_it_is_imported_into(project: Key, folder: Path) -> None:
    store, _ = project
    other = projects.create(store, "vans").id
    one_image_coco(folder, [SQUARE])
    import_path(*project, folder)

    report = import_path(store, other, folder)

    assert report.images["unsplit"] == report.annotations["unsplit"] == 1


def test_labels_drawn_on_another_size_are_refused_and_the_photo_is_taken_unlabelled(
    project: Key, folder: Path
) -> None:
    put(folder / "a.jpg", photo(size_wh=(80, 60)))
    put(folder / "x.json", coco([image_record(1, "a.jpg", (40, 30))], [annotation(1, 1, [SQUARE])]))

    report = import_path(*project, folder)

    assert listed(project)[0].state is ImageState.UNLABELLED
    assert "were drawn on a picture of 40 x 30 pixels, but the photo has 80 x 60" in report.refused[0].reason


def test_labels_of_a_rotated_photo_are_those_of_the_upright_one(project: Key, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    put(folder / "a.jpg", photo(size_wh=(40, 30), exif=exif))
    put(folder / "x.json", coco([image_record(1, "a.jpg", (30, 40))], [annotation(1, 1, [SQUARE])]))

    report = import_path(*project, folder)

    assert (report.refused, listed(project)[0].size_wh) == ((), (30, 40))


def test_polygons_out_of_bounds_are_kept_as_drawn_and_those_outside_refused(
    project: Key, folder: Path
) -> None:
    beyond = [[30.0, 20.0, 60.0, 20.0, 60.0, 50.0]]
    outside = [[100.0, 100.0, 120.0, 100.0, 120.0, 120.0]]
    one_image_coco(folder, beyond, outside)

    report = import_path(*project, folder)

    (drawn,) = annotations.current(project[0], listed(project)[0].id).annotations
    assert drawn.ops == (PolygonOp(((30, 20), (60, 20), (60, 50))),)
    assert [r.reason for r in report.refused] == ["Annotation 2: It covers no pixel of the photo."]


def test_category_ids_are_kept_and_clashes_get_the_next_free_one(project: Key, folder: Path) -> None:
    store, project_id = project
    with store.write() as connection:
        projects.add_category(connection, project_id, "rust", wanted_id=7)
    put(folder / "a.jpg", photo())
    categories = [{"id": 0, "name": "hail"}, DENT | {"id": 7}, {"id": 9, "name": "RUST"}]
    records = [annotation(n, 1, [SQUARE], c["id"]) for n, c in enumerate(categories)]
    put(folder / "x.json", coco([image_record(1, "a.jpg")], records, categories))

    import_path(*project, folder)

    ids = {c.name: c.category_id for c in projects.get(store, project_id).categories}
    assert ids == {"rust": 7, "dent": 8, "hail": 9}
    drawn = annotations.current(store, listed(project)[0].id).annotations
    assert [a.category_id for a in drawn] == [9, 8, 7]


def test_progress_counts_images_up_to_the_total(project: Key, folder: Path) -> None:
    for number in range(20):
        put(folder / f"{number}.jpg", photo(number))
    steps: list[tuple[int, int]] = []

    import_path(*project, folder, on_progress=lambda done, total: steps.append((done, total)))

    assert steps == [(16, 20), (20, 20)]
    assert [i.name for i in listed(project)] == sorted(f"{n}.jpg" for n in range(20))


def test_a_cancelled_import_keeps_what_was_complete(project: Key, folder: Path) -> None:
    for number in range(40):
        put(folder / f"{number:02d}.jpg", photo(number))

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        import_path(*project, folder, on_progress=stop)

    assert len(listed(project)) == ready.BATCH


def test_a_process_that_dies_leaves_whole_images_and_the_next_import_goes_on(
    project: Key, folder: Path
) -> None:
    names = [f"{number:02d}.jpg" for number in range(40)]
    for number, name in enumerate(names):
        put(folder / name, photo(number))
    records = [annotation(n, n, [SQUARE]) for n in range(40)]
    put(folder / "x.json", coco([image_record(n, name) for n, name in enumerate(names)], records))
    command = [sys.executable, "-c", DYING, str(project[0].home), project[1], str(folder)]

    died = subprocess.run(command, check=False, timeout=120)
    left = [(image.state, image.annotation_count) for image in listed(project)]
    report = import_path(*project, folder)

    assert died.returncode == 9
    assert left == [(ImageState.DONE, 1)] * ready.BATCH
    assert (report.images["unsplit"], report.already_there, report.refused) == (24, 16, ())


def test_two_imports_of_the_same_source_at_once_take_each_image_once(project: Key, folder: Path) -> None:
    for number in range(60):
        put(folder / f"{number:02d}.jpg", photo(number))
    one_image_coco(folder / "coco", [SQUARE])

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: import_path(*project, folder, format="photos"), range(2)))

    assert len(listed(project)) == 60
    assert sum(report.images["unsplit"] for report in reports) == 60
    assert [report.refused for report in reports] == [(), ()]


def test_a_photo_that_vanishes_takes_nothing_with_it(project: Key, folder: Path) -> None:
    kept = put(folder / "a.jpg", photo())
    sources = [SourceImage(n, partial(read_photo, folder / n)) for n in ("gone.jpg", kept.name)]

    report = ingest.ingest(*project, SourceDataset((), tuple(sources)))

    assert [i.name for i in listed(project)] == ["a.jpg"]
    assert report.refused[0].file == "gone.jpg"
    assert report.refused[0].reason == "The file cannot be read: No such file or directory."


def test_a_zip_is_imported_and_its_refusals_are_reported(project: Key, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"../evil.jpg": photo(), "a.jpg": photo(1)})

    report = import_path(*project, path)

    assert [i.name for i in listed(project)] == ["a.jpg"]
    assert [r.file for r in report.refused] == ["../evil.jpg"]
    assert list((project[0].home / "scratch").iterdir()) == []


def test_nothing_to_import_says_what_was_looked_for(project: Key, folder: Path, tmp_path: Path) -> None:
    for source in (folder, zip_of(tmp_path / "empty.zip", {})):
        with pytest.raises(FormatError, match=r"nothing to import here\. Looked for: COCO json"):
            import_path(*project, source)
        with pytest.raises(FormatError, match="no photo"):
            import_path(*project, source, format="photos")


def test_an_unknown_format_or_project_is_refused(project: Key, folder: Path) -> None:
    put(folder / "a.jpg", photo())

    with pytest.raises(UnknownChoice, match=r"There are: coco, .*masks, .*photos"):
        import_path(*project, folder, format="visio")
    with pytest.raises(NotFound):
        import_path(project[0], "no such project", folder)


def test_names_that_are_no_text_are_kept_showable(project: Key, folder: Path) -> None:
    (folder / "a\udcff\n.jpg").write_bytes(photo())

    import_path(*project, folder)

    assert [i.name for i in listed(project)] == ["a��.jpg"]


def test_one_photo_is_added_once(project: Key) -> None:
    first = ingest.add_photo(*project, "from phone.jpg", photo())
    second = ingest.add_photo(*project, "again.jpg", photo())

    assert first == second
    assert (first.name, first.state) == ("from phone.jpg", ImageState.UNLABELLED)


@pytest.fixture
def lock(project: Key) -> Iterator[sqlite3.Connection]:
    """Another writer's hold on the database, which nobody waits for inside of SQLite."""
    store, _ = project

    def stop_waiting(connection: Any, _record: Any) -> None:
        connection.execute("pragma busy_timeout=0")

    store.engine.dispose()
    event.listen(store.engine, "connect", stop_waiting)
    holder = sqlite3.connect(store.home / "maskwright.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield holder
    holder.close()


def test_a_database_that_does_not_answer_is_waited_for(
    project: Key, folder: Path, lock: sqlite3.Connection
) -> None:
    one_image_coco(folder / "train", [SQUARE])
    heard: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        heard.append((done, total))
        if lock.in_transaction:
            lock.rollback()

    report = import_path(*project, folder, on_progress=on_progress)

    assert heard[0] == (0, 1)  # while it waited
    assert (heard[-1], report.images["train"], report.annotations["train"]) == ((1, 1), 1, 1)
    assert listed(project)[0].annotation_count == 1


def test_an_import_that_an_outage_ends_says_what_it_kept(
    project: Key, folder: Path, lock: sqlite3.Connection
) -> None:
    one_image_coco(folder / "train", [SQUARE])

    def lose_patience(done: int, total: int) -> None:
        raise OutOfReach("The database does not answer now (locked). Try again later.")

    with pytest.raises(OutOfReach, match=r"stopped after 0 of 1 photos.* does not answer now .* again"):
        import_path(*project, folder, on_progress=lose_patience)

    assert listed(project) == []
