"""The Predict page: how many single damages of each class, how large, and how they were told apart."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from core.services import evaluation, prediction, training
from core.storage import runs
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.inference.exported import BLUE, RED, Heads, export_drawn, heads_of, painted
from tests.pages.said import texts
from tests.pages.trained import finish_run

OpenPage = Callable[[str], AppTest]
Upload = Callable[..., AppTest]

LEFT, RIGHT, OTHER = (8, 16, 28, 48), (28, 16, 48, 48), (52, 4, 62, 12)
DAMAGED = painted((640, 480), (RED, LEFT), (RED, RIGHT), (BLUE, OTHER))


@pytest.fixture
def upload(store: Store, open_page: OpenPage) -> Upload:
    """Drop photos on the page of a project whose model knows dents by red and scratches by blue."""

    def uploaded(*photos: NDArray[np.uint8], heads: Heads | None = None) -> AppTest:
        export_drawn(store, finish_run(store, project_with(store, "dent", "scratch"), epochs=1), 1, heads)
        page = open_page("predict")
        files = [cv2.imencode(".png", photo[:, :, ::-1])[1].tobytes() for photo in photos]
        named = [(f"photo {n}.png", data, "image/png") for n, data in enumerate(files, start=1)]
        page.file_uploader[0].set_value(named).run()
        assert not page.exception, page.exception
        return page

    return uploaded


def found_table(page: AppTest) -> list[list[str]]:
    """Read the table of what was found: its cells, without colours and bold type, below the head."""
    (table,) = (m.value for m in page.markdown if "| Found |" in m.value)
    rows = [row.strip("| ").split("|") for row in table.splitlines()[2:]]
    return [[cell.rpartition("&nbsp;")[2].strip(" *") for cell in row] for row in rows]


def test_damages_that_the_model_tells_apart_are_counted_by_class(upload: Upload) -> None:
    page = upload(DAMAGED, heads=heads_of(LEFT, RIGHT, OTHER))

    (dent, scratch) = found_table(page)
    assert dent[:2] == ["dent", "× 2"] and scratch[:2] == ["scratch", "× 1"]
    assert float(dent[2].removesuffix("%")) > 30 > 3 > float(scratch[2].removesuffix("%")) > 1
    assert prediction.HOW_TOLD_APART["model"] in texts(page)
    singles = page.dataframe[0].value
    assert list(singles["Class"]) == ["dent", "dent", "scratch"]
    assert all(float(sure.removesuffix("%")) > 80 for sure in singles["Sure"])


def test_the_class_that_covers_most_comes_first(upload: Upload) -> None:
    page = upload(painted((640, 480), (RED, OTHER), (BLUE, LEFT)))

    assert [row[:2] for row in found_table(page)] == [["scratch", "× 1"], ["dent", "× 1"]]


@pytest.mark.parametrize(("heads", "how"), [(None, "connected"), (heads_of(), "no_centre")])
def test_without_the_models_word_connected_regions_are_counted_and_the_page_says_so(
    upload: Upload, heads: Heads | None, how: prediction.ToldApart
) -> None:
    page = upload(DAMAGED, heads=heads)

    assert [row[:2] for row in found_table(page)] == [["dent", "× 1"], ["scratch", "× 1"]]
    assert prediction.HOW_TOLD_APART[how] in texts(page)


def test_a_photo_without_damage_says_so(upload: Upload) -> None:
    page = upload(painted((640, 480)))

    assert [row[2] for row in found_table(page)] == [":gray[none]", ":gray[none]"]
    assert "**Found: no damage.**" in texts(page)
    assert not page.dataframe


def test_what_was_found_is_said_before_the_photo_is_shown(upload: Upload) -> None:
    page = upload(DAMAGED, heads=heads_of(LEFT, RIGHT, OTHER))

    said = [m.value for m in page.markdown]
    first = said.index("**Found: dent × 2, scratch × 1.**")
    assert first < min(n for n, value in enumerate(said) if "Share of the photo" in value)


def test_specks_alone_are_not_called_no_damage(upload: Upload) -> None:
    photo = painted((1280, 960))
    photo[45:55, 40:46] = RED  # a fifth of one pixel of the network

    page = upload(photo)

    assert "**Found: only specks.**" in texts(page)


def test_a_good_model_says_its_figure_and_no_warning(store: Store, open_page: OpenPage) -> None:
    export_drawn(store, finish_run(store, project_with(store, "dent", "scratch"), epochs=1), 1, None)

    page = open_page("predict")

    assert "2 classes. Foreground mIoU 1.000 on 2 validation photos." in texts(page)
    assert "still weak" not in texts(page)


def test_a_poor_champion_is_called_weak(store: Store, open_page: OpenPage) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=6)
    export_drawn(store, run, 1, None)
    evaluation.promote(store, run, 1)
    miou = evaluation.epochs(store, run.id)[0].metrics[evaluation.METRIC]
    assert miou is not None and miou < prediction.WEAK

    page = open_page("predict")

    assert f"Foreground mIoU {miou:.3f} on 2 validation photos." in texts(page)
    assert "This model is still weak: " in page.warning[0].value


def test_the_figure_on_test_photos_is_the_one_that_is_said(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", "scratch")
    add_image(store, project, 50, square(1, 20), split="test")
    run = finish_run(store, project, epochs=1)
    export_drawn(store, run, 1, None)
    assert prediction.quality(store, run, 1).split == "valid"
    (item,) = training.data_version(store, run).split("test")
    missed = np.array([[5000, 0, 0], [300, 100, 0], [0, 0, 0]])
    runs.set_records(store, run.id, 1, "test", [runs.ImageRecord(item.image_id, missed, "", "")])

    page = open_page("predict")

    assert "Foreground mIoU 0.250 on 1 test photo." in texts(page)


def test_several_photos_are_listed_with_what_was_found_on_each(upload: Upload) -> None:
    page = upload(DAMAGED, painted((640, 480)), heads=heads_of(LEFT, RIGHT, OTHER))

    listed = page.dataframe[-1].value
    assert list(listed["Photo"]) == ["photo 1.png", "photo 2.png"]
    assert list(listed["Found"]) == ["dent × 2, scratch × 1", "none"]
