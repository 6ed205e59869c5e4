"""What was taken for what: every figure of a photo as ``score`` gives it, the lists, the pairs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.labels import PALETTE, Category
from core.domain.scores import score
from core.domain.training import VersionItem
from core.services import confusions, evaluation
from core.services.confusions import Choice, MeasuredPhotos, Mistake
from core.storage import images, runs
from core.storage.runs import ImageRecord
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.trained import finish_run
from tests.services.test_intervals import measured_run

Matrix = NDArray[np.int64]

# Labelled: 10 + 4 + 6 of nothing, dent, scratch; of the dent's pixels 1 is found, 2 are called scratch.
FIRST = np.array([[7, 0, 3], [1, 1, 2], [0, 0, 6]])
SECOND = np.array([[9, 1, 0], [0, 0, 4], [2, 0, 0]])
EMPTY = np.array([[20, 0, 0], [0, 0, 0], [0, 0, 0]])


def gathered(
    matrices: Sequence[Matrix], *, gone: Sequence[int] = (), unseen: Sequence[int] = ()
) -> MeasuredPhotos:
    """Put matrices of the photos "0", "1", ... together; of some there is no photo, of some no picture."""
    records = [
        ImageRecord(str(n), np.asarray(matrix, np.int64), "" if n in unseen else "p.png", "c.png")
        for n, matrix in enumerate(matrices)
    ]
    return confusions.gather(records, {str(n): f"{n}.jpg" for n in range(len(matrices)) if n not in gone})


def drawn(photos: int, classes: int, seed: int = 0) -> list[Matrix]:
    """Draw matrices of which most classes are absent, some from labels or predictions only."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 1_000_000, (photos, classes, classes))
    matrices *= rng.random((photos, classes, 1)) < rng.random((photos, 1, 1))
    matrices *= rng.random((photos, 1, classes)) < rng.random((photos, 1, 1))
    return list(matrices)


def listed(photos: MeasuredPhotos, choice: Choice) -> list[str]:
    return [photos.ids[place] for place in confusions.places(photos, choice)]


@pytest.mark.parametrize("classes", [1, 2, 3, 9, 19, 70])
def test_every_figure_is_to_the_last_digit_what_the_photo_s_own_matrix_gives(classes: int) -> None:
    matrices = [*drawn(120, classes), np.zeros((classes, classes), np.int64)]

    photos = gathered(matrices)

    scores = [score(matrix) for matrix in matrices]
    np.testing.assert_array_equal(photos.scores["iou"], [s.miou_foreground for s in scores])
    np.testing.assert_array_equal(photos.scores["dice"], [s.dice_foreground for s in scores])
    np.testing.assert_array_equal(photos.scores["any_iou"], [s.any_iou for s in scores])
    for of in range(classes):
        np.testing.assert_array_equal(confusions.class_iou(photos, of), [s.iou[of] for s in scores])
    sizes = [max(1, matrix.sum()) for matrix in matrices]
    missed = [matrix[1:, 0].sum() / size for matrix, size in zip(matrices, sizes, strict=True)]
    false = [matrix[0, 1:].sum() / size for matrix, size in zip(matrices, sizes, strict=True)]
    np.testing.assert_array_equal(photos.scores["missed"], missed)
    np.testing.assert_array_equal(photos.scores["false"], false)
    np.testing.assert_array_equal(photos.total, np.sum(matrices, axis=0))


def test_the_photos_of_a_run_come_in_the_order_of_their_scores(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    matrices = np.stack(drawn(30, 3, seed=4))
    items = []
    for seed in range(30):
        image = add_image(store, project, seed, square(1), split="valid")
        items.append(VersionItem(image.id, image.sha256, image.rev, "valid"))
    run = measured_run(store, project, items, {1: matrices})

    photos = confusions.read(store, run, 1)

    assert photos is not None and photos.names[0] == "photo_0.jpg"
    expected = [s.image_id for s in evaluation.image_scores(store, run, 1)]
    assert listed(photos, Choice()) == expected and len(set(expected)) == 30


def test_a_figure_puts_the_worst_photo_first_and_those_without_it_last() -> None:
    photos = gathered([EMPTY, FIRST, SECOND])

    assert listed(photos, Choice("iou")) == ["2", "1", "0"]
    assert listed(photos, Choice("missed")) == ["2", "1", "0"]  # 2 of 16, 1 of 20 and 0 pixels
    assert listed(photos, Choice("false")) == ["1", "2", "0"]  # 3 of 20, 1 of 16 and 0 pixels
    assert listed(photos, Choice("any_iou")) == ["2", "1", "0"]  # 4 of 7, 9 of 13
    assert listed(photos, Choice("class", class_index=1)) == ["2", "1", "0"]  # 0, 1 of 4, and not there
    assert listed(photos, Choice("cell", cell=(1, 2))) == ["2", "1"]  # 4 and 2 pixels


def test_photos_are_those_that_show_a_class_on_either_side_or_pixels_in_a_cell() -> None:
    only_called = np.array([[5, 2, 0], [0, 0, 0], [0, 0, 0]])
    photos = gathered([EMPTY, FIRST, SECOND, only_called])

    assert set(listed(photos, Choice(shows=1))) == {"1", "2", "3"}
    assert set(listed(photos, Choice(shows=2))) == {"1", "2"}
    assert listed(photos, Choice(shows=2, cell=(0, 1))) == ["2"]
    assert listed(photos, Choice(cell=(2, 1))) == []
    assert confusions.photos_in(photos).tolist() == [[4, 2, 1], [1, 1, 2], [1, 0, 1]]


def test_photos_without_a_picture_follow_all_others() -> None:
    photos = gathered([EMPTY, FIRST, SECOND], unseen=[2])

    assert listed(photos, Choice()) == ["1", "0", "2"]


@pytest.mark.parametrize("by", ["class", "cell"])
def test_what_to_sort_by_has_to_be_named(by: confusions.Order) -> None:
    with pytest.raises(ValueError, match=f"a {by} that is not named"):
        Choice(by)


def test_a_deleted_photo_counts_and_is_not_listed(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    before = confusions.read(store, run, 1)
    assert before is not None and before.deleted == 0

    images.delete(store, [before.ids[0]])

    after = confusions.read(store, run, 1)
    assert after is not None
    assert (after.ids, after.deleted, after.measured) == (before.ids[1:], 1, 2)
    assert after.scores["iou"].tolist() == before.scores["iou"][1:].tolist()
    np.testing.assert_array_equal(after.total, before.total)
    np.testing.assert_array_equal(after.shown_on, before.shown_on)


def test_nothing_measured_gives_nothing(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)

    assert confusions.read(store, run, 1, "test") is None
    assert confusions.read(store, run, 2) is None


def test_the_state_tells_when_to_read_again(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=2)
    first, second = runs.epochs(store, run.id)

    def state() -> str:
        return confusions.state(store, run, first)

    seen = [state()]
    assert state() == seen[0] != confusions.state(store, run, second)
    added = add_image(store, project, 90)
    seen.append(state())
    images.delete(store, [added.id])
    assert state() == seen[0], "as it was"
    photos = confusions.read(store, run, 1)
    assert photos is not None
    images.delete(store, [photos.ids[0]])
    seen.append(state())
    add_image(store, project, 91)
    seen.append(state())
    again = replace(first, created_at=second.created_at)
    assert len({*seen, confusions.state(store, run, again)}) == 5


def test_the_state_tells_that_an_epoch_was_measured_once_more_with_pictures(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    (epoch,) = runs.epochs(store, run.id)
    measured = runs.records(store, run.id, 1)
    runs.set_records(store, run.id, 1, "valid", [replace(r, prediction="", confidence="") for r in measured])
    before = confusions.state(store, run, epoch)

    runs.set_records(store, run.id, 1, "valid", measured)

    assert confusions.state(store, run, epoch) != before


def test_classes_are_scored_over_all_photos_and_counted_where_labels_show_them() -> None:
    categories = [
        Category(n, name, PALETTE[n]) for n, name in enumerate(("dent", "scratch", "crack"), start=1)
    ]
    wide = [np.pad(matrix, ((0, 1), (0, 1))) for matrix in (EMPTY, FIRST, SECOND)]

    dent, scratch, crack = confusions.class_scores(gathered(wide, gone=[1]), categories)

    assert (dent.photos, dent.pixels) == (2, 8)
    assert (dent.iou, dent.dice, dent.precision, dent.recall) == (1 / 9, 2 / 10, 1 / 2, 1 / 8)
    assert (scratch.photos, scratch.pixels, scratch.recall) == (2, 8, 6 / 8)
    assert (crack.photos, crack.pixels) == (0, 0)
    assert crack.iou is crack.dice is crack.precision is crack.recall is None


def test_shares_are_of_rows_or_of_columns_and_not_defined_without_pixels() -> None:
    total = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])

    of_truth, of_called = confusions.shares(total, "truth"), confusions.shares(total, "called")

    np.testing.assert_array_equal(of_truth, [[0.8, 0.2, 0], [0.25, 0.75, 0], [np.nan] * 3])
    np.testing.assert_array_equal(of_called, [[8 / 9, 0.4, np.nan], [1 / 9, 0.6, np.nan], [0, 0, np.nan]])


def test_mistakes_come_with_the_largest_share_first() -> None:
    found = confusions.mistakes(FIRST + SECOND)

    assert found == [
        Mistake(1, 2, 6, 6 / 8),
        Mistake(0, 1, 1, 1 / 2),  # of what is called so: nothing is labelled there
        Mistake(2, 0, 2, 2 / 8),
        Mistake(0, 2, 3, 3 / 15),
        Mistake(1, 0, 1, 1 / 8),
    ]
    assert confusions.mistakes(EMPTY) == []


def test_254_classes_take_no_more_room_than_what_their_photos_show() -> None:
    matrices = np.zeros((40, 255, 255), np.int64)
    matrices[:, 0, 0], matrices[:, 7, 254], matrices[:, 254, 254] = 100, 3, 5

    photos = gathered(list(matrices))

    assert len(photos.pixels) == 3 * 40
    assert confusions.mistakes(photos.total) == [Mistake(7, 254, 120, 1.0)]
    assert photos.scores["iou"][0] == score(matrices[0]).miou_foreground
