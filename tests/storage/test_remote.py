"""What an S3 store that does not answer, or refuses, is said to do."""

import threading
import urllib.request
import uuid
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.domain.errors import NotFound, OutOfReach, StorageError
from core.storage.blobs import Blobs
from core.storage.patience import patiently
from tests.storage.servers import S3

pytestmark = pytest.mark.integration


@pytest.fixture
def blobs(s3_url: str, tmp_path: Path) -> Blobs:
    return Blobs(s3_url, tmp_path / "cache")


def uses_of(blobs: Blobs, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Give every use of a store, of the key "x"."""
    path = tmp_path / "x"
    path.write_bytes(b"new")
    return {
        "put": lambda: blobs.put("x", b"new"),
        "put_file": lambda: blobs.put_file("x", path),
        "get": lambda: blobs.get("x"),
        "fetch": lambda: blobs.fetch("x", tmp_path / "copy"),
        "local": lambda: blobs.local("x"),
        "exists": lambda: blobs.exists("x"),
        "size": lambda: blobs.size("x"),
        "list": lambda: blobs.list(""),
        "delete": lambda: blobs.delete("x"),
    }


def errors_of(uses: dict[str, Callable[[], object]]) -> dict[str, tuple[type[Exception], str]]:
    """Give what each use raises."""
    raised: dict[str, tuple[type[Exception], str]] = {}
    for name, use in uses.items():
        with pytest.raises(StorageError) as caught:
            use()
        raised[name] = (type(caught.value), str(caught.value))
    return raised


def test_a_stopped_store_is_out_of_reach_and_serves_when_it_is_back(
    s3: S3, blobs: Blobs, tmp_path: Path
) -> None:
    blobs.put("x", b"old")
    uses = uses_of(blobs, tmp_path)

    s3.stop()
    errors = errors_of(uses)
    s3.start()

    assert {kind for kind, _ in errors.values()} == {OutOfReach}
    assert all("does not answer now" in sentence for _, sentence in errors.values())
    assert (tmp_path / "x").read_bytes() == b"new"  # what was not uploaded is kept
    assert blobs.get("x") == b"old"
    blobs.put_file("x", tmp_path / "x")
    assert blobs.local("x").read_bytes() == b"new"


def test_what_is_patient_gets_through_an_outage(s3: S3, blobs: Blobs) -> None:
    blobs.put("x", b"old")
    s3.stop()
    is_stopped = [True]

    def start_again() -> None:
        if is_stopped:
            is_stopped.clear()
            s3.start()

    patiently(lambda: blobs.put("x", b"new"), check=start_again)

    assert blobs.get("x") == b"new"


def test_a_bucket_that_is_not_there_is_said(s3: S3, tmp_path: Path) -> None:
    url = f"s3://nowhere-{uuid.uuid4().hex}/maskwright"

    errors = errors_of(uses_of(Blobs(url, tmp_path / "cache"), tmp_path))

    sentence = f"There is no bucket for {url}. Create it, or correct MASKWRIGHT_BLOBS."
    assert set(errors.values()) == {(StorageError, sentence)}
    assert (tmp_path / "x").exists()


def test_a_store_that_refuses_the_keys_says_so(
    s3: S3, blobs: Blobs, tmp_path: Path, keys_are_checked: None
) -> None:
    errors = errors_of(uses_of(blobs, tmp_path))

    assert {kind for kind, _ in errors.values()} == {StorageError}
    assert all("refuses access" in sentence for _, sentence in errors.values())


@pytest.fixture
def keys_are_checked(s3: S3, blobs: Blobs) -> Generator[None]:
    """Have the server take the keys of its own users only, of which there are none."""
    _set_unchecked_calls(s3, "0")
    yield
    _set_unchecked_calls(s3, "inf")


def _set_unchecked_calls(s3: S3, number: str) -> None:
    url = f"{s3.endpoint}/moto-api/reset-auth"
    headers = {"Content-Type": "text/plain"}
    with urllib.request.urlopen(urllib.request.Request(url, number.encode(), headers)) as answer:
        assert answer.status == 200


def test_a_store_without_keys_says_what_to_set(
    s3: S3, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()

    with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID") as caught:
        blobs.get("x")

    assert not isinstance(caught.value, OutOfReach)


class Faulty(BaseHTTPRequestHandler):
    """Answers each request as its server's ``answer`` says: a status, a kind of XML error, a length."""

    status, code, length = 200, "", 0

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        body = f"<Error><Code>{self.code}</Code><Message>Not now</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(self.length or len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    do_PUT = do_HEAD = do_DELETE = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("status", "code", "length", "kind", "says"),
    [
        (503, "SlowDown", 0, OutOfReach, "SlowDown: Not now"),
        (500, "InternalError", 0, OutOfReach, "InternalError: Not now"),
        (429, "TooManyRequests", 0, OutOfReach, "Not now"),
        (200, "", 10_000, OutOfReach, "does not answer now"),  # the answer breaks off
        (507, "StorageFull", 0, StorageError, "refused x"),
        (400, "KeyTooLongError", 0, StorageError, "refused x"),
    ],
)
def test_faults_that_pass_are_told_from_those_that_last(
    s3: S3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    length: int,
    kind: type[Exception],
    says: str,
) -> None:
    import s3fs

    answers = type("Answers", (Faulty,), {"status": status, "code": code, "length": length})
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    s3fs.S3FileSystem.clear_instance_cache()
    blobs = Blobs("s3://photos/maskwright", tmp_path / "cache")

    with pytest.raises(StorageError, match=says) as caught:
        blobs.get("x")
    server.shutdown()
    thread.join()
    server.server_close()

    assert type(caught.value) is kind


def test_a_disk_that_takes_no_copy_is_no_outage(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put("x", b"1")
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError, match="could not be saved") as caught:
        blobs.fetch("x", tmp_path / "file" / "copy")

    assert not isinstance(caught.value, OutOfReach)


def test_many_may_fetch_the_same_file_at_once(blobs: Blobs) -> None:
    blobs.put("x", b"1" * 100_000)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(blobs.local("x").read_bytes())) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [b"1" * 100_000] * 8
    assert len([path for path in blobs.cache.rglob("*") if path.is_file()]) == 1


def test_a_copy_is_used_again_until_the_key_is_deleted(s3: S3, blobs: Blobs) -> None:
    blobs.put("x", b"1")
    blobs.local("x")

    s3.stop()
    again = blobs.local("x").read_bytes()
    s3.start()
    blobs.delete("x")

    assert again == b"1"
    with pytest.raises(NotFound):
        blobs.local("x")
