"""Taking a class out of a project while photos show it."""

from dataclasses import replace
from typing import Any

import pytest

from core.domain.errors import AppError, NotFound
from core.domain.images import Image, Project
from core.domain.labels import AnnotationSet, ImageState, Source
from core.domain.training import VersionItem
from core.services import classes
from core.services.classes import ClassUse
from core.storage import annotations, images, projects, versions
from core.storage.store import Store
from tests.builders import add_image, project_with, square


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch", "rust")


@pytest.fixture
def shown(store: Store, project: Project) -> list[Image]:
    """A dent and two scratches; a scratch alone; a guessed scratch; a dent alone."""
    guess = replace(square(2), source=Source.SUGGESTED)
    return [
        add_image(store, project, 1, square(1), square(2), square(2, x=50), state=ImageState.APPROVED),
        add_image(store, project, 2, square(2)),
        add_image(store, project, 3, guess, state=ImageState.UNLABELLED),
        add_image(store, project, 4, square(1)),
    ]


def drawn_on(store: Store, image: Image) -> list[int]:
    return [a.category_id for a in annotations.current(store, image.id).annotations]


def test_what_shows_a_class_is_counted(store: Store, project: Project, shown: list[Image]) -> None:
    assert classes.use(store, project.id, 2) == ClassUse(images=2, objects=3, suggestions=1, nothing_else=1)
    assert classes.use(store, project.id, 3) == ClassUse(0, 0, 0, 0)


def test_a_deleted_photo_shows_no_class(store: Store, project: Project, shown: list[Image]) -> None:
    images.delete(store, [shown[0].id])

    assert classes.use(store, project.id, 2).objects == 1


def test_an_unused_class_goes_without_a_revision(store: Store, project: Project, shown: list[Image]) -> None:
    removal = classes.remove(store, project.id, 3, move_to=None)

    assert (removal.images, removal.objects) == (0, 0)
    assert [c.name for c in projects.get(store, project.id).categories] == ["dent", "scratch"]
    assert [images.get(store, image.id) for image in shown] == shown


def test_the_objects_of_a_class_become_another(store: Store, project: Project, shown: list[Image]) -> None:
    removal = classes.remove(store, project.id, 2, move_to=3, author="Ana")

    assert (removal.images, removal.objects) == (3, 3)
    assert [drawn_on(store, image) for image in shown] == [[1, 3, 3], [3], [], [1]]
    first, second, third, fourth = (images.get(store, image.id) for image in shown)
    assert (first.rev, first.state, first.category_ids, first.author) == (
        2,
        ImageState.APPROVED,
        (1, 3),
        "Ana",
    )
    assert (second.rev, third.rev, third.suggestion_count, fourth.rev) == (2, 2, 0, 1)


def test_or_are_deleted_and_the_history_keeps_them(
    store: Store, project: Project, shown: list[Image]
) -> None:
    version = versions.freeze(
        store, project.id, project.categories, [VersionItem(shown[1].id, shown[1].sha256, 1, "train")]
    )

    classes.remove(store, project.id, 2, move_to=None)

    assert [drawn_on(store, image) for image in shown] == [[1], [], [], [1]]
    assert images.get(store, shown[1].id).shows_no_damage
    with store.read() as connection:
        assert len(annotations.read(connection, shown[0].id, 1).annotations) == 3
    kept = versions.get(store, version.id)
    assert [c.name for c in kept.categories] == ["dent", "scratch", "rust"]
    assert [a.category_id for a in versions.read_item(store, kept.items[0]).annotations] == [2]


def test_a_new_class_never_gets_the_id_of_one_that_was_removed(store: Store, project: Project) -> None:
    classes.remove(store, project.id, 3, move_to=None)

    with store.write() as connection:
        hail = projects.add_category(connection, project.id, "hail")
        rust = projects.add_category(connection, project.id, "RUST")

    assert (hail.category_id, rust.category_id, rust.name) == (4, 3, "rust")
    colors = [category.color for category in projects.get(store, project.id).categories]
    assert len(set(colors)) == 4


def test_a_class_may_take_the_name_of_one_that_was_removed(store: Store, project: Project) -> None:
    classes.remove(store, project.id, 3, move_to=None)
    dent = replace(project.categories[0], name="rust")

    projects.change_category(store, project.id, dent)

    assert [c.name for c in projects.get(store, project.id).categories] == ["rust", "scratch"]
    assert projects.names_ever(store, project.id) == {1: "rust", 2: "scratch", 3: "rust (3)"}


@pytest.mark.parametrize(("category_id", "move_to"), [(2, 2), (9, None), (2, 9)])
def test_a_removal_that_cannot_be_changes_nothing(
    store: Store, project: Project, shown: list[Image], category_id: int, move_to: int | None
) -> None:
    with pytest.raises((AppError, NotFound)):
        classes.remove(store, project.id, category_id, move_to=move_to)

    assert projects.get(store, project.id) == project
    assert [images.get(store, image.id) for image in shown] == shown


def test_a_removal_that_breaks_off_changes_nothing(
    store: Store, project: Project, shown: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = annotations.save_in, iter(range(9))

    def broken(*values: Any, **named: Any) -> AnnotationSet:
        if next(calls) == 1:  # one photo has been changed by then
            raise OSError("the machine is switched off")
        return real(*values, **named)

    monkeypatch.setattr(annotations, "save_in", broken)
    with pytest.raises(OSError, match="switched off"):
        classes.remove(store, project.id, 2, move_to=1)

    assert projects.get(store, project.id) == project
    assert [images.get(store, image.id) for image in shown] == shown
