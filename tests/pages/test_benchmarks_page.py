"""The Benchmarks page: start one, see its table."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core.services import benchmarks, training
from core.storage.store import Store
from tests.builders import project_with
from tests.services.benchmarked import FIGURES, finish, labelled

OpenPage = Callable[[str], AppTest]


def test_a_benchmark_is_started_and_shown(store: Store, open_page: OpenPage) -> None:
    labelled(store)
    page = open_page("benchmarks")
    assert "No benchmark yet" in " ".join(m.value for m in page.markdown)
    page.text_input[0].input("Nets").run()
    page.number_input[0].set_value(2).run()
    assert any("4 runs" in caption.value for caption in page.caption)

    next(b for b in page.button if b.label == "Start the benchmark").click().run()

    assert not page.exception
    assert len(training.list_runs(store)) == 4
    assert list(page.dataframe[0].value["Runs"]) == ["0 of 2", "0 of 2"]


def test_the_table_says_mean_and_deviation(store: Store, open_page: OpenPage) -> None:
    project = labelled(store)
    benchmarks.start(store, "Nets", [project.id], ["tiny", "fast"], seeds=2, photos=0)
    finish(store, FIGURES)

    page = open_page("benchmarks")

    table = page.dataframe[0].value
    assert list(table["Preset"]) == ["Fast", "Tiny"]
    assert list(table["mIoU, valid"]) == ["0.650 ± 0.071", "0.450 ± 0.071"]
    assert any(button.label == "Test the best epochs (4)" for button in page.button)


def test_a_project_without_labels_says_so(store: Store, open_page: OpenPage) -> None:
    project_with(store, "dent")
    page = open_page("benchmarks")

    assert any("Label at least" in warning.value for warning in page.warning)
    assert next(b for b in page.button if b.label == "Start the benchmark").disabled
