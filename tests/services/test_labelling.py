"""Saving what the canvas sends: revisions, conflicts, refusals."""

from typing import Any

import pytest

from core.domain.errors import Conflict, FormatError, NotFound
from core.domain.images import ImageFilter
from core.domain.labels import Annotation, BrushOp, ImageState, Source, annotation_to_json
from core.imaging.masks import measure
from core.services import labelling
from core.storage import annotations, images
from core.storage.store import Store, new_id
from tests.builders import add_image, project_with, square


def message(rev: int, *drawn: Annotation, state: str = "in_progress") -> dict[str, Any]:
    return {"rev": rev, "state": state, "annotations": [annotation_to_json(each) for each in drawn]}


def test_every_save_is_a_new_revision_and_old_ones_stay(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    first, second = square(1), square(1, x=50)

    one = labelling.save(store, image.id, message(0, first))
    two = labelling.save(store, image.id, message(1, first, second, state="done"))

    assert (one["rev"], two["rev"], two["annotations_count"]) == (1, 2, 2)
    with store.read() as connection:
        assert annotations.read(connection, image.id, 1).annotations == (first,)
        assert annotations.read(connection, image.id, 2).annotations == (first, second)
    assert images.get(store, image.id).is_labelled


def test_the_second_of_two_people_is_told_and_overwrites_nothing(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    labelling.save(store, image.id, message(0, square(1)), author="ada")

    with pytest.raises(Conflict, match="Nothing was overwritten"):
        labelling.save(store, image.id, message(0), author="bob")

    newest = labelling.latest(store, image.id)
    assert (newest["rev"], newest["author"], len(newest["annotations"])) == (1, "ada", 1)


def test_a_note_is_saved_and_stays_where_a_message_has_none(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)

    labelling.save(store, image.id, message(0, state="rejected") | {"note": "The left door is missing."})
    labelling.save(store, image.id, message(1, square(1)))

    newest = labelling.latest(store, image.id)
    assert (newest["note"], newest["rev"]) == ("The left door is missing.", 2)
    assert labelling.open_image(store, image.id).annotations.note == newest["note"]


def test_an_object_beside_the_photo_is_not_saved_and_named_with_a_reason(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    inside, across, outside = square(1), square(1, x=90), square(1, x=500)

    saved = labelling.save(store, image.id, message(0, inside, across, outside))

    assert saved["refused"] == [{"id": outside.id, "reason": "It covers no pixel of the photo."}]
    kept = annotations.current(store, image.id).annotations
    assert [each.id for each in kept] == [inside.id, across.id]
    assert measure(kept[1].ops, (64, 96)).bbox_xywh == (90, 10, 6, 20)  # its part on the photo counts


def test_five_thousand_objects_are_saved_but_not_any_number(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    many = [square(1, x=n % 90, y=n // 90, side=3) for n in range(5000)]

    saved = labelling.save(store, image.id, message(0, *many))

    assert (saved["annotations_count"], images.get(store, image.id).annotation_count) == (5000, 5000)
    with pytest.raises(FormatError, match="may have 10,000 objects, not 10,001"):
        labelling.save(store, image.id, {"rev": 1, "state": "done", "annotations": [{}] * 10_001})


def test_a_save_to_a_deleted_photo_says_so(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    images.delete(store, [image.id])

    with pytest.raises(NotFound, match="does not exist any more"):
        labelling.save(store, image.id, message(0, square(1)))


def test_the_queue_has_an_order_of_its_own(store: Store) -> None:
    project = project_with(store, "dent")
    names = ["car/IMG_10.jpg", "car/IMG_2.jpg", "car/img_1.jpg"]
    ten, two, one = (
        add_image(store, project, seed, state=ImageState.UNLABELLED, name=name)
        for seed, name in enumerate(names)
    )
    labelling.save(store, two.id, message(0, square(1)))
    labelling.save(store, ten.id, message(0, square(1)))

    assert labelling.queue(store, project.id, ImageFilter()) == [ten.id, two.id, one.id]
    assert labelling.queue(store, project.id, ImageFilter(), "name") == [one.id, two.id, ten.id]
    assert labelling.queue(store, project.id, ImageFilter(), "changed") == [ten.id, two.id, one.id]
    labelling.save(store, two.id, message(1))
    assert labelling.queue(store, project.id, ImageFilter(), "changed") == [two.id, ten.id, one.id]
    some = ImageFilter(state=ImageState.IN_PROGRESS)
    assert labelling.queue(store, project.id, some, "name") == [two.id, ten.id]


def test_a_photo_is_found_by_a_part_of_its_name(store: Store) -> None:
    project = project_with(store, "dent")
    middle = add_image(store, project, 1, name="a/left door.jpg")
    start = add_image(store, project, 2, name="b/Door.jpg")

    assert labelling.find_by_name(store, project.id, "DOOR") == [start, middle]
    assert labelling.find_by_name(store, project.id, "left") == [middle]
    assert labelling.find_by_name(store, project.id, "%") == []
    assert labelling.find_by_name(store, project.id, "  ") == []


def test_what_was_sent_back_comes_before_what_is_begun_and_that_before_the_rest(store: Store) -> None:
    project = project_with(store, "dent")
    states = [ImageState.UNLABELLED, ImageState.IN_PROGRESS, ImageState.REJECTED, ImageState.APPROVED]
    made = [add_image(store, project, seed, state=state) for seed, state in enumerate(states)]
    to_do: list[str | None] = []

    for _ in range(4):
        to_do.append(labelling.first_to_do(store, project.id))
        images.delete(store, [to_do[-1] or ""])

    assert to_do == [made[2].id, made[1].id, made[0].id, None]


@pytest.mark.parametrize(
    ("fresh", "before", "kept"),
    [
        ("abc", "", "abc"),
        ("ac", "abc", "abc"),
        ("a", "abc", "ab"),
        ("ad", "abcd", "abd"),
        ("ac", "", "bac"),
        ("", "abc", "b"),
        ("", "", "b"),
    ],
)
def test_a_photo_that_has_left_the_queue_keeps_its_place(fresh: str, before: str, kept: str) -> None:
    assert labelling.with_place(list(fresh), list(before), "b") == list(kept)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {"rev": 0},
        {"rev": "x", "state": "done", "annotations": []},
        {"rev": 0, "state": "finished", "annotations": []},
        {"rev": 0, "state": "done", "annotations": "many"},
        {"rev": 0, "state": "done", "annotations": [{"id": "a", "category_id": 1, "ops": []}]},
        {"rev": 0, "state": "done", "annotations": [{"id": "a", "category_id": 1, "ops": [{"kind": "x"}]}]},
        {
            "rev": 0,
            "state": "done",
            "annotations": [
                {"id": "a", "category_id": 7, "ops": [{"kind": "brush", "points": [[1, 1]], "radius": 2}]}
            ],
        },
        {
            "rev": 0,
            "state": "done",
            "annotations": [
                {
                    "id": "a",
                    "category_id": 1,
                    "ops": [{"kind": "polygon", "points": [[1, 1], [2, float("nan")]]}],
                }
            ],
        },
        {
            "rev": 0,
            "state": "done",
            "annotations": [
                {"id": "a", "category_id": 1, "ops": [{"kind": "rle", "size": [5, 5], "counts": "0"}]}
            ],
        },
        {
            "rev": 0,
            "state": "done",
            "annotations": [
                {"id": "a", "category_id": 1, "ops": [{"kind": "rle", "size": [64, 96], "counts": "!!"}]}
            ],
        },
        {
            "rev": 0,
            "state": "done",
            "annotations": [
                {"id": "a", "category_id": 1, "ops": [{"kind": "brush", "points": [[1e30, 1]], "radius": 2}]}
            ],
        },
        {"rev": 0, "state": "done", "annotations": [], "note": 7},
        {"rev": 0, "state": "done", "annotations": [], "note": "x" * 1001},
        {"rev": 10**30, "state": "done", "annotations": []},
        {"rev": float("inf"), "state": "done", "annotations": []},
    ],
)
def test_a_message_that_is_not_labels_is_refused_and_changes_nothing(store: Store, broken: object) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)

    with pytest.raises(FormatError):
        labelling.save(store, image.id, broken)

    assert images.get(store, image.id) == image


def test_a_sketch_joins_the_labels_as_a_draft(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, square(1))
    stroke = Annotation(new_id(), 1, (BrushOp(((5, 5), (30, 9)), 3.0),), Source.SKETCHED)

    labelling.add_sketch(store, image.id, [stroke])

    newest = labelling.latest(store, image.id)
    assert newest["state"] == "in_progress"
    assert [a["source"] for a in newest["annotations"]] == ["drawn", "sketched"]


def test_a_sketch_of_nothing_is_refused(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, square(1))

    with pytest.raises(FormatError, match="Draw what is missing"):
        labelling.add_sketch(store, image.id, [])
