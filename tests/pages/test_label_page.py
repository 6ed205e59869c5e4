"""The Label page around its canvas: the queue, its address, history, progress, classes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.domain.images import Image, Project
from core.domain.labels import ImageState
from core.services import projects
from core.services.suggestions import NO_CHAMPION
from core.storage import annotations, images
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.said import texts

OpenPage = Callable[[str], AppTest]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


@pytest.fixture
def photos(store: Store, project: Project) -> list[Image]:
    """One photo in each state, and one that shows no damage."""
    drawn = {ImageState.DONE: [square(1)], ImageState.APPROVED: [square(1), square(2)]}
    made = [
        add_image(store, project, seed, *drawn.get(state, []), state=state, name=f"IMG_{seed}.jpg")
        for seed, state in enumerate(ImageState)
    ]
    return [*made, add_image(store, project, 9, name="IMG_9.jpg")]


def on_canvas(test: AppTest) -> str:
    """Give the id of the photo that is open; the page puts it into the address."""
    return test.session_state["label_image"]


def queue_ids(test: AppTest) -> list[str]:
    return test.session_state["queue_places"][1]


def opened_at(store: Store, **address: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    for name, value in address.items():
        test.query_params[name] = value
    test.switch_page("pages/label.py").run()
    assert not test.exception, test.exception
    return test


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("to_do", [0, 1, 4]),
        ("unlabelled", [0]),
        ("in_progress", [1]),
        ("rejected", [4]),
        ("done", [2, 5]),
        ("approved", [3]),
        ("no_damage", [5]),
    ],
)
def test_the_queue_shows_the_photos_of_a_state(
    store: Store, project: Project, photos: list[Image], open_page: OpenPage, show: str, expected: list[int]
) -> None:
    test = open_page("label")

    test.selectbox(key=f"queue_show_{project.id}").set_value(show).run()

    assert not test.exception
    assert queue_ids(test) == [photos[at].id for at in expected]
    assert on_canvas(test) in queue_ids(test)


def test_filters_hold_together_and_are_taken_from_the_address(
    store: Store, project: Project, photos: list[Image]
) -> None:
    images.set_split(store, [photos[2].id, photos[3].id], "valid")
    rev = images.get(store, photos[3].id).rev
    annotations.save(store, photos[3].id, [square(2)], base_rev=rev, state=ImageState.DONE, author="Ana")

    test = opened_at(store, **{"class": "2", "split": "valid", "by": "Ana", "order": "name"})

    assert queue_ids(test) == [photos[3].id]
    assert test.selectbox(key=f"queue_by_{project.id}").value == "Ana"
    test.selectbox(key=f"queue_by_{project.id}").set_value("-").run()
    assert queue_ids(test) == []
    assert "Nothing to do here" in texts(test)
    next(button for button in test.button if button.label == "Clear").click().run()
    assert len(queue_ids(test)) == 6


def test_an_address_of_what_does_not_exist_is_the_whole_queue(
    store: Store, project: Project, photos: list[Image]
) -> None:
    test = opened_at(store, **{"show": "finished", "class": "x", "by": "Nobody", "order": "random"})

    assert queue_ids(test) == [photo.id for photo in photos]


def test_a_photo_opened_from_elsewhere_is_shown_whatever_the_filter(
    store: Store, project: Project, photos: list[Image]
) -> None:
    test = opened_at(store, image=photos[3].id, show="to_do")

    assert on_canvas(test) == photos[3].id
    assert queue_ids(test) == [photos[3].id, photos[0].id, photos[1].id, photos[4].id]


def test_a_photo_that_was_just_done_keeps_its_place_until_the_filter_changes(
    store: Store, project: Project, photos: list[Image]
) -> None:
    test = opened_at(store, image=photos[1].id, show="to_do")
    annotations.save(store, photos[1].id, [], base_rev=1, state=ImageState.DONE)

    test.run()
    kept = queue_ids(test)
    test.selectbox(key=f"queue_show_{project.id}").set_value("rejected").run()

    assert kept == [photos[0].id, photos[1].id, photos[4].id]
    assert (queue_ids(test), on_canvas(test)) == ([photos[4].id], photos[4].id)


def test_a_photo_is_opened_by_a_part_of_its_name(
    store: Store, project: Project, photos: list[Image], open_page: OpenPage
) -> None:
    test = open_page("label")

    test.text_input(key="queue_go_to").set_value("img_3").run()
    test.button(key=f"go_{photos[3].id}").click().run()

    assert not test.exception
    assert on_canvas(test) == photos[3].id
    test.text_input(key="queue_go_to").set_value("door").run()
    assert "No photo's name holds this." in texts(test)


def test_an_earlier_revision_is_looked_at_and_restored(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    image = add_image(store, project, 1, square(1))
    annotations.save(store, image.id, [], base_rev=1, state=ImageState.DONE, author="Ana", note="gone")
    test = open_page("label")
    assert not test.radio

    test.session_state["label_history"] = True
    test.run()
    assert "Removed 1 dent; changed the note." in test.radio[0].captions
    assert [option.split(" · ")[2] for option in test.radio[0].options] == ["Ana", "without a name"]
    test.radio[0].set_value(1).run()
    next(button for button in test.button if button.label == "Restore revision 1").click().run()

    assert not test.exception
    now = annotations.current(store, image.id)
    assert (now.rev, len(now.annotations), now.note) == (3, 1, "")


def test_progress_counts_photos_and_people(
    store: Store, project: Project, photos: list[Image], open_page: OpenPage
) -> None:
    annotations.save(store, photos[0].id, [], base_rev=0, state=ImageState.REJECTED, author="Ana")
    test = open_page("label")

    test.session_state["label_progress"] = True
    test.run()

    assert not test.exception
    said = texts(test)
    assert "Done **2** · Approved **1** · Rejected **2** · In progress **1**" in said
    assert "3 objects; 1 labelled photo shows no damage." in said
    people = test.dataframe[0].value
    assert people.to_dict("list") == {
        "Person": ["Without a name", "Ana"],
        "Done": ["2, 2 today", "0"],
        "Reviewed": ["2, 2 today", "1, 1 today"],
    }


def test_a_class_in_use_is_removed_after_a_question(
    store: Store, project: Project, photos: list[Image], open_page: OpenPage
) -> None:
    test = open_page("label")

    test.selectbox(key=f"remove_class_{project.id}").set_value(1).run()
    assert "**2 objects on 2 photos** are of this class." in texts(test)
    assert next(b for b in test.button if b.label == "Remove “dent”").disabled, "nothing is chosen yet"
    test.radio(key=f"remove_move_{project.id}").set_value(0).run()
    assert any("1 labelled photo shows nothing else: it then" in warning.value for warning in test.warning)
    test.radio(key=f"remove_move_{project.id}").set_value(2).run()
    next(button for button in test.button if button.label == "Remove “dent”").click().run()

    assert not test.exception
    assert [c.name for c in projects.get(store, project.id).categories] == ["scratch"]
    assert images.get(store, photos[2].id).category_ids == (2,)
    assert not test.radio


def test_an_unused_class_is_removed_plainly(store: Store, project: Project, open_page: OpenPage) -> None:
    add_image(store, project, 1, square(1))
    test = open_page("label")

    test.selectbox(key=f"remove_class_{project.id}").set_value(2).run()
    assert "No object is of this class." in texts(test)
    next(button for button in test.button if button.label == "Remove “scratch”").click().run()

    assert [c.name for c in projects.get(store, project.id).categories] == ["dent"]
    assert not test.exception


def test_the_last_class_can_go_too(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, square(1))
    test = open_page("label")

    test.selectbox(key=f"remove_class_{project.id}").set_value(1).run()
    assert "**1 object on 1 photo** is of this class." in texts(test)
    next(button for button in test.button if button.label == "Remove “dent”").click().run()

    assert "What do you want to find?" in texts(test)
    assert [toast.value for toast in test.toast] == ["“dent” is removed. 1 photo has got a new revision."]
    assert annotations.current(store, image.id).annotations == ()


def test_the_most_useful_first_says_what_it_needs(
    store: Store, project: Project, photos: list[Image]
) -> None:
    test = opened_at(store, order="useful")

    assert NO_CHAMPION in texts(test)
    assert queue_ids(test) == [photo.id for photo in photos]


def test_a_photo_of_another_project_is_left_behind(
    store: Store, project: Project, photos: list[Image]
) -> None:
    bikes = project_with(store, "rust", name="Bikes")
    other = add_image(store, bikes, 50)
    test = opened_at(store, image=other.id)
    assert on_canvas(test) == other.id

    test.selectbox(key="project").set_value(project.id).run()

    assert not test.exception
    assert on_canvas(test) in [photo.id for photo in photos]
    assert queue_ids(test)[-1] != other.id
