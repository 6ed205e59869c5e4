"""The import job, near to the upload and far from it."""

import io
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

import pytest

from core.domain.errors import AppError, Cancelled, NotFound, OutOfReach
from core.domain.images import ImageFilter, Project
from core.domain.labels import ImageState
from core.domain.runs import Job
from core.services import projects
from core.storage import annotations, uploads
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker import imports
from tests.builders import photo_bytes, project_with, square
from tests.storage.servers import S3, s3_server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[S3]:
    with s3_server(monkeypatch) as server:
        yield server


@pytest.fixture(params=["shared folder", pytest.param("s3", marks=pytest.mark.integration)])
def blobs_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for blobs that several machines reach."""
    if request.param == "s3":
        return request.getfixturevalue("s3").make_bucket()
    return str(tmp_path / "shared")


@pytest.fixture
def web(blobs_url: str, tmp_path: Path) -> Store:
    return open_store(Settings(home=tmp_path / "web", database_url="", blobs=blobs_url))


@pytest.fixture
def worker(web: Store, tmp_path: Path) -> Store:
    """The same rows and blobs, as a machine with a home of its own sees them."""
    url = web.engine.url.render_as_string(hide_password=False)
    return open_store(Settings(home=tmp_path / "worker", database_url=url, blobs=web.blobs.url))


def upload(store: Store, project: Project, files: dict[str, bytes]) -> Job:
    named: list[tuple[str, BinaryIO]] = [(name, io.BytesIO(content)) for name, content in files.items()]
    return projects.import_uploads(store, project.id, named, format="auto")


def names(store: Store, project: Project) -> list[str]:
    return sorted(image.name for image in projects.list_images(store, project.id, ImageFilter()))


def test_what_one_machine_took_another_one_imports(web: Store, worker: Store) -> None:
    project = project_with(web)
    job = upload(web, project, {"a/1.jpg": photo_bytes(1), "2.jpg": photo_bytes(2)})
    heard: list[str] = []

    report = imports.handle(worker, job, lambda share, message: heard.append(message))

    assert report["images"]["unsplit"] == 2
    assert names(web, project) == ["2.jpg", "a/1.jpg"]
    assert heard[-1] == "2 of 2 photos"
    assert list(web.blobs.list("uploads")) == []
    assert list((web.home / "uploads").iterdir()) == list((worker.home / "scratch").iterdir()) == []


def test_a_single_zip_is_what_the_labels_are_looked_for_in(web: Store, worker: Store) -> None:
    source = project_with(web, "dent", name="Source")
    upload_one = upload(web, source, {"1.jpg": photo_bytes(1)})
    imports.handle(worker, upload_one, lambda share, message: None)
    photo = projects.list_images(web, source.id, ImageFilter())[0]
    annotations.save(web, photo.id, [square(1)], base_rev=0, state=ImageState.DONE)
    with projects.export_zip(web, source.id) as file:
        exported = file.read()
    project = project_with(web)

    job = upload(web, project, {"labels.zip": exported})
    imports.handle(worker, job, lambda share, message: None)

    assert projects.overview(web, project.id).annotations == {1: 1}


def test_an_upload_that_is_gone_is_said(web: Store, worker: Store) -> None:
    job = upload(web, project_with(web), {"1.jpg": photo_bytes(1)})
    uploads.delete(web, job.payload["upload"])

    with pytest.raises(NotFound, match="not there any more: upload them again"):
        imports.handle(worker, job, lambda share, message: None)


def test_a_refused_or_cancelled_upload_is_deleted(web: Store, worker: Store) -> None:
    project = project_with(web)

    def cancel(share: float, message: str) -> None:
        raise Cancelled

    refused = upload(web, project, {"notes.txt": b"hello"})
    with pytest.raises(AppError):
        imports.handle(worker, refused, lambda share, message: None)
    cancelled = upload(web, project, {"1.jpg": photo_bytes(1)})
    with pytest.raises(Cancelled):
        imports.handle(worker, cancelled, cancel)

    assert list(web.blobs.list("uploads")) == []


@pytest.mark.integration
def test_an_import_gets_through_an_outage_of_the_file_store(s3: S3, tmp_path: Path) -> None:
    store = open_store(Settings(home=tmp_path / "web", database_url="", blobs=s3.make_bucket()))
    project = project_with(store)
    job = upload(store, project, {f"{number}.jpg": photo_bytes(number) for number in range(20)})
    outages = [True]
    is_stopped: list[bool] = []

    def on_progress(share: float, message: str) -> None:
        """Lose the store after the first batch; the next sign of life is that of the one who waits."""
        if is_stopped:
            is_stopped.clear()
            s3.start()
        elif share > 0 and outages:
            outages.clear()
            is_stopped.append(True)
            s3.stop()

    report = imports.handle(store, job, on_progress)

    assert (outages, is_stopped) == ([], [])
    assert report["images"]["unsplit"] == 20
    assert (report["refused"], report["already_there"]) == ([], 0)


@pytest.mark.integration
def test_an_import_that_an_outage_ends_keeps_its_upload(s3: S3, tmp_path: Path) -> None:
    store = open_store(Settings(home=tmp_path / "web", database_url="", blobs=s3.make_bucket()))
    job = upload(store, project_with(store), {"1.jpg": photo_bytes(1)})

    def leave(share: float, message: str) -> None:
        raise OutOfReach("The time is up.")

    s3.stop()
    with pytest.raises(OutOfReach):
        imports.handle(store, job, leave)
    s3.start()

    assert len(store.blobs.list("uploads")) == 2
