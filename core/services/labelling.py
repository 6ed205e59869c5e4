"""Labelling: the queue of photos, what the canvas shows, and saving what was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from core.domain.errors import Conflict, FormatError, NotFound
from core.domain.images import Image, ImageFilter, ImageOrder
from core.domain.labels import (
    MAX_NOTE,
    Annotation,
    AnnotationSet,
    ImageState,
    Source,
    annotation_from_json,
    annotation_to_json,
)
from core.imaging.masks import rasterise_box
from core.services import links
from core.services.home import Store
from core.storage import annotations, images

MAX_ANNOTATIONS = 10_000
TO_DO = (ImageState.REJECTED, ImageState.IN_PROGRESS, ImageState.UNLABELLED)


@dataclass(frozen=True)
class CanvasImage:
    """One image with its labels, suggestions among them, and links, as the label canvas wants it."""

    image: Image
    annotations: AnnotationSet
    full_link: str
    view_link: str
    save_link: str


def open_image(store: Store, image_id: str, *, author: str = "") -> CanvasImage:
    """Give an image to label. Raises NotFound."""
    image = images.get(store, image_id)
    return CanvasImage(
        image,
        annotations.current(store, image_id),
        full_link(store, image_id),
        links.sign(store, f"img/{image_id}/view", v=image.sha256[:8]),
        links.sign(store, f"annotations/{image_id}", author=author),
    )


def labels_link(store: Store, image_id: str) -> str:
    """Give the signed link that tells an image's newest labels."""
    return links.sign(store, f"labels/{image_id}")


def full_link(store: Store, image_id: str) -> str:
    """Give the link of an image at full resolution. Raises NotFound."""
    return links.sign(store, f"img/{image_id}/full", v=images.get(store, image_id).sha256[:8])


def still_there(store: Store, project_id: str, image_ids: Sequence[str]) -> list[str]:
    """Leave out the images that were deleted meanwhile."""
    there = set(images.list_ids(store, project_id, ImageFilter()))
    return [image_id for image_id in image_ids if image_id in there]


def queue(store: Store, project_id: str, only: ImageFilter, order: ImageOrder = "imported") -> list[str]:
    """List the ids of the images to go through, in order."""
    return images.list_ids(store, project_id, only, order=order)


def with_place(fresh: Sequence[str], before: Sequence[str], image_id: str) -> list[str]:
    """Keep a photo in a queue that it has left, as one does that was just marked as done.

    Args:
        fresh: the queue as it is now.
        before: as it was when the photo was in it, or any other list.

    Gives:
        ``fresh`` with the photo at its old place: before those that followed it; first where it had none.
    """
    if image_id in fresh:
        return list(fresh)
    places = {each: at for at, each in enumerate(fresh)}
    after = before[before.index(image_id) + 1 :] if image_id in before else [*fresh[:1]]
    at = next((places[each] for each in after if each in places), len(fresh))
    return [*fresh[:at], image_id, *fresh[at:]]


def find_by_name(store: Store, project_id: str, typed: str, *, limit: int = 20) -> list[Image]:
    """Find images by a part of their file name; a name that begins with it comes first.

    Gives at most ``limit``, none for an empty text.
    """
    typed = typed.strip()
    if not typed:
        return []
    found = images.list_page(store, project_id, ImageFilter(name_contains=typed), limit=200)
    start = typed.casefold()
    begins = [i for i in found if i.name.rpartition("/")[2].casefold().startswith(start)]
    return [*begins, *(image for image in found if image not in begins)][:limit]


def first_to_do(store: Store, project_id: str) -> str | None:
    """Give the first image to do: one sent back, then one in progress, then one untouched; None: no more."""
    for state in TO_DO:
        found = images.list_page(store, project_id, ImageFilter(state=state), limit=1)
        if found:
            return found[0].id
    return None


def save(store: Store, image_id: str, message: object, *, author: str = "") -> dict[str, Any]:
    """Save what the canvas sends: ``{rev, state, annotations, note}``; without ``note`` the old one stays.

    An object that covers no pixel of the photo would be lost in every mask, so it is not saved; the
    others are, and the answer names it.

    Gives:
        ``{rev, saved_at, state, annotations_count, refused}`` of the revision just made; ``refused``
        lists ``{id, reason}``.

    Raises:
        FormatError: the message is not what it should be; nothing was changed.
        Conflict: somebody saved in between; ``latest`` tells what they saved.
        NotFound: the image was deleted.
        StorageError: the disk is full.
    """
    sent = _read_message(message)
    kept, refused = _covering(images.get(store, image_id), sent.annotations)
    saved = annotations.save(
        store, image_id, kept, base_rev=sent.rev, state=sent.state, author=author, note=sent.note
    )
    return {
        "rev": saved.rev,
        "saved_at": saved.saved_at,
        "state": sent.state.value,
        "annotations_count": len(saved.annotations),
        "refused": refused,
    }


@dataclass(frozen=True)
class _Message:
    rev: int
    state: ImageState
    annotations: list[Annotation]
    note: str | None


def _read_message(message: object) -> _Message:
    try:
        if not isinstance(message, dict):
            raise TypeError("not an object")
        sent = cast(dict[str, Any], message)
        rev, state, values, note = (
            int(sent["rev"]),
            ImageState(sent["state"]),
            sent["annotations"],
            sent.get("note"),
        )
        if not 0 <= rev < 2**31:
            raise ValueError("a revision out of range")
        if not isinstance(values, list):
            raise TypeError("annotations must be a list")
        if note is not None and not isinstance(note, str):
            raise TypeError("a note must be a text")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"The labels sent cannot be read: {error!r}.") from error
    drawn = cast(list[object], values)
    if len(drawn) > MAX_ANNOTATIONS:
        raise FormatError(f"A photo may have {MAX_ANNOTATIONS:,} objects, not {len(drawn):,}.")
    if note and len(note) > MAX_NOTE:
        raise FormatError(f"A note may have {MAX_NOTE:,} characters, not {len(note):,}.")
    return _Message(rev, state, [annotation_from_json(value) for value in drawn], note)


def latest(store: Store, image_id: str) -> dict[str, Any]:
    """Tell what an image's newest labels are.

    Gives:
        ``{rev, author, saved_at, state, annotations, note, size}``; ``size`` is [width, height] in
        pixels, by which another image tells whether the labels fit it.

    Raises:
        NotFound: the image was deleted.
    """
    image = images.get(store, image_id)
    drawn = annotations.current(store, image_id)
    return {
        "rev": drawn.rev,
        "author": drawn.author,
        "saved_at": drawn.saved_at,
        "state": image.state.value,
        "annotations": [annotation_to_json(annotation) for annotation in drawn.annotations],
        "note": drawn.note,
        "size": list(image.size_wh),
    }


def add_sketch(store: Store, image_id: str, sketched: Sequence[Annotation], *, author: str = "") -> None:
    """Add what a prediction missed to an image's labels; it then waits in the labelling queue.

    Raises:
        FormatError: nothing was sketched.
        Conflict: somebody is saving the same photo again and again.
    """
    if not sketched:
        raise FormatError("Draw what is missing first.")
    assert all(annotation.source is Source.SKETCHED for annotation in sketched)
    for _ in range(3):
        now = annotations.current(store, image_id)
        try:
            annotations.save(
                store,
                image_id,
                [*now.annotations, *sketched],
                base_rev=now.rev,
                state=ImageState.IN_PROGRESS,
                author=author,
            )
        except Conflict:
            continue
        return
    raise Conflict("Somebody else is labelling this photo right now. Try again in a moment.")


def _covering(image: Image, drawn: Sequence[Annotation]) -> tuple[list[Annotation], list[dict[str, str]]]:
    """Tell the objects that cover a pixel of the photo from the others, which come with a reason.

    Raises:
        FormatError: a stroke that no mask can be made of; found later, it would stop an export.
    """
    width, height = image.size_wh
    kept: list[Annotation] = []
    refused: list[dict[str, str]] = []
    for annotation in drawn:
        box, _ = rasterise_box(annotation.ops, (height, width))
        if box.any():
            kept.append(annotation)
        else:
            refused.append({"id": annotation.id, "reason": "It covers no pixel of the photo."})
    return kept, refused


def neighbours(queue_ids: Sequence[str], image_id: str) -> tuple[str | None, str | None]:
    """Give the ids before and after one in a queue. Raises NotFound when it is not in it."""
    if image_id not in queue_ids:
        raise NotFound("This photo is not in the queue any more.")
    at = queue_ids.index(image_id)
    return (
        queue_ids[at - 1] if at > 0 else None,
        queue_ids[at + 1] if at + 1 < len(queue_ids) else None,
    )
