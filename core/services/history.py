"""What was saved of a photo's labels: look through it, and bring an earlier revision back."""

from dataclasses import dataclass

from core.domain.errors import AppError, Conflict, NotFound
from core.domain.labels import ImageState
from core.domain.revisions import Revision, describe_changes
from core.services import pictures
from core.services.home import Store
from core.storage import annotations, images, projects

PAGE_SIZE = 20


@dataclass(frozen=True)
class Restored:
    """The revision that a restore made, and how many objects stayed away as their class was removed.

    ``changed_state`` is that of the photo now, where it was another one before; else None.
    """

    rev: int
    left_out: int
    changed_state: ImageState | None = None


def revisions(store: Store, image_id: str, *, before: int | None = None) -> list[Revision]:
    """List a photo's revisions, newest first, ``PAGE_SIZE`` at once.

    Args:
        before: only those older than this one; None begins with the newest.

    Raises:
        NotFound: the photo was deleted.
    """
    return _described(store, image_id, before, PAGE_SIZE)


def read(store: Store, image_id: str, rev: int) -> Revision:
    """Give one revision with its suggestions. Raises NotFound."""
    found = _described(store, image_id, rev + 1, 1)
    if not found or found[0].labels.rev != rev:
        raise NotFound(f"Revision {rev} of this photo's labels does not exist any more.")
    return found[0]


def _described(store: Store, image_id: str, before: int | None, limit: int) -> list[Revision]:
    """Describe revisions, each by the one before it; that of the last is read as well."""
    names = projects.names_ever(store, images.get(store, image_id).project_id)
    found = annotations.revisions(store, image_id, limit=limit + 1, before=before)
    pairs = zip(found, [*found[1:], None], strict=True)
    return [Revision(now[0], now[1], describe_changes(then, now, names)) for now, then in pairs][:limit]


def picture(store: Store, image_id: str, rev: int) -> bytes:
    """Draw one revision's objects over the photo, as JPEG. Raises NotFound."""
    return pictures.labels_picture(store, image_id, read(store, image_id, rev).labels.annotations)


def restore(store: Store, image_id: str, rev: int, *, author: str = "") -> Restored:
    """Save an earlier revision's objects, note and state again, as a new revision on top.

    What was approved then comes back as done: somebody is to look at it again. Objects whose class was
    removed from the project since cannot come back; they stay in the history.

    Raises:
        NotFound: the photo or the revision does not exist any more.
        AppError: it is the newest revision already.
        Conflict: somebody is saving the same photo again and again.
    """
    wanted = read(store, image_id, rev)
    state = ImageState.DONE if wanted.state is ImageState.APPROVED else wanted.state
    for _ in range(3):
        image = images.get(store, image_id)
        if image.rev == rev:
            raise AppError("This is how the photo is labelled now.")
        known = {c.category_id for c in projects.get(store, image.project_id).categories}
        kept = [a for a in wanted.labels.annotations if a.category_id in known]
        note = wanted.labels.note
        try:
            saved = annotations.save(
                store, image_id, kept, base_rev=image.rev, state=state, author=author, note=note
            )
        except Conflict:
            continue
        left_out = len(wanted.labels.annotations) - len(kept)
        return Restored(saved.rev, left_out, state if state is not image.state else None)
    raise Conflict("Somebody else is labelling this photo right now. Try again in a moment.")
