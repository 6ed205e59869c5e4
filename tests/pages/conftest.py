"""The whole app as AppTest runs it, on a home of its own; a checkpoint made by a real, tiny training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from core.storage.store import Store
from tests.builders import empty_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty home that the pages open too."""
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    return empty_store(tmp_path / "home")


@pytest.fixture(autouse=True)
def entry_script_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do to each run what app.py's server half does once: AppTest forgets it before every run."""
    original = PagesManager.__init__

    def forgetful(self: PagesManager, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", forgetful)


@pytest.fixture
def open_page(store: Store) -> Callable[[str], AppTest]:
    """Open a page by its file's name."""

    def opened(name: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
        if name != "home":
            test.switch_page(f"pages/{name}.py").run()
        assert not test.exception, test.exception
        return test

    return opened
