"""Stores on real databases: SQLite in a folder, PostgreSQL and S3 servers on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.storage.settings import Settings
from core.storage.store import Store, open_store

POSTGRES_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(
    params=[pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.integration)],
)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an empty home, on each kind of database."""
    url = request.getfixturevalue("database_url") if request.param == "postgresql" else ""
    return Settings(home=tmp_path / "home", database_url=url, blobs="")


@pytest.fixture
def store(settings: Settings) -> Generator[Store]:
    """An empty store."""
    opened = open_store(settings)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def database_url(postgres: str) -> Generator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex}"
    server = sa.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield f"{postgres}/{name}"
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """A PostgreSQL server of our own on a free loopback port; gives its URL without a database.

    Its folder is not below pytest's own, which every new session of pytest closes to other users.
    """
    if not POSTGRES_BINARIES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    binaries = POSTGRES_BINARIES[-1]
    folder = Path(tempfile.mkdtemp(prefix="maskwright-postgres-"))
    as_owner: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        as_owner = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    port, data = _free_port(), str(folder / "data")
    run = [*as_owner, str(binaries / "initdb"), "-D", data, "-U", "maskwright", "-A", "trust", "-N"]
    control = [*as_owner, str(binaries / "pg_ctl"), "-D", data, "-w"]
    options = f"-p {port} -h 127.0.0.1 -k '' -c fsync=off"
    start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    try:
        subprocess.run(run, check=True, capture_output=True, cwd=folder)
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        yield f"postgresql+psycopg://maskwright@127.0.0.1:{port}"
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
