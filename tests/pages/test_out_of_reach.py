"""A database that does not answer is one calm sentence on every page, and the page comes back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.storage.store import Store
from tests.builders import project_with
from tests.pages.said import press, texts
from tests.pages.test_pages import PAGES
from tests.pages.trained import finish_run

SENTENCE = "The database does not answer. Nothing is lost; this page tries again."
NOBODY_LISTENS = "postgresql://maskwright@127.0.0.1:1/maskwright"
FOLDER = Path(__file__).resolve().parents[2] / "pages"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_waits_for_the_database_and_comes_back(
    store: Store, open_page: Callable[[str], AppTest], monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    test = open_page(page)
    before = texts(test)

    monkeypatch.setenv("MASKWRIGHT_DATABASE_URL", NOBODY_LISTENS)
    test.run()

    assert not test.exception
    assert SENTENCE in texts(test)
    assert not test.error
    monkeypatch.delenv("MASKWRIGHT_DATABASE_URL")
    press(test, "Try again")
    assert texts(test) == before


PART = """
import streamlit as st
from core.domain.errors import OutOfReach
from pages.components.shell import part

def draw():
    if "answers" not in st.session_state:
        raise OutOfReach("The database does not answer now (refused). Try again later.")
    st.write("drawn")

part(draw, every="2s")()
"""


def test_a_part_that_is_drawn_again_by_itself_is_as_calm(tmp_path: Path) -> None:
    script = tmp_path / "part.py"
    script.write_text(PART)
    test = AppTest.from_file(str(script)).run()
    assert not test.exception
    assert SENTENCE in texts(test)

    test.session_state["answers"] = True
    press(test, "Try again")

    assert "drawn" in texts(test) and SENTENCE not in texts(test)


def test_no_page_makes_a_part_that_is_not_calm() -> None:
    makers = {path.name for path in FOLDER.rglob("*.py") if "st.fragment" in path.read_text()}

    assert makers == {"shell.py"}
