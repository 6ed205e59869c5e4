"""The Review page says what an epoch's figures are worth, and which epochs are as good as the best one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.intervals import Ties, bootstrap, count
from core.domain.labels import ImageState
from core.domain.training import VersionItem
from core.storage import annotations, run_marks, runs
from core.storage.runs import ImageRecord
from core.storage.store import Store
from pages.components.promotion import few_in_words, ties_in_words
from tests.builders import add_image, project_with, square
from tests.pages.said import press, texts
from tests.pages.trained import finish_run
from tests.services.test_intervals import Matrices, found_share, measured_run, spread

OpenPage = Callable[[str], AppTest]
MEANS = (0.2, 0.61, 0.4, 0.6, 0.61, 0.62)


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


def photos(store: Store, project: Project, groups: Sequence[str | None]) -> list[VersionItem]:
    """Add a validation photo for each group key."""
    added = [add_image(store, project, seed, square(1), split="valid") for seed in range(len(groups))]
    return [
        VersionItem(image.id, image.sha256, image.rev, "valid", group)
        for image, group in zip(added, groups, strict=True)
    ]


def epochs(count: int) -> dict[int, Matrices]:
    """Make epochs of which 2, 4, 5 and 6, the best, are alike."""
    return {
        number: found_share(spread(mean, count, seed=number), classes=3)
        for number, mean in enumerate(MEANS, start=1)
    }


def test_the_figures_come_with_their_intervals_and_the_epochs_as_good_as_the_best(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made = epochs(12)
    measured_run(store, project, photos(store, project, [None] * 12), made)

    test = open_page("review")

    interval = bootstrap(count(made[6])).of.miou_foreground
    assert interval is not None
    assert test.metric[0].value == f"{interval.value:.3f}"
    assert test.metric[0].delta == f"{interval.low:.3f} to {interval.high:.3f}"
    assert "95 % intervals over 12 photos" in texts(test)
    assert "cars or claims" not in texts(test) and "says little" not in texts(test)
    assert "Epochs 2, 4 and 5 cannot be told apart from the best one, epoch 6" in texts(test)


def test_photos_of_cars_are_counted_as_cars(store: Store, project: Project, open_page: OpenPage) -> None:
    groups = [f"car {n // 2}" for n in range(12)]
    made = epochs(12)
    measured_run(store, project, photos(store, project, groups), made)

    test = open_page("review")

    dice = bootstrap(count(made[6]), groups).of.dice_foreground
    assert dice is not None and test.metric[1].delta == f"{dice.low:.3f} to {dice.high:.3f}"
    assert "95 % intervals over 12 photos of 6 cars or claims" in texts(test)
    assert "Only 6 cars or claims: such an interval says little." in texts(test)


def test_an_interval_of_few_photos_comes_with_a_warning(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    finish_run(store, project, epochs=2)

    test = open_page("review")

    assert "95 % intervals over 2 photos" in texts(test)
    assert "Only 2 photos: such an interval says little." in texts(test)


def test_one_photo_has_figures_and_no_interval(store: Store, project: Project, open_page: OpenPage) -> None:
    matrices = found_share([0.5], classes=3)
    measured_run(store, project, photos(store, project, [None]), {1: matrices, 2: matrices})

    test = open_page("review")

    assert [metric.delta for metric in test.metric[:2]] == ["", ""]
    assert "No interval: it needs two photos that show damage." in texts(test)
    assert "cannot be told apart" not in texts(test) and "says little" not in texts(test)


def test_photos_of_one_car_have_figures_and_no_interval(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    measured_run(store, project, photos(store, project, ["car"] * 12), epochs(12))

    test = open_page("review")

    assert test.metric[0].value != "–" and test.metric[0].delta == ""
    assert "No interval: it needs two cars or claims that show damage." in texts(test)
    assert "cannot be told apart" not in texts(test)


def test_an_epoch_without_any_damage_has_neither_figure_nor_interval(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    nothing = np.zeros((12, 3, 3), np.int64)
    nothing[:, 0, 0] = 6000
    measured_run(store, project, photos(store, project, [None] * 12), {1: nothing})

    test = open_page("review")

    assert [(metric.value, metric.delta) for metric in test.metric[:2]] == [("–", ""), ("–", "")]
    assert "No interval: it needs two photos that show damage." in texts(test)


def test_next_and_previous_follow_the_list_as_it_is_sorted_and_filtered(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made = found_share([0.9, 0.2, 0.5, 0.7], classes=3)
    made[1, 2] = 0  # the second photo shows no scratch
    run = measured_run(store, project, photos(store, project, [None] * 4), {1: made})
    without_pictures = [ImageRecord(r.image_id, r.confusion, "", "") for r in runs.records(store, run.id, 1)]
    runs.set_records(store, run.id, 1, "valid", without_pictures)
    ids = [record.image_id for record in without_pictures]

    test = open_page("review")

    def shown() -> int:
        return ids.index(test.session_state["review_image"])

    assert "No picture of this photo was kept at epoch 1" in texts(test)
    assert "4 without a picture come last" in texts(test)
    seen = [shown()]
    while not next(button for button in test.button if button.label == "Next photo").disabled:
        press(test, "Next photo")
        seen.append(shown())
    assert seen == [1, 2, 3, 0], "worst first"
    test.selectbox(key="review_with").set_value("2").run()
    press(test, "Previous photo")
    press(test, "Previous photo")
    assert shown() == 2 and next(b for b in test.button if b.label == "Previous photo").disabled
    press(test, "Predict it now")
    assert test.segmented_control[0].value == "Any labelled photo"


def test_a_photo_that_the_filter_takes_out_makes_way_for_the_worst_of_the_others(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made = found_share([0.9, 0.2, 0.5], classes=3)
    made[1, 2] = 0
    run = measured_run(store, project, photos(store, project, [None] * 3), {1: made})
    ids = [record.image_id for record in runs.records(store, run.id, 1)]
    test = open_page("review")
    assert test.session_state["review_image"] == ids[1]

    test.selectbox(key="review_with").set_value("2").run()

    assert not test.exception and test.session_state["review_image"] == ids[2]
    assert "2 of 3 validation photos, worst first" in texts(test)


def test_a_class_on_few_photos_comes_with_a_warning(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made = found_share([0.5] * 12, classes=3)
    made[1:, 2] = 0  # one photo alone shows a scratch
    measured_run(store, project, photos(store, project, [None] * 12), {1: made})

    test = open_page("review")

    assert "95 % intervals over 12 photos" in texts(test)
    assert "Some class is seen on only 1 photo: such an interval says little." in texts(test)


def test_a_class_on_few_cars_comes_with_a_warning() -> None:
    made = found_share([0.5] * 24, classes=3)
    made[4:, 2] = 0

    few = few_in_words(bootstrap(count(made), [f"car {n // 2}" for n in range(24)]))

    assert "Some class is seen on only 2 cars or claims: such an interval says little." in few


def open_address(open_page: OpenPage, **address: str) -> AppTest:
    """Open the page by an address."""
    test = open_page("home").switch_page("pages/review.py")
    for name, words in address.items():
        test.query_params[name] = words
    test.run()
    assert not test.exception, test.exception
    return test


@pytest.mark.parametrize(("asked", "shown"), [("1", 1), ("9" * 5000, 2), ("-1", 2), ("1e0", 2)])
def test_an_epoch_in_the_address_that_there_is_not_is_the_best_one(
    store: Store, project: Project, open_page: OpenPage, asked: str, shown: int
) -> None:
    made = {number: found_share([number / 3] * 4, classes=3) for number in (1, 2)}
    run = measured_run(store, project, photos(store, project, [None] * 4), made)

    test = open_address(open_page, run=run.id, epoch=asked)

    assert f"**Epoch {shown}**" in texts(test)


def test_another_run_does_not_begin_with_the_epoch_of_the_run_before(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made_of = photos(store, project, [None] * 4)
    made = {number: found_share([number / 3] * 4, classes=3) for number in (1, 2)}
    one, other = (measured_run(store, project, made_of, made) for _ in range(2))
    run_marks.rename(store, other.id, "other")
    test = open_address(open_page, run=one.id, epoch="1", view="any")

    test.selectbox(key="review_run").set_value(other.id).run()
    test.run()
    test.segmented_control[0].set_value("Validation photos").run()

    assert not test.exception and "**Epoch 2**" in texts(test)
    test.selectbox(key="review_run").set_value(one.id).run()
    assert "**Epoch 1**" in texts(test), "the address asked for it"


def test_a_renamed_class_is_the_same_and_one_of_the_same_name_another(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made_of, made = photos(store, project, [None] * 4), {1: epochs(4)[1]}
    dent, scratch = project.categories
    run = measured_run(store, project, made_of, made)
    renamed = measured_run(store, project, made_of, made, [replace(dent, name="bump"), scratch])
    run_marks.rename(store, renamed.id, "renamed")
    measured_run(store, project, made_of, made, [replace(dent, category_id=3), scratch])

    test = open_address(open_page, run=run.id)

    (choice,) = test.multiselect
    assert choice.label == "Compare with" and choice.options == ["renamed"]


def test_a_rival_measured_on_other_labels_of_the_photo_on_show_is_named(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made_of, made = photos(store, project, [None] * 2), {1: found_share([0.5, 0.6], classes=3)}
    first = made_of[0]
    annotations.save(store, first.image_id, [square(2)], base_rev=1, state=ImageState.DONE)
    run = measured_run(store, project, made_of, made)
    same = measured_run(store, project, made_of, made)
    other = measured_run(store, project, [replace(first, rev=2), *made_of[1:]], made)
    run_marks.rename(store, other.id, "newer labels")
    test = open_address(open_page, run=run.id)
    said = "Measured on other labels of this photo than those shown: "
    assert test.session_state["review_image"] == first.image_id and said not in texts(test)

    test.multiselect[0].set_value([same.id, other.id]).run()

    assert said + "newer labels" in texts(test)
    test.session_state["review_image"] = made_of[1].image_id
    test.run()
    assert said not in texts(test), "they know the same of this one"


@pytest.mark.parametrize(
    ("best", "others", "which"),
    [
        (14, (9,), "Epoch 9 cannot"),
        (14, (9, 11), "Epochs 9 and 11 cannot"),
        (20, (9, 11, 13, 14, 15, 16, 17), "Epochs 9, 11 and 13 to 17 cannot"),
        (20, (9, 11, 12), "Epochs 9, 11 and 12 cannot"),
        (14, (12, 13, 15, 16), "Epochs 12 to 16 cannot"),
        (14, (12, 13, 15), "Epochs 12 to 15 cannot"),
        (14, (13, 15), "Epochs 13 to 15 cannot"),
        (14, (10, 11, 12, 13), "Epochs 10 to 13 cannot"),
        (14, (13,), "Epoch 13 cannot"),
        (14, (3, 13), "Epochs 3 and 13 cannot"),
        (1, (2, 3, 4), "Epochs 2 to 4 cannot"),
        (99, tuple(range(1, 30, 2)), "15 of the epochs 1 to 29 cannot"),
    ],
)
def test_tied_epochs_are_named_in_spans(best: int, others: tuple[int, ...], which: str) -> None:
    said = ties_in_words(Ties(best, others))

    assert said.startswith(which)
    assert said.endswith(f" be told apart from the best one, epoch {best}, on these photos.")
