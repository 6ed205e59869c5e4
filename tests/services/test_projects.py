"""Projects as the pages and the command line fill them."""

import io
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import sqlalchemy as sa

from core.domain.errors import AppError, FormatError, NotEnoughLabels, StorageError, UnknownChoice
from core.domain.images import ImageFilter, Project
from core.domain.mask_classes import Meaning
from core.domain.runs import Job
from core.imaging.overlay import encode_grey_png
from core.services import importing, projects
from core.storage import jobs, lifecycle, processes, reservations, tables
from core.storage.lifecycle import JOBS, Room
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker import imports
from tests.builders import SIZE_WH, add_image, photo_bytes, project_with, square


@pytest.mark.parametrize(
    ("format", "error"), [("yolo9", UnknownChoice), ("coco", FormatError), ("auto", FormatError)]
)
def test_a_source_that_cannot_be_read_leaves_no_empty_project(
    store: Store, tmp_path: Path, format: str, error: type[Exception]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")

    with pytest.raises(error):
        projects.import_into(store, "Typo", folder, format=format)

    assert projects.list_all(store) == []


def test_a_source_that_cannot_be_read_leaves_an_older_project_alone(store: Store, tmp_path: Path) -> None:
    project = project_with(store, "dent", name="Cars")

    with pytest.raises(FormatError):
        projects.import_into(store, "Cars", tmp_path)

    assert projects.list_all(store) == [project]


def test_uploads_are_kept_under_safe_names_and_queued(store: Store) -> None:
    project = project_with(store)
    files = [
        ("../../etc/passwd.jpg", io.BytesIO(b"1")),
        ("a/x.jpg", io.BytesIO(b"2")),
        ("b/x.jpg", io.BytesIO(b"3")),
        ("b/x.jpg", io.BytesIO(b"4")),
        ("C:\\photos\\y.jpg", io.BytesIO(b"5")),
    ]

    job = projects.import_uploads(store, project.id, files, format="auto")

    upload = Path(job.payload["upload"])
    names = sorted(path.relative_to(upload).as_posix() for path in upload.rglob("*") if path.is_file())
    assert upload.parent == store.home / "uploads"
    assert names == ["C:/photos/y.jpg", "a/x.jpg", "b/x.jpg", "b/x_2.jpg", "etc/passwd.jpg"]
    assert [queued.kind for queued in jobs.list_of(store, project.id)] == ["import"]


def test_names_are_cut_by_bytes_and_keep_their_ending(store: Store) -> None:
    project = project_with(store)
    long = "车" * 150
    files = [(f"{long}/{long}{n}.HEIC", io.BytesIO(b"1")) for n in range(2)]

    job = projects.import_uploads(store, project.id, files, format="auto")

    kept = sorted(path for path in Path(job.payload["upload"]).rglob("*") if path.is_file())
    assert [path.name for path in kept] == [long[:65] + ".HEIC", long[:65] + "_2.HEIC"]
    assert {path.parent.name for path in kept} == {long[:66]}


@pytest.mark.parametrize("name", ["..\0/..\0/x.jpg", "\0../\0../x.jpg", "..\ud800/x.jpg", "//../x.jpg"])
def test_no_name_leads_out_of_the_upload(store: Store, name: str) -> None:
    project = project_with(store)

    job = projects.import_uploads(store, project.id, [(name, io.BytesIO(b"1"))], format="auto")

    assert (Path(job.payload["upload"]) / "x.jpg").read_bytes() == b"1"


def test_two_zips_and_a_photo_uploaded_at_once_are_all_taken(store: Store) -> None:
    project = project_with(store)
    files = [
        ("a.zip", _zip({"1.jpg": photo_bytes(1)})),
        ("b.zip", _zip({"1.jpg": photo_bytes(2)})),
        ("c.jpg", io.BytesIO(photo_bytes(3))),
    ]

    job = projects.import_uploads(store, project.id, files, format="auto")
    report = imports.handle(store, job, lambda share, text: None)

    taken = projects.list_images(store, project.id, ImageFilter())
    assert sorted(image.name for image in taken) == ["a/1.jpg", "b/1.jpg", "c.jpg"]
    assert (report["refused"], report["notes"]) == ([], [])


def test_two_exported_zips_uploaded_at_once_bring_their_labels(store: Store) -> None:
    exported: list[tuple[str, BinaryIO]] = []
    for number in (1, 2):
        source = project_with(store, "dent", name=f"Source {number}")
        add_image(store, source, number, square(1))
        exported.append((f"{number}.zip", projects.export_zip(store, source.id)))
    project = project_with(store)

    job = projects.import_uploads(store, project.id, exported, format="auto")
    for _, file in exported:
        file.close()
    imports.handle(store, job, lambda share, text: None)

    assert projects.overview(store, project.id).annotations == {1: 2}


def test_masks_without_names_need_the_classes_told(store: Store, tmp_path: Path) -> None:
    source = _mask_set(tmp_path / "source")

    with pytest.raises(FormatError, match=r"--classes 0=background,2=NAME2,7=NAME7"):
        projects.import_into(store, "Masks", source)
    assert projects.list_all(store) == []

    report = projects.import_into(store, "Masks", source, classes="0=background,2=dent,7=rust")
    assert (report.categories, report.annotations["unsplit"]) == (("dent", "rust"), 2)


def test_an_import_that_asked_is_answered_and_its_upload_goes_then(store: Store, tmp_path: Path) -> None:
    project = project_with(store)
    asked = _asked(store, project, tmp_path)
    (possible,) = importing.question(asked)
    assert [value.key for value in possible.values] == ["0", "2", "7"]

    meanings = {
        v.key: Meaning(f"c{v.key}", "class" if v.key != "0" else "background") for v in possible.values
    }
    job = importing.answer(store, asked.id, format=possible.format, meanings=meanings)
    report = imports.handle(store, job, lambda share, text: None)

    assert report["categories"] == ["c2", "c7"]
    assert list((store.home / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("meanings", "fault"),
    [
        ({"0": Meaning("", "background"), "2": Meaning("", "background")}, "Everything is background"),
        ({"2": Meaning("a", color="#112233"), "7": Meaning("b", color="#112233")}, "colour of another class"),
    ],
)
def test_an_answer_that_cannot_be_meant_is_refused_and_the_upload_stays(
    store: Store, tmp_path: Path, meanings: dict[str, Meaning], fault: str
) -> None:
    asked = _asked(store, project_with(store), tmp_path)

    with pytest.raises(FormatError, match=fault):
        importing.answer(store, asked.id, format="index_masks", meanings=meanings)

    assert len(list((store.home / "uploads").iterdir())) == 1


def test_an_import_that_asks_nothing_takes_no_answer(store: Store) -> None:
    project = project_with(store)
    files = [("a.jpg", io.BytesIO(photo_bytes(1)))]
    job = projects.import_uploads(store, project.id, files, format="auto")

    with pytest.raises(FormatError, match="asks nothing"):
        importing.answer(store, job.id, format="coco")
    importing.discard(store, job.id)

    assert Path(job.payload["upload"]).exists()


def test_an_upload_whose_question_was_forgotten_is_deleted_after_two_days(
    store: Store, tmp_path: Path
) -> None:
    project = project_with(store)
    old, fresh = (_asked(store, project, tmp_path / str(n)) for n in range(2))
    with store.write() as connection:
        three_days_ago = old.created_at - timedelta(days=3)
        rows = sa.update(tables.job).where(tables.job.c.id == old.id)
        connection.execute(rows.values(created_at=three_days_ago))

    importing.discard_forgotten(store, project.id)

    assert not Path(old.payload["upload"]).exists()
    assert Path(fresh.payload["upload"]).exists()


@pytest.mark.parametrize(
    ("format", "member"), [("voc", "SegmentationObject/photo_1.png"), ("index_masks", "classes.csv")]
)
def test_a_project_is_packed_in_any_format_that_can_be_written(
    store: Store, format: str, member: str
) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1))

    with projects.export_zip(store, project.id, format) as file, zipfile.ZipFile(file) as archive:
        assert member in archive.namelist()
    with pytest.raises(UnknownChoice, match="format to write"):
        projects.export_zip(store, project.id, "photos")


def _mask_set(folder: Path) -> Path:
    """Write a photo with a mask of the values 0, 2 and 7."""
    values = np.zeros((SIZE_WH[1], SIZE_WH[0]), np.uint8)
    values[5:15, 5:15], values[30:50, 30:70] = 2, 7
    for name, data in {"images/a.jpg": photo_bytes(1), "masks/a.png": encode_grey_png(values)}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(data)
    return folder


def _asked(store: Store, project: Project, scratch: Path) -> Job:
    """Import a set of masks without names, as a worker does up to its question."""
    folder = _mask_set(scratch / "masks")
    files = [(p.relative_to(folder).as_posix(), io.BytesIO(p.read_bytes())) for p in folder.rglob("*.*")]
    job = projects.import_uploads(store, project.id, files, format="auto")
    claim = lifecycle.claim(store, JOBS, "here", Room(1))
    assert claim is not None and claim.work_id == job.id
    lifecycle.start(store, JOBS, claim, processes.this_process())
    result = imports.handle(store, job, lambda share, text: None)
    lifecycle.succeed(store, JOBS, claim, {"result": result})
    reservations.release(store, claim)
    return jobs.get(store, job.id)


def test_an_exported_zip_holds_the_photos_and_leaves_nothing_behind(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in (1, 2):
        add_image(store, project, seed, square(1))

    with projects.export_zip(store, project.id) as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["annotations.json", "photo_1.jpg", "photo_2.jpg"]
        assert archive.read("photo_1.jpg") == photo_bytes(1)
        assert isinstance(file, io.BufferedReader)  # what Streamlit's download takes

    assert list((store.home / "scratch").iterdir()) == []


def test_nothing_labelled_makes_no_zip(store: Store) -> None:
    project = project_with(store)

    with pytest.raises(NotEnoughLabels, match="Label a photo first"):
        projects.export_zip(store, project.id)

    assert list((store.home / "scratch").iterdir()) == []


def test_an_upload_of_nothing_is_refused(store: Store) -> None:
    project = project_with(store)

    with pytest.raises(AppError, match="Choose at least one"):
        projects.import_uploads(store, project.id, [], format="auto")

    assert jobs.list_of(store, project.id) == []
    assert list((store.home / "uploads").iterdir()) == []


def test_the_overview_counts_states_splits_and_classes(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    add_image(store, project, 1, square(1), split="train")
    add_image(store, project, 2, square(1), square(2, 50), split="valid")
    add_image(store, project, 3)
    projects.import_into(store, project.name, _photo(store.home.parent))

    overview = projects.overview(store, project.id)

    assert (overview.images, overview.labelled, overview.unlabelled) == (4, 3, 1)
    assert overview.splits == {"train": 1, "valid": 1, "test": 0, "unsplit": 1}
    assert overview.annotations == {1: 2, 2: 1}


def test_deleted_photos_are_gone_from_lists_and_filters(store: Store) -> None:
    project = project_with(store, "dent")
    first, second = (add_image(store, project, seed, square(1)) for seed in (1, 2))

    projects.delete_images(store, [first.id])

    assert projects.list_images(store, project.id, ImageFilter()) == [second]


def test_a_category_is_renamed_and_keeps_its_id(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    dent = project.categories[0]

    projects.change_category(store, project.id, type(dent)(dent.category_id, "Dents", "#123456"))

    assert projects.get(store, project.id).categories[0] == type(dent)(1, "Dents", "#123456")
    with pytest.raises(AppError, match="already a class"):
        projects.change_category(store, project.id, type(dent)(1, "Rust", "#123456"))


def test_no_two_classes_share_a_colour(store: Store) -> None:
    project = project_with(store, *(f"class {number}" for number in range(60)))

    assert len({category.color for category in project.categories}) == 60
    first, second = project.categories[:2]
    with pytest.raises(AppError, match="has this colour already"):
        projects.change_category(store, project.id, type(first)(1, first.name, second.color.lower()))


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "maskwright.sqlite").write_bytes(b"this is not a database, it is a text" * 100)

    with pytest.raises(StorageError, match="cannot be opened"):
        open_store(Settings(home=tmp_path, database_url="", blobs=""))


def _zip(members: dict[str, bytes]) -> BinaryIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    file.seek(0)
    return file


def _photo(folder: Path) -> Path:
    path = folder / "new.jpg"
    path.write_bytes(photo_bytes(99))
    return path
