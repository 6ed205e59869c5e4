"""Where an upload waits for its job."""

from pathlib import Path

import pytest

from core.domain.errors import Cancelled, NotFound, StorageError
from core.storage import uploads
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from tests.storage.servers import S3

FILES = {"a.jpg": b"1", "deep/down/ü ?#%.jpg": b"2", "b.zip": b"3" * 100_000}


@pytest.fixture(params=["home", "shared folder", pytest.param("s3", marks=pytest.mark.integration)])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store whose blobs lie in the home, in a folder that others reach as well, or in a bucket."""
    blobs = {"home": "", "shared folder": str(tmp_path / "shared")}
    url = request.getfixturevalue("s3_url") if request.param == "s3" else blobs[request.param]
    return open_store(Settings(home=tmp_path / "web", database_url="", blobs=url))


def other_machine(store: Store, tmp_path: Path) -> Store:
    """Give the store as a machine with another home sees it."""
    url = store.engine.url.render_as_string(hide_password=False)
    return open_store(Settings(home=tmp_path / "worker", database_url=url, blobs=store.blobs.url))


def write_upload(store: Store) -> Path:
    folder = uploads.new_folder(store)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_an_upload_is_opened_as_it_was_sent_and_deleted_for_good(home: Store) -> None:
    place = uploads.hand_over(home, write_upload(home))

    with uploads.opened(home, place) as folder:
        assert content(folder) == FILES
    uploads.delete(home, place)

    with pytest.raises(NotFound, match="upload them again"), uploads.opened(home, place):
        pass
    assert content(home.home / "uploads") == {}
    assert [key for key, _ in home.blobs.list("uploads")] == []
    assert content(home.home).keys() <= {
        "maskwright.sqlite",
        "maskwright.sqlite-wal",
        "maskwright.sqlite-shm",
    }


def test_another_machine_opens_an_upload_where_the_blobs_are_shared(tmp_path: Path) -> None:
    web = open_store(Settings(home=tmp_path / "web", database_url="", blobs=str(tmp_path / "shared")))
    worker = other_machine(web, tmp_path)

    place = uploads.hand_over(web, write_upload(web))

    with uploads.opened(worker, place) as folder:
        assert folder.is_relative_to(worker.home)
        assert content(folder) == FILES
    assert not folder.exists()


def test_only_uploads_are_deleted_whatever_the_place_says(home: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    home.blobs.put("photos/x", b"1")

    for place in (str(tmp_path / "mine"), str(home.home / "uploads" / ".."), "photos"):
        uploads.delete(home, place)

    assert (tmp_path / "mine").is_dir()
    assert home.blobs.exists("photos/x")


def test_a_cancel_ends_the_fetching(tmp_path: Path) -> None:
    web = open_store(Settings(home=tmp_path / "web", database_url="", blobs=str(tmp_path / "shared")))
    place = uploads.hand_over(web, write_upload(web))

    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled), uploads.opened(web, place, cancel):
        pass

    assert content(web.home / "scratch") == {}


@pytest.mark.integration
def test_an_upload_that_the_store_does_not_take_leaves_nothing(s3: S3, s3_url: str, tmp_path: Path) -> None:
    web = open_store(Settings(home=tmp_path / "web", database_url="", blobs=s3_url))
    folder = write_upload(web)

    s3.stop()
    with pytest.raises(StorageError, match="does not answer now"):
        uploads.hand_over(web, folder)
    s3.start()

    assert content(web.home / "uploads") == {}
    assert list(web.blobs.list("uploads")) == []


@pytest.mark.integration
def test_an_upload_is_fetched_through_an_outage(s3: S3, s3_url: str, tmp_path: Path) -> None:
    web = open_store(Settings(home=tmp_path / "web", database_url="", blobs=s3_url))
    place = uploads.hand_over(web, write_upload(web))
    s3.stop()
    is_stopped = [True]

    def start_again() -> None:
        if is_stopped:
            is_stopped.clear()
            s3.start()

    with uploads.opened(web, place, start_again) as folder:
        assert content(folder) == FILES
