"""Files by key, in a folder and in an S3 bucket."""

import os
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest

from core.domain.errors import NotFound, StorageError
from core.storage.blobs import Blobs, free_bytes, write_atomically


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.integration)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    url = request.getfixturevalue("s3_url") if request.param == "s3" else str(tmp_path / "blobs")
    return Blobs(url, tmp_path / "cache")


@pytest.fixture
def s3_url(monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """An empty bucket on an S3 server of our own."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    client, bucket = boto3.client("s3"), f"photos-{uuid.uuid4().hex}"  # the server's buckets outlive it
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    client.close()
    s3fs.S3FileSystem.clear_instance_cache()
    yield f"s3://{bucket}/maskwright"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


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


def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match="nothing is not there"):
        blobs.get("nothing")
    with pytest.raises(NotFound, match="nothing is not there"):
        blobs.local("nothing")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../secret", "a/../../secret"])
def test_a_key_never_leaves_the_store(blobs: Blobs, key: str) -> None:
    for use in (blobs.get, blobs.local, blobs.exists, lambda k: blobs.put(k, b"")):
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
