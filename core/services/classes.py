"""A class that is not wanted any more: what shows it, and how it goes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.domain.errors import AppError, NotFound
from core.domain.labels import Annotation
from core.services.home import Store
from core.storage import annotations, images, projects


@dataclass(frozen=True)
class ClassUse:
    """What goes with a class: objects on photos, and photos that show nothing else.

    ``suggestions`` are objects that nobody has accepted yet; they go in any case.
    """

    images: int
    objects: int
    suggestions: int
    nothing_else: int  # finished photos that would show no damage without it


@dataclass(frozen=True)
class Removal:
    """What the removal of a class has changed: photos that got a new revision, and objects on them."""

    images: int
    objects: int


def use(store: Store, project_id: str, category_id: int) -> ClassUse:
    """Count what shows a class now; its labels in older revisions do not count."""
    photos = objects = suggestions = nothing_else = 0
    with store.read() as connection:
        for labels in annotations.showing(connection, project_id, category_id):
            of_it = [a for a in labels.annotations if a.category_id == category_id]
            drawn = sum(not a.is_suggestion for a in of_it)
            suggestions += len(of_it) - drawn
            objects += drawn
            photos += drawn > 0
            others = any(a.category_id != category_id and not a.is_suggestion for a in labels.annotations)
            is_finished = images.read(connection, labels.image_id).is_labelled
            nothing_else += is_finished and drawn > 0 and not others
    return ClassUse(photos, objects, suggestions, nothing_else)


def remove(
    store: Store, project_id: str, category_id: int, *, move_to: int | None, author: str = ""
) -> Removal:
    """Remove a class from a project; each photo that shows it gets a new revision, all at once or none.

    Earlier revisions and data versions keep the class, so runs stay as they are, and a class that is
    added again under the same name is the same class.

    Args:
        move_to: the class that its objects become; None deletes them. Suggestions of it are deleted.

    Raises:
        AppError: the objects would become of the class that is removed.
        NotFound: the project, the class or the one to move to does not exist any more.
    """
    if move_to == category_id:
        raise AppError("Choose another class for its objects.")
    changed = objects = 0
    with store.write() as connection:
        project = projects.read(connection, project_id)
        for needed in (category_id, *([] if move_to is None else [move_to])):
            if project.category(needed) is None:
                raise NotFound("This class does not exist any more.")
        projects.remove_category(connection, project_id, category_id)  # first: nobody saves it meanwhile
        for labels in annotations.showing(connection, project_id, category_id):
            image = images.read(connection, labels.image_id)
            kept = _without(labels.annotations, category_id, move_to)
            annotations.save_in(
                connection, image.id, kept, base_rev=image.rev, state=image.state, author=author
            )
            changed += 1
            objects += sum(a.category_id == category_id and not a.is_suggestion for a in labels.annotations)
    return Removal(changed, objects)


def _without(drawn: Sequence[Annotation], category_id: int, move_to: int | None) -> list[Annotation]:
    others_and_moved = [
        replace(a, category_id=move_to) if a.category_id == category_id and move_to is not None else a
        for a in drawn
        if not (a.is_suggestion and a.category_id == category_id)
    ]
    return [a for a in others_and_moved if a.category_id != category_id]
