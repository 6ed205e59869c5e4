"""Classes and what is taken for what on the Review page: the numbers, and the way to their photos."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.labels import Category
from core.domain.runs import Run
from core.services import confusions
from core.storage import images
from core.storage.runs import ImageRecord
from core.storage.store import Store
from pages.components.confusion import (
    Norm,
    clicked_cell,
    color_ends,
    how_colored,
    matrix_figure,
    mistake_words,
    number_text,
)
from tests.builders import project_with
from tests.pages.said import press, texts
from tests.pages.test_review_page import photos as validation_photos
from tests.services.test_intervals import measured_run

OpenPage = Callable[[str], AppTest]

# Rows: what is labelled nothing, dent, scratch. The first takes the most dent for scratch, the third none.
MADE_OF = np.array(
    [
        [[900, 10, 0], [0, 60, 30], [0, 0, 0]],
        [[920, 0, 0], [20, 40, 10], [0, 0, 10]],
        [[990, 0, 0], [0, 0, 0], [2, 0, 8]],
    ]
)
NAMES = ["nothing", "dent", "scratch"]


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


@pytest.fixture
def run(store: Store, project: Project) -> Run:
    """A run of two epochs, alike but for photo_2, on which the second takes a dent for a scratch too."""
    second = MADE_OF.copy()
    second[2, 1, 2] = 100
    items = validation_photos(store, project, [None] * 3)
    return measured_run(store, project, items, {1: MADE_OF, 2: second})


def linked(open_page: OpenPage, **address: str) -> AppTest:
    """Open the Review page by a link, in a session of its own."""
    page = AppTest.from_file(open_page("home")._script_path, default_timeout=30).run()
    page.switch_page("pages/review.py")
    for name, word in address.items():
        page.query_params[name] = word
    page.run()
    assert not page.exception, page.exception
    return page


def listed(page: AppTest) -> list[str]:
    return list(page.dataframe[0].value["Photo"])


def drawn(matrix: NDArray[np.int64], norm: Norm, names: Sequence[str] = NAMES) -> dict[tuple[int, int], str]:
    """Give the numbers of a matrix as it is drawn, by cell."""
    figure = matrix_figure(gathered(matrix), names, norm)
    return {
        divmod(cell, len(matrix)): text
        for trace in figure["data"][2:]
        for cell, text in zip(trace["customdata"], trace["text"], strict=True)
    }


def gathered(matrix: NDArray[np.int64]) -> confusions.MeasuredPhotos:
    return confusions.gather([ImageRecord("a", np.asarray(matrix, np.int64), "p", "c")], {"a": "a.jpg"})


def test_each_class_has_its_figures_and_photos(run: Run, open_page: OpenPage) -> None:
    page = linked(open_page, run=run.id, view="classes", epoch="1")

    table = page.dataframe[0].value
    assert list(table["Class"]) == ["dent", "scratch"]
    assert list(table["IoU"]) == [100 / 170, 18 / 60]
    assert list(table["Dice (F1)"]) == [200 / 270, 36 / 78]
    assert list(table["Precision"]) == [100 / 110, 18 / 58]
    assert list(table["Recall"]) == [100 / 160, 18 / 20]
    assert list(table["Pixels"]) == [160, 20]
    assert list(table["Photos"]) == [2, 2]
    assert len(page.get("plotly_chart")) == 1


def test_a_pair_leads_to_its_photos_and_the_filter_goes_away_again(run: Run, open_page: OpenPage) -> None:
    page = linked(open_page, run=run.id, view="classes", epoch="1")

    press(page, "25 % of what is labelled dent is called scratch · 2 photos")

    assert page.query_params["cell"] == "1-2" and page.query_params["view"] == "photos"
    assert listed(page) == ["photo_0.jpg", "photo_1.jpg"]
    assert list(page.dataframe[0].value["Pixels"]) == [30, 10]
    assert "2 of 3 validation photos, worst first at epoch 1" in texts(page)
    assert "labelled dent, called scratch: 2 photos" in texts(page)
    press(page, "Remove")
    assert "cell" not in page.query_params
    assert page.selectbox(key="review_worst").value == "iou"
    assert listed(page) == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]
    assert "Pixels" not in page.dataframe[0].value and "IoU of class" not in page.dataframe[0].value


def test_a_link_restores_order_and_filters(run: Run, open_page: OpenPage) -> None:
    page = linked(open_page, run=run.id, epoch="1", worst="class-2", **{"with": "2"})

    assert listed(page) == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]  # 0 of 30, 10 of 20, 8 of 10
    assert list(page.dataframe[0].value["IoU of class"]) == [0, 0.5, 0.8]
    page.selectbox(key="review_worst").set_value("missed").run()
    assert page.query_params["worst"] == "missed" and page.query_params["with"] == "2"
    assert listed(page) == ["photo_1.jpg", "photo_2.jpg", "photo_0.jpg"]
    page.selectbox(key="review_worst").set_value("iou").run()
    page.selectbox(key="review_with").set_value("any").run()
    assert not page.query_params.get("worst") and not page.query_params.get("with")


def test_a_link_to_classes_that_the_run_does_not_know_lists_everything(run: Run, open_page: OpenPage) -> None:
    page = linked(open_page, worst="class-9", cell="1-9", **{"with": "x"})

    assert len(listed(page)) == 3
    assert page.selectbox(key="review_worst").value == "iou"


def test_a_photo_that_another_epoch_takes_out_of_the_list_stays_on_show(
    run: Run, open_page: OpenPage
) -> None:
    page = linked(open_page, run=run.id, cell="1-2", worst="cell", epoch="2")
    assert listed(page)[0] == "photo_2.jpg"
    shown = page.session_state["review_image"]

    page.session_state["review_epoch"] = {run.id: 1}
    page.run()

    assert "photo_2.jpg" not in listed(page)
    assert page.session_state["review_image"] == shown


def test_a_deleted_photo_is_left_out_and_said_to_be(store: Store, run: Run, open_page: OpenPage) -> None:
    before = linked(open_page, run=run.id, epoch="1")
    assert len(listed(before)) == 3

    images.delete(store, [before.session_state["review_image"]])

    before.session_state["review_image"] = "gone"
    before.run()
    assert len(listed(before)) == 2 and "1 deleted since left out" in texts(before)
    classes = linked(open_page, run=run.id, view="classes", epoch="1")
    assert "1 of them were deleted since" in texts(classes)
    assert list(classes.dataframe[0].value["Photos"]) == [2, 2]


def test_a_class_that_nobody_shows_has_no_figures(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    nothing = np.zeros((1, 3, 3), np.int64)
    nothing[0, 0, 0], nothing[0, 1, 1] = 900, 100
    measured_run(store, project, validation_photos(store, project, [None]), {1: nothing})

    page = linked(open_page, view="classes")

    assert page.dataframe[0].value["IoU"].isna().tolist() == [False, True]
    assert "No class is taken for another one." in texts(page) and "Nothing is missed." in texts(page)


def test_254_classes_are_listed_and_not_drawn(store: Store, project: Project, open_page: OpenPage) -> None:
    categories = [Category(n, f"class {n}", f"#{n:06X}") for n in range(1, 255)]
    matrices = np.zeros((2, 255, 255), np.int64)
    matrices[:, 0, 0], matrices[:, 7, 254] = 100, 3
    measured_run(store, project, validation_photos(store, project, [None] * 2), {1: matrices}, categories)

    page = linked(open_page, view="classes")

    assert not page.get("plotly_chart")
    assert "it is drawn up to 29" in texts(page)
    press(page, "100 % of what is labelled class 7 is called class 254 · 2 photos")
    assert "labelled class 7, called class 254: 2 photos" in texts(page)


def test_a_run_without_measured_photos_has_no_matrix(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    measured_run(store, project, [], {1: np.zeros((0, 3, 3), np.int64)})

    assert "No validation photo" in texts(linked(open_page, view="classes"))


def test_the_numbers_are_of_rows_of_columns_or_pixels() -> None:
    matrix = np.array([[1_234_567, 30, 0], [20, 60, 0], [0, 4, 796]])

    assert drawn(matrix, "truth") == {
        (0, 0): ">99", (0, 1): "<1", (1, 0): "25", (1, 1): "75", (2, 1): "<1", (2, 2): ">99",
    }  # fmt: skip
    assert drawn(matrix, "called")[0, 1] == "32" and drawn(matrix, "called")[2, 1] == "4"
    assert drawn(matrix, "pixels") == {
        (0, 0): "1.2M", (0, 1): "30", (1, 0): "20", (1, 1): "60", (2, 1): "4", (2, 2): "796",
    }  # fmt: skip


def test_colours_are_measured_by_mistakes_between_classes_and_the_background_is_cut_off() -> None:
    matrix = np.array([[9000, 1000, 0], [60, 20, 20], [0, 10, 90]])

    mistakes, right, *_ = matrix_figure(gathered(matrix), NAMES, "truth")["data"]

    assert color_ends(np.asarray(matrix), "truth") == (0.2, 1.0)
    assert mistakes["z"] == [[None, 0.5, None], [1.0, None, 1.0], [None, 0.5, None]]
    assert right["z"] == [[0.9, None, None], [None, 0.2, None], [None, None, 0.9]]
    assert "from 20 % on: the largest mistake between two classes" in how_colored(np.asarray(matrix), "truth")


@pytest.mark.parametrize(
    ("matrix", "norm", "ends"),
    [
        ([[90, 10], [5, 5]], "truth", (0.5, 1.0)),  # one class: missed and made up are all there is
        ([[90, 0], [0, 10]], "truth", (0.05, 1.0)),
        ([[90, 0], [0, 10]], "pixels", (1.0, 10.0)),
        ([[90, 0, 0], [0, 999, 1], [0, 0, 5]], "truth", (0.05, 1.0)),  # so small a mistake stays pale
        ([[90, 0, 0], [0, 0, 0], [0, 0, 0]], "called", (0.05, 1.0)),
    ],
)
def test_colours_have_an_end_whatever_there_is(matrix: Any, norm: Norm, ends: tuple[float, float]) -> None:
    assert color_ends(np.array(matrix), norm) == ends
    assert matrix_figure(gathered(np.array(matrix)), NAMES[: len(matrix)], norm)["data"]


def test_a_name_is_no_html_and_a_click_names_its_cell() -> None:
    figure = matrix_figure(gathered(MADE_OF[0]), ["nothing", "<b>dent", "scratch"], "truth")

    assert figure["layout"]["xaxis"]["ticktext"][1] == "&lt;b&gt;dent"
    assert any(
        "labelled &lt;b&gt;dent, called scratch" in text
        for t in figure["data"][2:]
        for text in t["hovertext"]
    )
    assert clicked_cell([{"customdata": 5}], 3) == clicked_cell([{"customdata": [5]}], 3) == (1, 2)
    assert clicked_cell([], 3) is None


def test_mistakes_are_sentences() -> None:
    assert [mistake_words(mistake, NAMES) for mistake in confusions.mistakes(MADE_OF.sum(axis=0))] == [
        "25 % of what is labelled dent is called scratch",
        "12 % of what is labelled dent is missed",
        "10 % of what is labelled scratch is missed",
        "9 % of what is called dent is nothing",
    ]
    assert number_text(0.001, "truth") == "<1" and number_text(12_345_678, "pixels") == "12M"
