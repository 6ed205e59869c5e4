"""Files by key, in a folder and in an S3 bucket."""

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.domain.errors import NotFound, StorageError
from core.storage.blobs import Blobs, free_bytes, replacing, write_atomically
from core.storage.remote import PART_BYTES


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.integration)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    url = request.getfixturevalue("s3_url") if request.param == "s3" else str(tmp_path / "blobs")
    return Blobs(url, tmp_path / "cache")


def test_what_was_put_is_there(blobs: Blobs) -> None:
    assert not blobs.exists("runs/a/x.png")

    blobs.put("runs/a/x.png", b"pixels")

    assert blobs.exists("runs/a/x.png")
    assert blobs.get("runs/a/x.png") == b"pixels"
    assert blobs.local("runs/a/x.png").read_bytes() == b"pixels"


def test_what_is_put_again_is_replaced(blobs: Blobs) -> None:
    blobs.put("x", b"first")
    blobs.put("x", b"second")

    assert blobs.get("x") == b"second"


def test_a_finished_file_is_moved_in(blobs: Blobs, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")

    blobs.put_file("runs/a/model.pt", path)

    assert blobs.get("runs/a/model.pt") == b"weights"
    assert not path.exists()


def test_a_file_of_many_parts_arrives_whole(blobs: Blobs, tmp_path: Path) -> None:
    data = os.urandom(2 * PART_BYTES) + b"the end"
    path = tmp_path / "model.pt"
    path.write_bytes(data)

    blobs.put_file("model.pt", path)
    blobs.put("again.pt", data)

    assert blobs.size("model.pt") == blobs.size("again.pt") == len(data)
    assert blobs.local("model.pt").read_bytes() == data
    assert blobs.get("again.pt") == data


def test_a_file_that_is_not_there_cannot_be_moved_in(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be saved"):
        blobs.put_file("model.pt", tmp_path / "model.pt")


def test_a_copy_is_written_where_it_is_wanted(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put("a", b"bytes")

    blobs.fetch("a", tmp_path / "deep" / "down" / "b")

    assert (tmp_path / "deep" / "down" / "b").read_bytes() == b"bytes"
    assert blobs.exists("a")


def test_what_is_not_there_is_not_found(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put("folder/x", b"")

    for key in ("nothing", "folder"):
        for use in (blobs.get, blobs.local, blobs.size, lambda k: blobs.fetch(k, tmp_path / "copy")):
            with pytest.raises(NotFound, match=f"{key} is not there"):
                use(key)
        assert not blobs.exists(key)
    assert not (tmp_path / "copy").exists()


def test_what_was_replaced_is_read_anew(blobs: Blobs) -> None:
    blobs.put("x", b"first")
    assert blobs.local("x").read_bytes() == b"first"

    blobs.put("x", b"second")

    assert blobs.local("x").read_bytes() == b"second"


def test_what_is_deleted_is_gone_and_deleting_it_again_does_nothing(blobs: Blobs) -> None:
    blobs.put("a/x", b"1")
    assert blobs.local("a/x").exists()

    for _ in range(2):
        blobs.delete("a/x")
        blobs.delete("a/x/y")

        assert not blobs.exists("a/x")
        with pytest.raises(NotFound):
            blobs.local("a/x")


def test_a_folder_of_keys_is_listed_as_it_is_now(blobs: Blobs) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # a store may cut the time to whole seconds
    assert list(blobs.list("runs")) == []
    for key in ("runs/b/y", "runs/a/x", "runs-too/z", "other"):
        blobs.put(key, b"")

    found = blobs.list("runs")

    assert [key for key, _ in found] == ["runs/a/x", "runs/b/y"]
    assert all(before <= moment <= datetime.now(UTC) + timedelta(seconds=1) for _, moment in found)
    assert [key for key, _ in blobs.list("")] == ["other", "runs-too/z", "runs/a/x", "runs/b/y"]


def test_what_is_being_written_is_not_listed(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"), tmp_path / "cache")

    with replacing(tmp_path / "blobs" / "a") as beside:
        beside.write_bytes(b"half")

        assert list(blobs.list("")) == []

    assert [key for key, _ in blobs.list("")] == ["a"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../secret", "a/../../secret"])
def test_a_key_never_leaves_the_store(blobs: Blobs, key: str) -> None:
    uses: list[Callable[[str], object]] = [blobs.get, blobs.local, blobs.exists, blobs.size, blobs.delete]
    for use in [*uses, lambda k: blobs.put(k, b""), lambda k: blobs.put_file(k, Path(__file__))]:
        with pytest.raises(ValueError, match="not a blob key"):
            use(key)


def test_a_refused_write_is_a_sentence_and_leaves_the_old_file_whole(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"), tmp_path / "cache")
    blobs.put("a", b"old")

    with pytest.raises(StorageError, match="Nothing was changed"):
        blobs.put("a/b", b"new")  # a is a file, no folder

    assert blobs.get("a") == b"old"


def test_a_broken_off_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="no space left"):
        write_atomically(target, b"new")

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_free_space_is_known(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0


def test_a_file_on_another_disk_is_moved_in(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"), tmp_path / "cache")
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk")
    path = shared_memory / f"maskwright-{uuid.uuid4().hex}"
    path.write_bytes(b"weights")

    blobs.put_file("model.pt", path)

    assert blobs.get("model.pt") == b"weights"
    assert not path.exists()
