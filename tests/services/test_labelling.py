"""Saving what the canvas sends: revisions, conflicts, refusals."""

from typing import Any

import pytest

from core.domain.errors import Conflict, FormatError
from core.domain.labels import Annotation, BrushOp, ImageState, Source, annotation_to_json
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
