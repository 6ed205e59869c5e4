"""A real store with an empty project."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.storage import projects
from core.storage.settings import Settings
from core.storage.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a folder of its own."""
    opened = open_store(Settings(home=tmp_path / "home"))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def project_id(store: Store) -> str:
    """An empty project in the store."""
    return projects.create(store, "cars").id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to fill with files to import."""
    path = tmp_path / "source"
    path.mkdir()
    return path
