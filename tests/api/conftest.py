"""A real store in a folder of its own."""

from pathlib import Path

import pytest

from core.storage.store import Store
from tests.builders import empty_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty home."""
    return empty_store(tmp_path / "home")
