"""The kinds of errors on a page: drawn, with the photos to look at."""

from streamlit.testing.v1 import AppTest

from core.domain.runs import Run
from core.services import analysis
from core.storage.store import Store
from core.worker.handlers import HANDLERS
from pages.components.analysis import ADVICE, error_bars
from tests.builders import project_with
from tests.pages.trained import finish_run


def page() -> None:
    import streamlit as st

    from core.services import training
    from core.services.home import open_home
    from pages.components.analysis import draw_analysis

    store = open_home()
    st.text(f"chosen: {draw_analysis(store, training.list_runs(store)[0], 1)}")


def analysed(store: Store) -> Run:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    HANDLERS["analyse"](store, analysis.analyse(store, run, 1), lambda *_: None)
    return run


def test_the_counts_are_drawn_and_the_worst_photos_listed(store: Store) -> None:
    run = analysed(store)

    view = AppTest.from_function(page, default_timeout=30).run()

    assert not view.exception
    classes, photos = view.dataframe
    found = analysis.find(store, run, 1)
    assert found is not None
    assert list(classes.value["Class"])[-1] == "Any damage"
    assert list(classes.value["IoU"])[-1] == found.total(0).errors.iou
    assert len(photos.value) == 2
    assert view.text[0].value == "chosen: None"
    assert ADVICE["extent"] in view.markdown[0].value
    view.selectbox[1].set_value("missed").run()
    assert not view.exception
    assert len(view.dataframe) == 1, "nothing is missed"


def test_the_parts_of_a_bar_add_up(store: Store) -> None:
    run = analysed(store)
    found = analysis.find(store, run, 1)
    assert found is not None

    bars = error_bars([analysis.any_damage(found)])["data"]

    assert [bar["name"] for bar in bars] == ["Right (IoU)", "Edge", "Extent", "Missed", "False"]
    assert abs(sum(bar["x"][0] for bar in bars) - 1) < 1e-12
