"""A PostgreSQL and an S3 server on loopback that can be stopped and started again."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

POSTGRES_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def free_port() -> int:
    """Give a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Postgres:
    """A PostgreSQL server of our own; ``url`` names no database."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://maskwright@127.0.0.1:{self.port}"

    def create(self) -> None:
        """Make its data folder."""
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", "maskwright", "-A", "trust", "-N", stdout=subprocess.DEVNULL)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k '' -c fsync=off"
        self._control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """Stop it; "immediate" is as good as a crash."""
        self._control("-m", mode, "stop")

    def _control(self, *words: str) -> None:
        # The server inherits its output, so it must not be a pipe that somebody waits on.
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", *words, stdout=subprocess.DEVNULL)

    def _run(self, program: str, *words: str, **options: Any) -> None:
        as_owner = (
            ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        )  # it refuses to run as root
        command = [*as_owner, str(POSTGRES_BINARIES[-1] / program), *words]
        subprocess.run(command, check=True, cwd=self.folder, stderr=subprocess.DEVNULL, **options)


@contextmanager
def postgres_server() -> Generator[Postgres]:
    """Run a PostgreSQL server on a free loopback port.

    Its folder is not below pytest's own, which every new session of pytest closes to other users.
    """
    if not POSTGRES_BINARIES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="maskwright-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    server = Postgres(folder)
    try:
        server.create()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class S3:
    """An S3 server in a thread; what it holds outlives a stop."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def make_bucket(self) -> str:
        """Make an empty bucket; give the address of a store in it."""
        import boto3

        client, bucket = boto3.client("s3"), f"photos-{uuid.uuid4().hex}"  # buckets outlive the server
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        client.close()
        return f"s3://{bucket}/maskwright"


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Generator[S3]:
    """Run an S3 server, with keys for it in the environment."""
    import s3fs

    server = S3()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": server.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
