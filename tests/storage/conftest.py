"""Stores on real databases: SQLite in a folder, PostgreSQL and S3 servers on loopback."""

import uuid
from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.storage.settings import Settings
from core.storage.store import Store, open_store
from tests.storage.servers import S3, postgres_server, s3_server


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
    """A PostgreSQL server of our own on a free loopback port; gives its URL without a database."""
    with postgres_server() as server:
        yield server.url


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[S3]:
    """An S3 server of our own, with keys for it in the environment."""
    with s3_server(monkeypatch) as server:
        yield server


@pytest.fixture
def s3_url(s3: S3) -> str:
    """An empty bucket on it."""
    return s3.make_bucket()
