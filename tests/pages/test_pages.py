"""Every page opens on an empty home, on an empty project and on a filled one; one flow each."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from core.domain.images import ImageFilter
from core.domain.labels import ImageState
from core.domain.runs import WorkState
from core.services import projects, training
from core.storage import runs
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.said import texts
from tests.pages.trained import finish_run

PAGES = (
    *("home", "images", "label", "train", "runs", "curves", "review", "testing", "champion", "benchmarks"),
    *("predict", "workers"),
)

OpenPage = Callable[[str], AppTest]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_without_a_project(open_page: OpenPage, page: str) -> None:
    said = texts(open_page(page))

    assert ("There is no project yet" in said) == (page not in ("home", "workers"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_an_empty_project_and_says_what_comes_next(
    store: Store, open_page: OpenPage, page: str
) -> None:
    project_with(store)

    test = open_page(page)

    expected = {
        "home": "import photos",
        "images": "No photos yet",
        "label": "No photos yet",
        "train": "Not enough labels yet",
        "runs": "No runs yet",
        "curves": "No epoch yet",
        "review": "No epoch to look at yet",
        "testing": "No epoch to test yet",
        "champion": "No champion yet",
        "benchmarks": "No benchmark yet",
        "predict": "No model yet",
        "workers": "No worker is running",
    }
    assert expected[page] in texts(test)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_a_project_with_a_finished_run(
    store: Store, open_page: OpenPage, page: str
) -> None:
    project = project_with(store, "dent", "scratch")
    finish_run(store, project, epochs=2)

    assert not open_page(page).exception


def test_a_project_is_made_on_the_start_page(store: Store, open_page: OpenPage) -> None:
    test = open_page("home")

    test.text_input(key="new_name").input("Returns")
    next(button for button in test.button if button.label == "Create project").click()
    test.run()

    assert [project.name for project in projects.list_all(store)] == ["Returns"]
    assert test.title[0].value == "Returns"


def test_a_taken_name_is_refused_with_a_sentence(store: Store, open_page: OpenPage) -> None:
    project_with(store, name="Returns")
    test = open_page("home")

    test.text_input(key="new_name").input("Returns")
    next(button for button in test.button if button.label == "Create project").click()
    test.run()

    assert "already a project “Returns”" in texts(test)
    assert len(projects.list_all(store)) == 1


def test_the_sample_project_is_queued_from_the_start_page(store: Store, open_page: OpenPage) -> None:
    test = open_page("home")

    next(button for button in test.button if button.label == "Create sample project").click().run()

    assert not test.exception
    assert "No worker is running" in texts(test)
    assert [project.name for project in projects.list_all(store)] == ["Sample: car panels"]


def test_a_training_is_started_with_the_chosen_epochs(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent")
    for seed in range(4):
        add_image(store, project, seed, square(1))
    test = open_page("train")

    test.number_input[0].set_value(7)
    next(button for button in test.button if button.label == "Start training").click()
    test.run()

    runs = training.list_runs(store, project.id)
    assert [(run.state, run.config.epochs) for run in runs] == [(WorkState.QUEUED, 7)]
    assert "1 of 4 labelled photos are held out for validation." in texts(test)
    next(button for button in test.button if button.label == "Stop").click().run()
    assert training.get_run(store, runs[0].id).state is WorkState.CANCELLED


def test_a_class_is_added_on_the_label_page(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    add_image(store, project, 1, state=ImageState.UNLABELLED)
    test = open_page("label")
    assert "What do you want to find?" in texts(test)

    test.text_input[0].input("scratch")
    next(button for button in test.button if button.label == "Add class").click()
    test.run()

    assert [category.name for category in projects.get(store, project.id).categories] == ["scratch"]
    assert not test.exception


def test_looking_at_another_project_renames_nothing(store: Store, open_page: OpenPage) -> None:
    for name, category in (("A", "dent"), ("B", "scratch")):
        add_image(store, project_with(store, category, name=name), 1, square(1))
    test = open_page("label")

    for project in projects.list_all(store):
        test.selectbox(key="project").set_value(project.id).run()

    assert not test.exception
    assert [p.categories[0].name for p in projects.list_all(store)] == ["dent", "scratch"]


def test_a_class_is_renamed_by_its_button_alone(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1))
    test = open_page("label")

    next(text for text in test.text_input if text.label == "Name").set_value("Dents")
    next(button for button in test.button if button.label == "Save changes").click().run()

    assert not test.exception
    assert projects.get(store, project.id).categories[0].name == "Dents"


def test_the_filter_finds_photos_by_state(store: Store) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1), split="train")
    undamaged = add_image(store, project, 2, split="valid")
    waiting = add_image(store, project, 3, state=ImageState.UNLABELLED)

    def found(**only: object) -> list[str]:
        return [i.id for i in projects.list_images(store, project.id, ImageFilter(**only))]

    assert found(state=ImageState.UNLABELLED) == [waiting.id]
    assert found(split="valid") == [undamaged.id]
    assert found(split="unsplit") == [waiting.id]
    assert len(found(category_id=1)) == 1
    assert found(name_contains="photo_3") == [waiting.id]


def test_the_shown_epoch_becomes_the_champion(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=2)
    test = open_page("review")

    next(button for button in test.button if button.label == "Make epoch 2 champion").click().run()

    from core.services import evaluation

    chosen = evaluation.champion(store, project.id)
    assert chosen is not None
    assert (chosen.run_id, chosen.epoch) == (run.id, 2)


def test_an_epoch_whose_checkpoint_was_not_kept_is_looked_at_but_not_promoted(
    store: Store, open_page: OpenPage
) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    runs.give_up_checkpoints(store, run.id, [2])

    test = open_page("review")

    promote = next(button for button in test.button if button.label == "Make epoch 2 champion")
    assert promote.disabled
    assert "The checkpoint of epoch 2 was not kept" in texts(test) and "Kept: 1." in texts(test)
