"""The history of a photo's labels: what each revision changed, and bringing one back."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.errors import AppError, NotFound
from core.domain.labels import Annotation, ImageState, Source
from core.imaging.reading import decode_rgb
from core.services import classes, history
from core.storage import annotations, images, projects
from core.storage.store import Store, new_id
from tests.builders import add_image, project_with, square


def save(store: Store, image_id: str, *drawn: Annotation, state: str = "in_progress", **more: str) -> None:
    rev = images.get(store, image_id).rev
    annotations.save(store, image_id, drawn, base_rev=rev, state=ImageState(state), **more)


def changes(store: Store, image_id: str) -> list[str]:
    return [revision.changes for revision in history.revisions(store, image_id)]


def test_each_revision_says_who_saved_it_and_what_it_changed(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    a, b, c = square(1), square(2), square(1)
    save(store, image.id, a, b, c, author="Ana")
    save(store, image.id, replace(a, category_id=2), replace(b, ops=square(2, x=40).ops), author="Bob")
    save(store, image.id, replace(a, note="deep"), b, state="rejected", note="Look again.")
    save(store, image.id, b, a, state="rejected")
    save(store, image.id, b, a, state="rejected")

    listed = history.revisions(store, image.id)

    assert [(each.labels.rev, each.labels.author, each.annotation_count) for each in listed] == [
        (5, "", 2),
        (4, "", 2),
        (3, "", 2),
        (2, "Bob", 2),
        (1, "Ana", 3),
    ]
    assert [each.changes for each in listed] == [
        "Nothing changed.",
        "Changed the order; changed the note of an object.",
        "Redrew 1 scratch; made scratch dent; changed the note of an object; changed the note; "
        "state rejected.",
        "Removed 1 dent; redrew 1 scratch; made dent scratch.",
        "Added 2 dent, 1 scratch; state in progress.",
    ]


def test_suggestions_are_told_apart_from_what_people_drew(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    guess, other = (replace(square(n), source=Source.SUGGESTED) for n in (1, 2))
    save(store, image.id, guess, other, state="unlabelled")
    save(store, image.id, replace(guess, source=Source.DRAWN), state="unlabelled")

    assert changes(store, image.id) == [
        "Dropped the suggestion of 1 scratch; accepted 1 dent.",
        "Suggested 1 dent, 1 scratch.",
    ]
    assert [each.annotation_count for each in history.revisions(store, image.id)] == [1, 0]


def test_a_long_history_comes_in_pages_that_fit_together(store: Store) -> None:
    image = add_image(store, project_with(store, "dent"), 1, state=ImageState.UNLABELLED)
    for _ in range(history.PAGE_SIZE + 3):
        save(store, image.id, square(1))

    newest = history.revisions(store, image.id)
    older = history.revisions(store, image.id, before=newest[-1].labels.rev)

    revs = [each.labels.rev for each in (*newest, *older)]
    assert revs == list(range(history.PAGE_SIZE + 3, 0, -1))
    assert newest[-1].changes == "Added 1 dent; removed 1 dent."
    assert history.read(store, image.id, 2) == older[-2]
    with pytest.raises(NotFound):
        history.read(store, image.id, 99)


def test_restoring_is_a_new_revision_and_loses_nothing(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    first, second = square(1), square(1, x=50)
    save(store, image.id, first, state="approved", note="fine", author="Ana")
    save(store, image.id, second, note="")

    made = history.restore(store, image.id, 1, author="Eve")

    assert (made.rev, made.left_out, made.changed_state) == (3, 0, ImageState.DONE)
    now = annotations.current(store, image.id)
    assert (now.annotations, now.note, now.author) == ((first,), "fine", "Eve")
    assert images.get(store, image.id).state is ImageState.DONE  # nobody has looked at it since
    with store.read() as connection:
        assert annotations.read(connection, image.id, 2).annotations == (second,)
    with pytest.raises(AppError, match="labelled now"):
        history.restore(store, image.id, 3)


def test_what_is_of_a_removed_class_stays_in_the_history(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    dent, scratch = square(1), square(2)
    save(store, image.id, dent, scratch)
    classes.remove(store, project.id, 2, move_to=None)

    made = history.restore(store, image.id, 1)

    assert (made.left_out, made.changed_state) == (1, None)
    assert annotations.current(store, image.id).annotations == (dent,)
    assert changes(store, image.id)[1:] == [
        "Removed 1 scratch.",
        "Added 1 dent, 1 scratch; state in progress.",
    ]
    with store.write() as connection:
        projects.add_category(connection, project.id, "Scratch")
    assert history.restore(store, image.id, 1).left_out == 0


def test_a_deleted_photo_has_no_history_to_show(store: Store) -> None:
    image = add_image(store, project_with(store, "dent"), 1, square(1))
    images.delete(store, [image.id])

    with pytest.raises(NotFound):
        history.revisions(store, image.id)
    with pytest.raises(NotFound):
        history.restore(store, image.id, 1)
    with pytest.raises(NotFound):
        history.revisions(store, new_id())


def test_a_revision_is_drawn_over_its_photo(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    image = add_image(store, project, 1, state=ImageState.UNLABELLED)
    save(store, image.id, square(1), square(2, x=60))
    save(store, image.id, square(2, x=60))
    classes.remove(store, project.id, 2, move_to=None)

    pixels = [decode_rgb(history.picture(store, image.id, rev)).astype(int) for rev in (1, 2, 3)]

    assert pixels[0].shape == (64, 96, 3)
    changed = [np.abs(each - pixels[2]).sum(axis=2) > 24 for each in pixels]
    assert changed[0][12:28, 12:28].mean() > 0.9  # the dent was there in the first one alone
    assert not changed[1][12:28, 12:28].any()
    assert changed[0][12:28, 62:78].mean() > 0.5  # what is of a class that is gone is shown too
    assert not changed[0][40:].any()
