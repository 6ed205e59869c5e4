"""Whose labels an export holds: finished photos, approved or not, and what people drew or accepted."""

from dataclasses import replace

import pytest

from core.domain.errors import NotEnoughLabels
from core.domain.labels import ImageState, Source
from core.formats.export import labelled_dataset
from core.storage.store import Store
from tests.builders import add_image, project_with, square


def test_done_and_approved_photos_are_exported_without_suggestions(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    guess = replace(square(2), source=Source.SUGGESTED)
    for seed, state in enumerate(ImageState):
        add_image(store, project, seed, square(1), guess, state=state, name=f"{state}.jpg")

    dataset = labelled_dataset(store, project.id)

    assert [image.name for image in dataset.images] == ["done.jpg", "approved.jpg"]
    assert [[a.category for a in image.annotations] for image in dataset.images] == [["dent"], ["dent"]]


def test_rejected_photos_alone_are_nothing_to_export(store: Store) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1), state=ImageState.REJECTED)

    with pytest.raises(NotEnoughLabels):
        labelled_dataset(store, project.id)
